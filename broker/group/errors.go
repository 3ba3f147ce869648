package group

import "errors"

// What a request may be refused for. The broker's table turns each into a Kafka error code.
var (
	// ErrUnknownMember: the member is not, or no longer, in the group; it joins anew.
	ErrUnknownMember = errors.New("member is unknown")
	// ErrIllegalGeneration: the member speaks of another generation than the present one.
	ErrIllegalGeneration = errors.New("generation is not the present one")
	// ErrRebalancing: the member must join again first.
	ErrRebalancing = errors.New("group is rebalancing")
	// ErrFencedInstance: another member has joined under the same instance id since.
	ErrFencedInstance = errors.New("instance id is another member's")
	// ErrMemberIDRequired: the member joins again under the id that comes with the refusal.
	ErrMemberIDRequired = errors.New("member must join with the id it is given")
	// ErrInconsistentProtocol: the member has no protocol in common with the others, or names none.
	ErrInconsistentProtocol = errors.New("protocols of the member do not fit the group's")
	// ErrInvalidSessionTimeout: the session timeout is out of the configured range.
	ErrInvalidSessionTimeout = errors.New("session timeout is out of range")
	// ErrInvalidGroupID: the group has no name.
	ErrInvalidGroupID = errors.New("group id is empty")
	// ErrGroupFull: the group has as many members as it may have.
	ErrGroupFull = errors.New("group is full")
	// ErrUnknownGroup: there is no such group.
	ErrUnknownGroup = errors.New("group is unknown")
	// ErrNotEmpty: the group has members.
	ErrNotEmpty = errors.New("group is not empty")
	// ErrSubscribed: members of the group are subscribed to the topic.
	ErrSubscribed = errors.New("group is subscribed to the topic")
	// ErrMetadataTooLarge: the metadata of a commit is longer than allowed.
	ErrMetadataTooLarge = errors.New("offset metadata is too large")
	// ErrRecordTooLarge: the group, or the member, does not fit one record, so this generation cannot be kept.
	// The message stands beside the error code: what helps is more members, fewer partitions or topics for
	// each, or a larger message.max.bytes.
	ErrRecordTooLarge = errors.New("does not fit a record of the offsets topic: spread it over more members, " +
		"subscribe to less, or raise message.max.bytes")
	// ErrFencedEpoch: the member's epoch is not the group's idea of it; it gives up what it has and joins
	// again.
	ErrFencedEpoch = errors.New("member epoch is fenced")
	// ErrStaleEpoch: the epoch that comes with offsets is not the member's present one; it asks again with
	// the epoch that its next heartbeat tells.
	ErrStaleEpoch = errors.New("member epoch is stale")
	// ErrUnreleasedInstance: the instance id is another member's, which has not left.
	ErrUnreleasedInstance = errors.New("instance id is still another member's")
	// ErrUnsupportedAssignor: there is no such assignor.
	ErrUnsupportedAssignor = errors.New("assignor is not among group.consumer.assignors")
	// ErrInvalidPattern: the subscription's regular expression is none of RE2.
	ErrInvalidPattern = errors.New("subscribed regular expression is not valid RE2")
	// ErrNotConsumers: the group has members of the classic protocol and may not change.
	ErrNotConsumers = errors.New("group is of the classic protocol and cannot be migrated")
	// ErrNotThatKind: the group is a share group and was taken for another one, or the reverse.
	ErrNotThatKind = errors.New("group is of another kind")
	// ErrUnknownTopics: members of the classic protocol hold partitions of topics that are not known here:
	// they are newer than what this node knows, or deleted. It is a matter of time.
	ErrUnknownTopics = errors.New("members hold topics that the coordinator does not know")
	// ErrOldCommit: a member of a consumer group commits in a version that has no member epochs.
	ErrOldCommit = errors.New("consumer group takes no commits before version 9")
	// ErrMalformed: a record of the log is none of ours, or damaged.
	ErrMalformed = errors.New("record of a group is malformed")
)
