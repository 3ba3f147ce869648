package txn

import "strings"

// Time is one moment on two clocks.
type Time struct {
	// Mono is milliseconds on a clock that never jumps: timeouts count on it.
	Mono int64
	// Wall is milliseconds since 1970: what records say.
	Wall int64
}

// Token names a request that waits for its reply; zero names none.
type Token uint64

// Event is something that a Machine is told.
type Event interface{ token() Token }

// NoProducer and NoEpoch stand for none.
const (
	NoProducer int64 = -1
	NoEpoch    int16 = -1
)

// BumpsEpochs is the transaction version from which on clients take a new epoch after each transaction.
const BumpsEpochs = 2

// Partition names a partition that takes part in a transaction.
type Partition struct {
	Topic string
	Index int32
}

func compare(a, b Partition) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Index) - int(b.Index)
}

// Init begins a producer. An open transaction of the one before is aborted first, and the request
// refused with ErrConcurrent meanwhile. The answer is *Identity.
type Init struct {
	Token         Token
	TimeoutMillis int32
	// ID and Epoch are those of a producer that wants to go on with another epoch (KIP-360), else none.
	ID    int64
	Epoch int16
	// NewID is a producer id that nobody has, NoProducer until it is asked for by ErrNeedsProducerID.
	NewID int64
}

// Identity is who a producer is from now on.
type Identity struct {
	ID    int64
	Epoch int16
}

// Add makes partitions part of the transaction, and begins it with the first.
type Add struct {
	Token      Token
	ID         int64
	Epoch      int16
	Partitions []Partition
	// Version is the client's transaction version.
	Version int16
}

// Verify asks whether partitions are part of the ongoing transaction. The answer is *Verified.
type Verify struct {
	Token      Token
	ID         int64
	Epoch      int16
	Partitions []Partition
}

// Verified tells of each partition whether it is part of the transaction, nil if it is.
type Verified struct{ Errs []error }

// End commits or aborts the transaction. The answer, when the decision is durable, is *Identity.
type End struct {
	Token  Token
	ID     int64
	Epoch  int16
	Commit bool
	// Version is the client's transaction version.
	Version int16
	// NewID is as in Init.
	NewID int64
}

// Marked tells that the markers of a producer id in an epoch are durable in partitions.
type Marked struct {
	ID         int64
	Epoch      int16
	Partitions []Partition
}

func (e Init) token() Token   { return e.Token }
func (e Add) token() Token    { return e.Token }
func (e Verify) token() Token { return e.Token }
func (e End) token() Token    { return e.Token }
func (e Marked) token() Token { return 0 }

// Effects is what is to be done after a Step or a Tick.
type Effects struct {
	// Records are to be appended to the id's partition, in this order and in one go: all or none. When
	// that fails the Machine must not be used any more.
	Records []Record
	// Replies are to be sent, each to the request of its token.
	Replies []Reply
	// Markers are to be sent, but not before all Records until now are committed: a marker that a
	// partition has and the log has not is a transaction that is torn.
	Markers []Markers
}

// Markers are the control records that end a transaction. Until Marked has come for all partitions the
// sender tries again.
type Markers struct {
	// ID and Epoch are what the markers bear.
	ID     int64
	Epoch  int16
	Commit bool
	// Strict: Epoch is newer than that of the transaction's batches.
	Strict     bool
	Partitions []Partition
}

// Reply answers one request.
type Reply struct {
	Token Token
	// AfterRecords: the reply must not be sent before everything that this Machine has ever put into
	// Effects.Records is committed.
	AfterRecords bool
	// Result is of the type that the event names; with an Err it is nil.
	Result any
	Err    error
}

// Reset empties fx for the next use.
func (fx *Effects) Reset() {
	fx.Records, fx.Replies, fx.Markers = fx.Records[:0], fx.Replies[:0], fx.Markers[:0]
}

func (fx *Effects) refuse(t Token, err error) {
	if t != 0 {
		fx.Replies = append(fx.Replies, Reply{Token: t, Err: err})
	}
}

func (fx *Effects) reply(t Token, result any) {
	if t != 0 {
		fx.Replies = append(fx.Replies, Reply{Token: t, Result: result, AfterRecords: true})
	}
}
