package share

import "errors"

// What may be refused. The broker's table turns each into a Kafka error code.
var (
	// ErrRecordState: a record is not acquired by the member that acknowledges it, any more.
	ErrRecordState = errors.New("record is not acquired by the member")
	// ErrInvalidAcknowledgement: an acknowledgement makes no sense, whatever the state is.
	ErrInvalidAcknowledgement = errors.New("acknowledgement is invalid")
	// ErrUninitialized: nothing is kept of the partition; the group's coordinator has to initialize it.
	ErrUninitialized = errors.New("share-partition is not initialized")
	// ErrFencedState: the state was reset since, so the leader reads it again.
	ErrFencedState = errors.New("state epoch is fenced")
	// ErrFencedLeader: a later leader has read the state, so this one leads no more.
	ErrFencedLeader = errors.New("leader epoch is fenced")
	// ErrTooLarge: the state does not fit one record.
	ErrTooLarge = errors.New("state of a share-partition does not fit a record")
	// ErrUnknownSession: there is no such session; the client opens another.
	ErrUnknownSession = errors.New("share session is unknown")
	// ErrSessionEpoch: the request is not the next one of its session; the client opens another.
	ErrSessionEpoch = errors.New("share session epoch is not the next one")
	// ErrTooManySessions: there are as many sessions as there may be, or they name too many partitions.
	ErrTooManySessions = errors.New("too many share sessions")
	// ErrMalformed: a record of the log is none of ours, or damaged.
	ErrMalformed = errors.New("record of a share-partition is malformed")
)
