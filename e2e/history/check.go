package history

import (
	"fmt"
	"slices"
	"time"
)

// checker is one run of Check. It goes over sends, then reads, then what follows from both, each time
// once; what it keeps is bounded by the records that were sent and read.
type checker struct {
	history    *History
	verdict    Verdict
	partitions []Partition
	logs       []*log
	// sends are all sends, producer by producer, and firstSend where each producer's begin.
	sends     []*send
	fates     []fate
	firstSend []int
	// firstPoll is where each consumer's polls begin.
	firstPoll []int
	// sent finds a send by its value.
	sent map[Value]uint32
	// elsewhere are the other offsets of values that were read at more than one.
	elsewhere map[uint32][]int64
	// retained are steps over what retention may have removed, retold says that they are being judged.
	retained []passage
	retold   bool
	// passedOver are the starts that such steps show.
	passedOver []sighting
	// told keeps an anomaly of a value from being told at each read.
	told map[told]bool
}

// fate is what readers say of a send.
type fate struct {
	// at is an offset where it was read: the acknowledged one if it was read there; else the first.
	at int64
	// partition is the send's, or where it was read if that is not known.
	partition uint32
	// committed: it is in no transaction, or in one whose commit was acknowledged.
	committed bool
	any       bool
}

type told struct {
	kind  Kind
	value Value
}

// Check judges a history that nobody writes to any more, in time that grows with its length.
func Check(h *History) Verdict {
	c := newChecker(h)
	c.claimAcks()
	c.claimReads()
	c.followStreams()
	c.judgePassages()
	for _, l := range c.logs {
		l.mergeGaps()
	}
	c.judgeSends()
	c.judgeRetention()
	for i, p := range h.mu.producers {
		c.judgeOrder(i, p)
	}
	for number := range c.logs {
		c.judgeLog(uint32(number))
	}
	c.count()
	return c.verdict
}

func newChecker(h *History) *checker {
	c := &checker{
		history: h, partitions: h.mu.partitions,
		verdict:   Verdict{Counts: map[Kind]int{}, Faults: map[string]int{}},
		elsewhere: map[uint32][]int64{}, told: map[told]bool{},
	}
	for range c.partitions {
		c.logs = append(c.logs, newLog())
	}
	total := 0
	for _, p := range h.mu.producers {
		c.firstSend = append(c.firstSend, total)
		total += p.mu.sends.len()
	}
	c.sends, c.fates = make([]*send, 0, total), make([]fate, 0, total)
	c.sent = make(map[Value]uint32, total)
	polls := 0
	for _, r := range h.mu.consumers {
		c.firstPoll = append(c.firstPoll, polls)
		polls += r.mu.polls.len()
	}
	return c
}

// report notes an anomaly; what it is about is spelled out only for the first of its kind.
func (c *checker) report(kind Kind, partition uint32, spell func(a *Anomaly)) {
	c.verdict.Counts[kind]++
	if c.verdict.Counts[kind] > AnomaliesMax {
		return
	}
	a := Anomaly{Kind: kind, Partition: c.partitions[partition]}
	spell(&a)
	c.verdict.Anomalies = append(c.verdict.Anomalies, a)
}

// once is report for what is said of a value, once.
func (c *checker) once(kind Kind, partition uint32, v Value, spell func(a *Anomaly)) {
	if key := (told{kind, v}); !c.told[key] {
		c.told[key] = true
		c.report(kind, partition, spell)
	}
}

func (c *checker) incomplete(format string, args ...any) {
	const most = 20
	if len(c.verdict.Incomplete) < most {
		c.verdict.Incomplete = append(c.verdict.Incomplete, fmt.Sprintf(format, args...))
	}
}

func (c *checker) count() {
	v, h := &c.verdict, c.history
	v.Producers, v.Consumers = len(h.mu.producers), len(h.mu.consumers)
	v.Sends = len(c.sends)
	first, last := never, time.Duration(0)
	for i, s := range c.sends {
		switch s.outcome {
		case acked:
			v.Acked++
			if c.fates[i].at != NoOffset {
				v.Seen++
			}
		case failed:
			v.Failed++
		default:
			v.Unknown++
		}
		first, last = min(first, s.invoked), max(last, s.invoked, s.ended)
	}
	for _, r := range h.mu.consumers {
		v.Polls += r.mu.polls.len()
		v.Reads += r.mu.values.len()
		for i := range r.mu.polls.len() {
			p := r.mu.polls.at(i)
			first, last = min(first, p.invoked), max(last, p.invoked)
		}
	}
	v.Took = max(0, last-first)
	for _, p := range c.partitions {
		if p.ID != AnyPartition {
			v.Partitions++
		}
	}
	for _, f := range h.mu.faults {
		v.Faults[f.Kind]++
	}
}

// sendOp describes a send.
func (c *checker) sendOp(i uint32) string {
	s, producer := c.sends[i], c.owner(c.firstSend, int(i))
	text := fmt.Sprintf("producer %q send %d at %s: %s", c.history.mu.producers[producer].config.Name,
		int(i)-c.firstSend[producer], s.invoked, s.outcome)
	if s.outcome == acked {
		text += fmt.Sprintf(" offset %d", s.offset)
	}
	if s.outcome != pending {
		text += fmt.Sprintf(" at %s", s.ended)
	}
	return text
}

// pollOp describes a poll.
func (c *checker) pollOp(number uint32) string {
	consumer := c.owner(c.firstPoll, int(number))
	r, i := c.history.mu.consumers[consumer], int(number)-c.firstPoll[consumer]
	if i >= r.mu.polls.len() {
		return fmt.Sprintf("consumer %q before its first poll", r.config.Name)
	}
	p := r.mu.polls.at(i)
	text := fmt.Sprintf("consumer %q poll %d at %s", r.config.Name, i, p.invoked)
	if p.ended != never {
		text += fmt.Sprintf(" to %s", p.ended)
	}
	return text
}

// pollOf is a poll that has read something.
func (c *checker) pollOf(number uint32) *poll {
	consumer := c.owner(c.firstPoll, int(number))
	return c.history.mu.consumers[consumer].mu.polls.at(int(number) - c.firstPoll[consumer])
}

// owner is who has the i-th of a list of which each owner has a range.
func (c *checker) owner(firsts []int, i int) int {
	at, found := slices.BinarySearch(firsts, i)
	if !found {
		return at - 1
	}
	// those before have nothing if the next begins where they do
	for at+1 < len(firsts) && firsts[at+1] == i {
		at++
	}
	return at
}

// readOp describes the first poll that read an offset.
func (c *checker) readOp(partition uint32, offset int64) string {
	p, bit := c.logs[partition].looked(offset)
	if p == nil || p.read>>uint(bit)&1 == 0 {
		return fmt.Sprintf("offset %d was not read", offset)
	}
	return c.pollOp(p.readBy[bit])
}
