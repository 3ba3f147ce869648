package history

import (
	"fmt"
	"strings"
	"time"
)

// Kind is a kind of anomaly.
type Kind string

// The kinds of anomalies. Those of a log that kept its word: none.
const (
	// InconsistentOffset: two values at one offset, among what was acknowledged and what was read.
	InconsistentOffset Kind = "inconsistent-offset"
	// LostWrite: acknowledged, never read, though a later offset was.
	LostWrite Kind = "lost-write"
	// Unseen: acknowledged, and not read by the end of the final polls.
	Unseen Kind = "unseen"
	// FailedRead: a value was read whose send had definitely failed.
	FailedRead Kind = "failed-read"
	// Garbage: a value was read that nobody sent to that partition.
	Garbage Kind = "garbage"
	// AckMismatch: a value was read, and not at the offset that was acknowledged.
	AckMismatch Kind = "ack-mismatch"
	// InternalSkip: one poll left out a record.
	InternalSkip Kind = "int-poll-skip"
	// InternalNonmonotonic: one poll went back.
	InternalNonmonotonic Kind = "int-nonmonotonic-poll"
	// PollSkip: an assigned consumer left out a record between two polls.
	PollSkip Kind = "poll-skip"
	// PollNonmonotonic: an assigned consumer went back between two polls.
	PollNonmonotonic Kind = "nonmonotonic-poll"
	// NonmonotonicSend: a producer's later send has a lower offset.
	NonmonotonicSend Kind = "nonmonotonic-send"
	// Duplicate: a value of an idempotent producer stands at two offsets.
	Duplicate Kind = "duplicate"
	// UncommittedRead: a read-committed consumer saw an aborted or not yet committed record.
	UncommittedRead Kind = "uncommitted-read"
	// Hole: an offset below one that was read was never read, and nobody was told of a record there.
	Hole Kind = "hole"
	// Vanished: a record was read at an offset at or above the end that the final polls found.
	Vanished Kind = "vanished"
	// TakenEarly: a record is below a start, and was neither old nor beyond what is kept, nor deleted.
	TakenEarly Kind = "taken-early"
	// RepeatedValue: two sends of one value. The recorder is wrong, or a hash has collided.
	RepeatedValue Kind = "repeated-value"
)

// Anomaly is one thing that should not have been.
type Anomaly struct {
	Kind      Kind
	Partition Partition
	// Offsets and Values are what it is about, and Ops the operations that say so.
	Offsets []int64
	Values  []Value
	Ops     []string
}

// String is one line.
func (a Anomaly) String() string {
	values := make([]string, len(a.Values))
	for i, v := range a.Values {
		values[i] = fmt.Sprintf("%016x", uint64(v))
	}
	return fmt.Sprintf("%s: %s-%d offsets %d values %s: %s", a.Kind, a.Partition.Topic, a.Partition.ID,
		a.Offsets, values, strings.Join(a.Ops, "; "))
}

// Verdict is what Check says.
type Verdict struct {
	// Anomalies are the first AnomaliesMax of each kind, Counts all of them.
	Anomalies []Anomaly
	Counts    map[Kind]int
	// Incomplete says what the history lacks for a judgement, for example final polls of a partition.
	Incomplete []string

	Producers, Consumers, Partitions int
	Sends, Acked, Failed, Unknown    int
	// Polls and Reads are operations and records; Seen is how many acknowledged sends were read.
	Polls, Reads, Seen int
	// Taken are the records that were rightly below a start; none are judged without Rules.Kept.
	Taken Taken
	// Faults are how many there were of each kind.
	Faults map[string]int
	// Took is the time from the first to the last operation.
	Took time.Duration
}

// AnomaliesMax bounds the anomalies of one kind that a verdict spells out.
const AnomaliesMax = 10

// Valid says that nothing is wrong and nothing is lacking.
func (v Verdict) Valid() bool { return v.Total() == 0 && len(v.Incomplete) == 0 }

// Total is the number of anomalies of all kinds.
func (v Verdict) Total() int {
	total := 0
	for _, n := range v.Counts {
		total += n
	}
	return total
}

// Err is nil if the history is valid, and else says everything.
func (v Verdict) Err() error {
	if v.Valid() {
		return nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "history is %s", v)
	for _, why := range v.Incomplete {
		fmt.Fprintf(&text, "\n\tincomplete: %s", why)
	}
	for _, a := range v.Anomalies {
		fmt.Fprintf(&text, "\n\t%s", a)
	}
	return fmt.Errorf("%s", text.String())
}

// String is one line with the counts.
func (v Verdict) String() string {
	word := "valid"
	switch {
	case v.Total() > 0:
		word = "invalid"
	case len(v.Incomplete) > 0:
		word = "incomplete"
	}
	return fmt.Sprintf("%s: %d sends (%d acknowledged, %d failed, %d unknown), %d records read in %d polls, "+
		"%d of the acknowledged seen, %d partitions, anomalies %v", word, v.Sends, v.Acked, v.Failed, v.Unknown,
		v.Reads, v.Polls, v.Seen, v.Partitions, v.Counts)
}
