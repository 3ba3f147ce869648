package history

import (
	"sync"
	"time"
)

// Value names a record: unique over a whole history.
type Value uint64

// ValueOf is the value of a payload that holds no number of its own: FNV-1a, 64 bits.
func ValueOf(payload []byte) Value {
	const basis, prime = 14695981039346656037, 1099511628211
	hash := uint64(basis)
	for _, b := range payload {
		hash = (hash ^ uint64(b)) * prime
	}
	return Value(hash)
}

// Partition names one partition.
type Partition struct {
	Topic string `json:"topic"`
	ID    int32  `json:"partition"`
}

// AnyPartition is the partition of a send for which the client chooses one later.
const AnyPartition int32 = -1

// Rules are what the log under test promises beyond what every log does.
type Rules struct {
	// Holes: offsets may stay without a record, as transaction markers and aborted records leave them
	// to a read-committed reader. Without it each offset below one that was read holds a record.
	Holes bool `json:"holes,omitempty"`
	// Retention: a partition may start above offset 0, and a reader that is below the start goes on there.
	// Without it what is missing at the start is lost.
	Retention bool `json:"retention,omitempty"`
	// Kept is what Retention leaves; nil is not to judge that.
	Kept *Kept `json:"kept,omitempty"`
}

// Config makes a History.
type Config struct {
	Rules Rules
	// Clock is the time since some moment, which never goes back; default: since New. It is called
	// concurrently.
	Clock func() time.Duration
	// Wall is the time of day, in milliseconds since 1970, as clients stamp records and brokers delete them by; it may
	// jump. Default: the machine's. Only Rules.Kept wants it.
	Wall func() int64
}

// History is what clients were told. Its methods may be called concurrently; Check, WriteTo and the
// counts of a verdict want a history that nobody writes to any more.
type History struct {
	rules Rules
	clock func() time.Duration
	wall  func() int64

	mu struct {
		sync.Mutex
		// partitions are numbered in the order in which they were met.
		partitions []Partition
		numbers    map[Partition]uint32
		producers  []*Producer
		consumers  []*Consumer
		faults     []Fault
		// starts and deletions rise, in each partition.
		starts, deletions []sighting
		// latest is the latest time of day at which somebody looked for a start.
		latest int64
	}
}

// New makes an empty history.
func New(c Config) *History {
	if c.Clock == nil {
		began := time.Now()
		c.Clock = func() time.Duration { return time.Since(began) }
	}
	if c.Wall == nil {
		c.Wall = func() int64 { return time.Now().UnixMilli() }
	}
	if c.Rules.Kept == nil {
		c.Wall = func() int64 { return 0 }
	}
	h := &History{rules: c.Rules, clock: c.Clock, wall: c.Wall}
	h.mu.numbers = map[Partition]uint32{}
	return h
}

// Now is the time as the history has it.
func (h *History) Now() time.Duration { return h.clock() }

// number is the number of a partition, the same for all producers and consumers.
func (h *History) number(p Partition) uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.mu.numbers[p]
	if !ok {
		n = uint32(len(h.mu.partitions))
		h.mu.numbers[p] = n
		h.mu.partitions = append(h.mu.partitions, p)
	}
	return n
}

// Fault is something that was done to the cluster: for the report, no rule looks at it.
type Fault struct {
	At     time.Duration `json:"at"`
	Kind   string        `json:"kind"`
	Detail string        `json:"detail,omitempty"`
}

// Fault notes a fault.
func (h *History) Fault(kind, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.faults = append(h.mu.faults, Fault{At: h.clock(), Kind: kind, Detail: detail})
}

// numbered remembers the numbers of partitions for one owner, so that History's lock stays cold.
type numbered struct {
	history *History
	known   map[Partition]uint32
	names   map[uint32]Partition
	// numbers are those of the topic met last, by partition, plus 1: records come in turn to all
	// partitions of one topic.
	topic   string
	numbers [partitionsCached]uint32
}

const partitionsCached = 64

func newNumbered(h *History) numbered {
	return numbered{history: h, known: map[Partition]uint32{}, names: map[uint32]Partition{}}
}

// of wants the owner's lock.
func (n *numbered) of(topic string, id int32) uint32 {
	cached := uint32(id) < partitionsCached
	if cached && topic == n.topic && n.numbers[id] > 0 {
		return n.numbers[id] - 1
	}
	p := Partition{Topic: topic, ID: id}
	number, ok := n.known[p]
	if !ok {
		number = n.history.number(p)
		n.known[p], n.names[number] = number, p
	}
	if topic != n.topic {
		n.topic, n.numbers = topic, [partitionsCached]uint32{}
	}
	if cached {
		n.numbers[id] = number + 1
	}
	return number
}

// chunked is a list that grows without copying all that it has; a short one stays small.
type chunked[T any] struct {
	chunks [][]T
}

const chunkLen = 1 << 12

func (c *chunked[T]) add(v T) {
	last := len(c.chunks) - 1
	if last < 0 || len(c.chunks[last]) == chunkLen {
		c.chunks = append(c.chunks, make([]T, 0, firstLen(last)))
		last++
	}
	c.chunks[last] = append(c.chunks[last], v)
}

// firstLen is the room that a chunk begins with: the first one grows like any slice.
func firstLen(last int) int {
	const small = 16
	if last < 0 {
		return small
	}
	return chunkLen
}

func (c *chunked[T]) len() int {
	if len(c.chunks) == 0 {
		return 0
	}
	return (len(c.chunks)-1)*chunkLen + len(c.chunks[len(c.chunks)-1])
}

func (c *chunked[T]) at(i int) *T { return &c.chunks[i/chunkLen][i%chunkLen] }
