package partition

import "errors"

var (
	// ErrNotLeader: this node does not lead the partition in the epoch meant, or may not act as its
	// leader now. Nothing was appended if Append says so; if an Await says so, the outcome is open.
	// The client finds the leader and tries again.
	ErrNotLeader = errors.New("not the leader of the partition")
	// ErrNotEnoughReplicas: an acks=all batch was refused before it was appended, since too few
	// replicas are in sync or too much is unacknowledged. The client tries again.
	ErrNotEnoughReplicas = errors.New("not enough in-sync replicas")
	// ErrNotReady: the leader's high watermark has not reached the start of its epoch, so it cannot
	// tell what the latest offset is. The client tries again.
	ErrNotReady = errors.New("leader is not ready")
	// ErrOutOfOrderSequence: an idempotent producer's batch does not follow its last one.
	ErrOutOfOrderSequence = errors.New("producer sequence is out of order")
	// ErrInvalidProducerEpoch: a producer with a newer epoch has written here.
	ErrInvalidProducerEpoch = errors.New("producer epoch is old")
	// ErrNoTransaction: a batch claims a transaction that is not known to be ongoing, or breaks into one.
	ErrNoTransaction = errors.New("no such transaction is ongoing in the partition")
	// ErrCoordinatorFenced: a newer transaction coordinator has written here. The older one stops.
	ErrCoordinatorFenced = errors.New("transaction coordinator is deposed")
	// ErrTooManyAborted: the log holds as many aborted transactions as can be remembered.
	ErrTooManyAborted = errors.New("partition holds too many aborted transactions")
	// ErrOffsetOutOfRange: below the log start or above the log end.
	ErrOffsetOutOfRange = errors.New("offset is out of range")
	// ErrGap: a replicated entry does not start at the log end. The follower asks again.
	ErrGap = errors.New("entry does not start at the log end")
	// ErrDiverged: a replicated entry continues another history. The follower reconciles.
	ErrDiverged = errors.New("entry follows another epoch")
	// ErrMalformed: a replicated entry is not the batch that it claims to be. It is refused and
	// asked for again.
	ErrMalformed = errors.New("entry does not match its batch")
	// ErrLeading: the leader owns its log; a leader neither truncates nor replicates. This is the
	// caller's bug.
	ErrLeading = errors.New("the partition is led here")
	// ErrRemoved: the partition was removed from this node.
	ErrRemoved = errors.New("partition is removed")
	// ErrStopped: the store has stopped cleanly. Of what was waited for, the outcome is open.
	ErrStopped = errors.New("partition store has stopped")
)
