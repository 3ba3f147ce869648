package broker

import (
	"context"
	"errors"
	"strconv"

	"outrigger/broker/batch"
	"outrigger/broker/group"
	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
	"outrigger/broker/txn"
	"outrigger/broker/wal"
)

// code is a Kafka error code. Nothing below this package knows them.
type code int16

// The codes that the broker answers with.
const (
	codeNone                     code = 0
	codeOffsetOutOfRange         code = 1
	codeCorruptMessage           code = 2
	codeUnknownTopicOrPartition  code = 3
	codeLeaderNotAvailable       code = 5
	codeNotLeaderOrFollower      code = 6
	codeRequestTimedOut          code = 7
	codeMessageTooLarge          code = 10
	codeCoordinatorNotAvailable  code = 15
	codeCoordinatorLoading       code = 14
	codeOffsetMetadataTooLarge   code = 12
	codeNotCoordinator           code = 16
	codeInvalidTopic             code = 17
	codeIllegalGeneration        code = 22
	codeInconsistentProtocol     code = 23
	codeInvalidGroupID           code = 24
	codeUnknownMemberID          code = 25
	codeInvalidSessionTimeout    code = 26
	codeRebalanceInProgress      code = 27
	codeNonEmptyGroup            code = 68
	codeGroupIDNotFound          code = 69
	codeMemberIDRequired         code = 79
	codeGroupMaxSizeReached      code = 81
	codeFencedInstanceID         code = 82
	codeGroupSubscribed          code = 86
	codeNotEnoughReplicas        code = 19
	codeNotEnoughAfterAppend     code = 20
	codeInvalidRequiredAcks      code = 21
	codeInvalidTimestamp         code = 32
	codeUnsupportedVersion       code = 35
	codeTopicAlreadyExists       code = 36
	codeInvalidPartitions        code = 37
	codeInvalidReplicationFactor code = 38
	codeInvalidReplicaAssignment code = 39
	codeInvalidConfig            code = 40
	codeNotController            code = 41
	codeInvalidRequest           code = 42
	codeUnsupportedForFormat     code = 43
	codePolicyViolation          code = 44
	codeOutOfOrderSequence       code = 45
	codeInvalidProducerEpoch     code = 47
	codeInvalidTxnState          code = 48
	codeInvalidProducerIDMapping code = 49
	codeInvalidTxnTimeout        code = 50
	codeConcurrentTransactions   code = 51
	codeTxnCoordinatorFenced     code = 52
	codeSecurityDisabled         code = 54
	codeStorageError             code = 56
	codeFetchSessionIDNotFound   code = 70
	codeInvalidFetchSessionEpoch code = 71
	codeListenerNotFound         code = 72
	codeTopicDeletionDisabled    code = 73
	codeFencedLeaderEpoch        code = 74
	codeUnknownLeaderEpoch       code = 75
	codeUnsupportedCompression   code = 76
	codeOffsetNotAvailable       code = 78
	codePreferredNotAvailable    code = 80
	codeEligibleNotAvailable     code = 83
	codeElectionNotNeeded        code = 84
	codeNoReassignment           code = 85
	codeInvalidRecord            code = 87
	codeResourceNotFound         code = 91
	codeDuplicateResource        code = 92
	codeOperationNotAttempted    code = 55
	codeUnstableOffsetCommit     code = 88
	codeProducerFenced           code = 90
	codeInvalidUpdateVersion     code = 95
	codeTransactionalIDNotFound  code = 105
	codeTransactionAbortable     code = 120
	codeInvalidRecordState       code = 121
	codeShareSessionNotFound     code = 122
	codeInvalidShareSessionEpoch code = 123
	codeFencedStateEpoch         code = 124
	codeInvalidRegularExpression code = 128
	codeShareSessionLimitReached code = 133
	codeUnknownTopicID           code = 100
	codeBrokerIDNotRegistered    code = 102
	codeInconsistentClusterID    code = 104
	codeFetchSessionTopicID      code = 106
	codeFencedMemberEpoch        code = 110
	codeUnreleasedInstanceID     code = 111
	codeUnsupportedAssignor      code = 112
	codeStaleMemberEpoch         code = 113
	codeMismatchedEndpointType   code = 114
	codeUnsupportedEndpointType  code = 115
	codeDuplicateVoter           code = 126
	codeVoterNotFound            code = 127
	codeRebootstrapRequired      code = 129
)

