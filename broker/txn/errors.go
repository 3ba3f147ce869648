package txn

import "errors"

// What a request may be refused for. The broker's table turns each into a Kafka error code.
var (
	// ErrUnknownProducer: the transactional id is not known, or is another producer id's. The producer
	// begins again.
	ErrUnknownProducer = errors.New("producer id is not that of the transactional id")
	// ErrFenced: a newer producer has begun under the transactional id, or its transaction timed out.
	ErrFenced = errors.New("producer is fenced by a newer one")
	// ErrConcurrent: the last transaction is being ended; the producer asks again.
	ErrConcurrent = errors.New("transaction is being ended")
	// ErrInvalidState: the transaction cannot be ended so, since it is not ongoing or ended otherwise.
	ErrInvalidState = errors.New("transaction is not in a state for that")
	// ErrInvalidTimeout: the transaction timeout is out of range.
	ErrInvalidTimeout = errors.New("transaction timeout is out of range")
	// ErrNotAdded: the partition is not part of an ongoing transaction of the producer; it aborts.
	ErrNotAdded = errors.New("partition is not part of the transaction")
	// ErrTooLarge: the transaction has so many partitions that no record holds them.
	ErrTooLarge = errors.New("transaction does not fit a record")
	// ErrNeedsProducerID: the event must be made again with a new producer id in it.
	ErrNeedsProducerID = errors.New("a new producer id is needed")
	// ErrUnknownID: there is no such transactional id.
	ErrUnknownID = errors.New("transactional id is unknown")
	// ErrMalformed: a record of the log is none of ours, or damaged.
	ErrMalformed = errors.New("record of a transactional id is malformed")
)