var codeNames = map[code]string{
	codeNone: "NONE", codeOffsetOutOfRange: "OFFSET_OUT_OF_RANGE", codeCorruptMessage: "CORRUPT_MESSAGE",
	codeUnknownTopicOrPartition: "UNKNOWN_TOPIC_OR_PARTITION",
	codeLeaderNotAvailable:      "LEADER_NOT_AVAILABLE",
	codeNotLeaderOrFollower:     "NOT_LEADER_OR_FOLLOWER", codeRequestTimedOut: "REQUEST_TIMED_OUT",
	codeMessageTooLarge: "MESSAGE_TOO_LARGE", codeCoordinatorNotAvailable: "COORDINATOR_NOT_AVAILABLE",
	codeCoordinatorLoading: "COORDINATOR_LOAD_IN_PROGRESS", codeInvalidTopic: "INVALID_TOPIC_EXCEPTION",
	codeNotEnoughReplicas:    "NOT_ENOUGH_REPLICAS",
	codeNotEnoughAfterAppend: "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
	codeInvalidRequiredAcks:  "INVALID_REQUIRED_ACKS", codeInvalidTimestamp: "INVALID_TIMESTAMP",
	codeUnsupportedVersion: "UNSUPPORTED_VERSION", codeTopicAlreadyExists: "TOPIC_ALREADY_EXISTS",
	codeInvalidPartitions:        "INVALID_PARTITIONS",
	codeInvalidReplicationFactor: "INVALID_REPLICATION_FACTOR",
	codeInvalidReplicaAssignment: "INVALID_REPLICA_ASSIGNMENT", codeInvalidConfig: "INVALID_CONFIG",
	codeNotController: "NOT_CONTROLLER", codeInvalidRequest: "INVALID_REQUEST",
	codeUnsupportedForFormat: "UNSUPPORTED_FOR_MESSAGE_FORMAT",
	codePolicyViolation:      "POLICY_VIOLATION",
	codeOutOfOrderSequence:   "OUT_OF_ORDER_SEQUENCE_NUMBER",
	codeInvalidProducerEpoch: "INVALID_PRODUCER_EPOCH", codeInvalidTxnState: "INVALID_TXN_STATE",
	codeStorageError: "KAFKA_STORAGE_ERROR", codeFetchSessionIDNotFound: "FETCH_SESSION_ID_NOT_FOUND",
	codeListenerNotFound: "LISTENER_NOT_FOUND", codeTopicDeletionDisabled: "TOPIC_DELETION_DISABLED",
	codeFencedLeaderEpoch: "FENCED_LEADER_EPOCH", codeUnknownLeaderEpoch: "UNKNOWN_LEADER_EPOCH",
	codeUnsupportedCompression: "UNSUPPORTED_COMPRESSION_TYPE",
	codeOffsetNotAvailable:     "OFFSET_NOT_AVAILABLE", codeInvalidRecord: "INVALID_RECORD",
	codeInvalidFetchSessionEpoch: "INVALID_FETCH_SESSION_EPOCH",
	codeFetchSessionTopicID:      "FETCH_SESSION_TOPIC_ID_ERROR",
	codePreferredNotAvailable:    "PREFERRED_LEADER_NOT_AVAILABLE",
	codeEligibleNotAvailable:     "ELIGIBLE_LEADERS_NOT_AVAILABLE",
	codeElectionNotNeeded:        "ELECTION_NOT_NEEDED",
	codeSecurityDisabled:         "SECURITY_DISABLED",
	codeResourceNotFound:         "RESOURCE_NOT_FOUND",
	codeDuplicateResource:        "DUPLICATE_RESOURCE",
	codeInvalidUpdateVersion:     "INVALID_UPDATE_VERSION",
	codeUnknownTopicID:           "UNKNOWN_TOPIC_ID", codeMismatchedEndpointType: "MISMATCHED_ENDPOINT_TYPE",
	codeUnsupportedEndpointType: "UNSUPPORTED_ENDPOINT_TYPE",
	codeRebootstrapRequired:     "REBOOTSTRAP_REQUIRED",
	codeOffsetMetadataTooLarge:  "OFFSET_METADATA_TOO_LARGE",
	codeNotCoordinator:          "NOT_COORDINATOR", codeIllegalGeneration: "ILLEGAL_GENERATION",
	codeInconsistentProtocol: "INCONSISTENT_GROUP_PROTOCOL",
	codeInvalidGroupID:       "INVALID_GROUP_ID", codeUnknownMemberID: "UNKNOWN_MEMBER_ID",
	codeInvalidSessionTimeout: "INVALID_SESSION_TIMEOUT",
	codeRebalanceInProgress:   "REBALANCE_IN_PROGRESS", codeNonEmptyGroup: "NON_EMPTY_GROUP",
	codeGroupIDNotFound: "GROUP_ID_NOT_FOUND", codeMemberIDRequired: "MEMBER_ID_REQUIRED",
	codeFencedMemberEpoch: "FENCED_MEMBER_EPOCH", codeUnreleasedInstanceID: "UNRELEASED_INSTANCE_ID",
	codeUnsupportedAssignor: "UNSUPPORTED_ASSIGNOR", codeStaleMemberEpoch: "STALE_MEMBER_EPOCH",
	codeGroupMaxSizeReached:   "GROUP_MAX_SIZE_REACHED",
	codeFencedInstanceID:      "FENCED_INSTANCE_ID",
	codeGroupSubscribed:       "GROUP_SUBSCRIBED_TO_TOPIC",
	codeNoReassignment:        "NO_REASSIGNMENT_IN_PROGRESS",
	codeBrokerIDNotRegistered: "BROKER_ID_NOT_REGISTERED",
	codeInconsistentClusterID: "INCONSISTENT_CLUSTER_ID",
	codeDuplicateVoter:        "DUPLICATE_VOTER", codeVoterNotFound: "VOTER_NOT_FOUND",
	codeInvalidProducerIDMapping: "INVALID_PRODUCER_ID_MAPPING",
	codeInvalidTxnTimeout:        "INVALID_TRANSACTION_TIMEOUT",
	codeConcurrentTransactions:   "CONCURRENT_TRANSACTIONS",
	codeTxnCoordinatorFenced:     "TRANSACTION_COORDINATOR_FENCED",
	codeUnstableOffsetCommit:     "UNSTABLE_OFFSET_COMMIT",
	codeProducerFenced:           "PRODUCER_FENCED",
	codeTransactionalIDNotFound:  "TRANSACTIONAL_ID_NOT_FOUND",
	codeTransactionAbortable:     "TRANSACTION_ABORTABLE",
	codeOperationNotAttempted:    "OPERATION_NOT_ATTEMPTED",
	codeInvalidRegularExpression: "INVALID_REGULAR_EXPRESSION",
	codeInvalidRecordState:       "INVALID_RECORD_STATE",
	codeShareSessionNotFound:     "SHARE_SESSION_NOT_FOUND",
	codeInvalidShareSessionEpoch: "INVALID_SHARE_SESSION_EPOCH",
	codeFencedStateEpoch:         "FENCED_STATE_EPOCH",
	codeShareSessionLimitReached: "SHARE_SESSION_LIMIT_REACHED",
}

// String is Kafka's name of the code.
func (c code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return strconv.Itoa(int(c))
}

// fault is one row of the error table.
type fault struct {
	err error
	// before: what the client hears when nothing was changed on its behalf.
	before code
	// after: what it hears when the change was made, or may have been. It says "unknown", never
	// "no": a client that is told "no" may write the record again under another offset.
	after code
}

// What a coordinator, which is more than its machines, refuses.
var (
	errNotCoordinator     = errors.New("another broker coordinates it, or nobody does yet")
	errCoordinatorLoading = errors.New("coordinator is being loaded")
	// errUnknownTopicID: this node knows no topic of that id, or not yet.
	errUnknownTopicID = errors.New("topic id is unknown")
	// errCoordinatorBusy: more requests wait for the coordinator than it holds, or it is stuck.
	errCoordinatorBusy = errors.New("coordinator has too many requests waiting")
	// errCoordinatorShut: too few replicas are in sync for anything to be kept, or there is no space for it.
	errCoordinatorShut = errors.New("coordinator cannot keep anything at the moment")
)

// faults is the one table from our errors to Kafka's codes. Every sentinel of the packages below
// that can reach an API stands here; a test walks it.
var faults = []fault{
	// The log. NOT_LEADER_OR_FOLLOWER makes clients look for the leader. Losing leadership after the
	// append says nothing about the record: the new leader may hold it.
	{partition.ErrNotLeader, codeNotLeaderOrFollower, codeRequestTimedOut},
	{partition.ErrNotReady, codeOffsetNotAvailable, codeRequestTimedOut},
	{partition.ErrNotEnoughReplicas, codeNotEnoughReplicas, codeNotEnoughAfterAppend},
	{partition.ErrOutOfOrderSequence, codeOutOfOrderSequence, codeRequestTimedOut},
	{partition.ErrInvalidProducerEpoch, codeInvalidProducerEpoch, codeRequestTimedOut},
	// A batch of no transaction that we know of; a log that can remember no more aborted ones refuses for
	// good, since only its retention helps.
	{partition.ErrNoTransaction, codeInvalidTxnState, codeRequestTimedOut},
	{partition.ErrCoordinatorFenced, codeTxnCoordinatorFenced, codeRequestTimedOut},
	{partition.ErrTooManyAborted, codePolicyViolation, codeRequestTimedOut},
	{partition.ErrOffsetOutOfRange, codeOffsetOutOfRange, codeRequestTimedOut},
	{partition.ErrRemoved, codeUnknownTopicOrPartition, codeRequestTimedOut},
	{partition.ErrStopped, codeNotLeaderOrFollower, codeRequestTimedOut},
	// What only the replication side meets; here it would be our bug, which is no news of a record.
	{partition.ErrGap, codeRequestTimedOut, codeRequestTimedOut},
	{partition.ErrDiverged, codeRequestTimedOut, codeRequestTimedOut},
	{partition.ErrLeading, codeRequestTimedOut, codeRequestTimedOut},
	{partition.ErrMalformed, codeCorruptMessage, codeRequestTimedOut},
	// The WAL. Full is back-pressure: nothing happened, try again. Kafka has no code for "later", and
	// NOT_ENOUGH_REPLICAS is the one that all clients take for "not persisted, retry".
	{wal.ErrFull, codeNotEnoughReplicas, codeRequestTimedOut},
	{wal.ErrFailed, codeStorageError, codeRequestTimedOut},
	{wal.ErrDamaged, codeStorageError, codeRequestTimedOut},
	{wal.ErrMoved, codeStorageError, codeRequestTimedOut}, // whoever reads looks it up again
	{wal.ErrTooLarge, codeMessageTooLarge, codeRequestTimedOut},
	{wal.ErrClosed, codeNotLeaderOrFollower, codeRequestTimedOut},
	{wal.ErrNoSpace, codeStorageError, codeRequestTimedOut},
	{wal.ErrNotDurable, codeStorageError, codeRequestTimedOut},
	{wal.ErrEnd, codeStorageError, codeRequestTimedOut},
	// A reader reads by itself then.
	{wal.ErrNotLent, codeStorageError, codeRequestTimedOut},
	// What a batch may have wrong; all are found before anything is appended. CORRUPT_MESSAGE is
	// retriable, since the bytes were damaged on their way.
	{batch.ErrCorrupt, codeCorruptMessage, codeRequestTimedOut},
	{batch.ErrInvalidRecord, codeInvalidRecord, codeRequestTimedOut},
	{batch.ErrInvalidTimestamp, codeInvalidTimestamp, codeRequestTimedOut},
	{batch.ErrUnsupportedMagic, codeUnsupportedForFormat, codeRequestTimedOut},
	{batch.ErrUnsupportedCodec, codeUnsupportedCompression, codeRequestTimedOut},
	{batch.ErrTooLarge, codeMessageTooLarge, codeRequestTimedOut},
	// The cluster image.
	{topic.ErrNameTaken, codeTopicAlreadyExists, codeTopicAlreadyExists},
	{topic.ErrUnknown, codeUnknownTopicOrPartition, codeUnknownTopicOrPartition},
	{topic.ErrInvalidName, codeInvalidTopic, codeInvalidTopic},
	{topic.ErrInvalidPartitions, codeInvalidPartitions, codeInvalidPartitions},
	{topic.ErrInvalidReplicationFactor, codeInvalidReplicationFactor, codeInvalidReplicationFactor},
	{topic.ErrInvalidAssignment, codeInvalidReplicaAssignment, codeInvalidReplicaAssignment},
	{topic.ErrInvalidConfig, codeInvalidConfig, codeInvalidConfig},
	// Kafka 4.4 answers more than 10,000 partitions in one request, and what its controller cannot write at
	// once, in this way.
	{topic.ErrTooLarge, codePolicyViolation, codePolicyViolation},
	{topic.ErrNoController, codeNotController, codeRequestTimedOut},
	{topic.ErrOutcomeUnknown, codeRequestTimedOut, codeRequestTimedOut},
	{topic.ErrStale, codeRequestTimedOut, codeRequestTimedOut},
	{topic.ErrUnsafe, codeInvalidReplicaAssignment, codeInvalidReplicaAssignment},
	{topic.ErrInUse, codeInvalidRequest, codeInvalidRequest},
	{topic.ErrInvalidVoters, codeInvalidRequest, codeInvalidRequest},
	{errNoReassignment, codeNoReassignment, codeNoReassignment},
	{errBrokerUnregistered, codeBrokerIDNotRegistered, codeBrokerIDNotRegistered},
	{errInconsistentCluster, codeInconsistentClusterID, codeInconsistentClusterID},
	{errDuplicateVoter, codeDuplicateVoter, codeDuplicateVoter},
	{errVoterUnknown, codeVoterNotFound, codeVoterNotFound},
	{errInvalidRequest, codeInvalidRequest, codeInvalidRequest},
	{errConsumersOff, codeUnsupportedVersion, codeUnsupportedVersion},
	{errFeatureWaits, codeUnsupportedVersion, codeUnsupportedVersion},
	{errElectionNotNeeded, codeElectionNotNeeded, codeElectionNotNeeded},
	{errPreferredNotInSync, codePreferredNotAvailable, codePreferredNotAvailable},
	{errNobodyToElect, codeEligibleNotAvailable, codeEligibleNotAvailable},
	// What a cluster does not have.
	{errFeatureLevel, codeInvalidUpdateVersion, codeInvalidUpdateVersion},
	{topic.ErrLevelLacking, codeInvalidUpdateVersion, codeInvalidUpdateVersion},
	{errSecurityDisabled, codeSecurityDisabled, codeSecurityDisabled},
	{errResourceNotFound, codeResourceNotFound, codeResourceNotFound},
	{errDuplicateResource, codeDuplicateResource, codeDuplicateResource},
	// Coordinating groups. All but the last make the client look for the coordinator again; nothing is
	// said of what the request asked for, which may have been done.
	{errUnknownTopicID, codeUnknownTopicID, codeUnknownTopicID},
	{errNotCoordinator, codeNotCoordinator, codeNotCoordinator},
	{errCoordinatorLoading, codeCoordinatorLoading, codeCoordinatorLoading},
	{errCoordinatorBusy, codeCoordinatorNotAvailable, codeCoordinatorNotAvailable},
	{errCoordinatorShut, codeCoordinatorNotAvailable, codeCoordinatorNotAvailable},
	// What a group refuses has changed nothing. Too large a group is refused for good: no retry helps.
	{group.ErrUnknownMember, codeUnknownMemberID, codeUnknownMemberID},
	{group.ErrIllegalGeneration, codeIllegalGeneration, codeIllegalGeneration},
	{group.ErrRebalancing, codeRebalanceInProgress, codeRebalanceInProgress},
	{group.ErrFencedInstance, codeFencedInstanceID, codeFencedInstanceID},
	{group.ErrMemberIDRequired, codeMemberIDRequired, codeMemberIDRequired},
	{group.ErrInconsistentProtocol, codeInconsistentProtocol, codeInconsistentProtocol},
	{group.ErrInvalidSessionTimeout, codeInvalidSessionTimeout, codeInvalidSessionTimeout},
	{group.ErrInvalidGroupID, codeInvalidGroupID, codeInvalidGroupID},
	{group.ErrGroupFull, codeGroupMaxSizeReached, codeGroupMaxSizeReached},
	{group.ErrUnknownGroup, codeGroupIDNotFound, codeGroupIDNotFound},
	{group.ErrNotEmpty, codeNonEmptyGroup, codeNonEmptyGroup},
	{group.ErrSubscribed, codeGroupSubscribed, codeGroupSubscribed},
	{group.ErrMetadataTooLarge, codeOffsetMetadataTooLarge, codeOffsetMetadataTooLarge},
	{group.ErrRecordTooLarge, codeMessageTooLarge, codeMessageTooLarge},
	{group.ErrFencedEpoch, codeFencedMemberEpoch, codeFencedMemberEpoch},
	{group.ErrStaleEpoch, codeStaleMemberEpoch, codeStaleMemberEpoch},
	{group.ErrUnreleasedInstance, codeUnreleasedInstanceID, codeUnreleasedInstanceID},
	{group.ErrUnsupportedAssignor, codeUnsupportedAssignor, codeUnsupportedAssignor},
	{group.ErrInvalidPattern, codeInvalidRegularExpression, codeInvalidRegularExpression},
	{group.ErrNotConsumers, codeGroupIDNotFound, codeGroupIDNotFound},
	{group.ErrNotThatKind, codeGroupIDNotFound, codeGroupIDNotFound},
	{group.ErrUnknownTopics, codeCoordinatorNotAvailable, codeCoordinatorNotAvailable},
	{group.ErrOldCommit, codeUnsupportedVersion, codeUnsupportedVersion},
	{group.ErrMalformed, codeCoordinatorLoading, codeCoordinatorLoading},
	// What share groups meet. Records whose state was refused are, or will be, given to somebody again.
	{share.ErrRecordState, codeInvalidRecordState, codeInvalidRecordState},
	{share.ErrInvalidAcknowledgement, codeInvalidRequest, codeInvalidRequest},
	{share.ErrUninitialized, codeUnknownTopicOrPartition, codeUnknownTopicOrPartition},
	{share.ErrFencedState, codeFencedStateEpoch, codeFencedStateEpoch},
	{share.ErrFencedLeader, codeFencedLeaderEpoch, codeFencedLeaderEpoch},
	{share.ErrTooLarge, codeMessageTooLarge, codeMessageTooLarge},
	{share.ErrUnknownSession, codeShareSessionNotFound, codeShareSessionNotFound},
	{share.ErrSessionEpoch, codeInvalidShareSessionEpoch, codeInvalidShareSessionEpoch},
	{share.ErrTooManySessions, codeShareSessionLimitReached, codeShareSessionLimitReached},
	{share.ErrMalformed, codeCoordinatorLoading, codeCoordinatorLoading},
	// What a transactional id refuses has changed nothing. A transaction with too many partitions can only
	// be aborted.
	{txn.ErrUnknownProducer, codeInvalidProducerIDMapping, codeInvalidProducerIDMapping},
	{txn.ErrFenced, codeProducerFenced, codeProducerFenced},
	{txn.ErrConcurrent, codeConcurrentTransactions, codeConcurrentTransactions},
	{txn.ErrInvalidState, codeInvalidTxnState, codeInvalidTxnState},
	{txn.ErrInvalidTimeout, codeInvalidTxnTimeout, codeInvalidTxnTimeout},
	{txn.ErrNotAdded, codeTransactionAbortable, codeTransactionAbortable},
	{txn.ErrTooLarge, codeInvalidTxnState, codeInvalidTxnState},
	{txn.ErrNeedsProducerID, codeCoordinatorNotAvailable, codeCoordinatorNotAvailable},
	{txn.ErrUnknownID, codeTransactionalIDNotFound, codeTransactionalIDNotFound},
	{txn.ErrMalformed, codeCoordinatorLoading, codeCoordinatorLoading},
	{errPeer, codeCoordinatorNotAvailable, codeCoordinatorNotAvailable},
	// A deadline, or this broker stopping.
	{context.DeadlineExceeded, codeRequestTimedOut, codeRequestTimedOut},
	{context.Canceled, codeRequestTimedOut, codeRequestTimedOut},
}

// judge is codeBefore for errors from below, and logs those that an operator must hear of.
func (b *Broker) judge(api string, err error) code {
	f, known := findFault(err)
	if internal(f, known) {
		b.troubles.report(api, f.before, err)
	}
	return f.before
}

// internal tells errors of our own, or of the disk, from those that a cluster meets as it goes. It takes what findFault returns.
func internal(f fault, known bool) bool { return !known || f.before == codeStorageError }

// codeBefore is what err means when nothing was changed on the client's behalf.
func codeBefore(err error) code {
	f, _ := findFault(err)
	return f.before
}

// codeAfter is what err means when a change was made, or may have been.
func codeAfter(err error) code {
	f, _ := findFault(err)
	return f.after
}

// findFault finds the row of err. An error without a row becomes REQUEST_TIMED_OUT: retriable, and
// silent about the outcome. It is never success, and never UNKNOWN_SERVER_ERROR, on which clients
// resend what was written.
func findFault(err error) (fault, bool) {
	if err == nil {
		return fault{}, true
	}
	for _, f := range faults {
		if errors.Is(err, f.err) {
			return f, true
		}
	}
	return fault{err: err, before: codeRequestTimedOut, after: codeRequestTimedOut}, false
}
