package history

import (
	"math"
	"sync"
	"time"
)

// ConsumerConfig says what a consumer promises by its settings.
type ConsumerConfig struct {
	// Name is for the report.
	Name string `json:"name"`
	// Subscribed: a group hands it its partitions, so that it may jump between two polls. Without it
	// the partitions were assigned, and it reads each without a skip or a step back.
	Subscribed bool `json:"subscribed,omitempty"`
	// ReadCommitted: it sees no record of a transaction that was not committed.
	ReadCommitted bool `json:"read_committed,omitempty"`
}

// poll is one operation.
type poll struct {
	invoked time.Duration
	// ended is never until the client returned.
	ended time.Duration
	// wall is the time of day then.
	wall int64
}

// never is later than everything.
const never time.Duration = math.MaxInt64

// moveKind is what a run says.
type moveKind uint8

const (
	moveRead moveKind = iota
	// moveSeek: the next record is the one at offset.
	moveSeek
	// moveReset: nothing is known of the next record.
	moveReset
	// moveFinal: a seek, from which everything is read up to the end of a Range.
	moveFinal
	// moveFinished: the end of that range was reached.
	moveFinished
)

// run is a range of consecutive offsets that a poll read in one partition, or a jump.
type run struct {
	offset    int64
	partition uint32
	poll      uint32
	count     uint32
	kind      moveKind
}

// Consumer records the polls of one consumer. What it does, it does in the order of the calls.
type Consumer struct {
	config  ConsumerConfig
	history *History
	mu      struct {
		sync.Mutex
		numbered
		polls  chunked[poll]
		runs   chunked[run]
		values chunked[Value]
		// finals are those of the moveFinal runs, in their order.
		finals []Range
	}
}

// Consumer adds a consumer.
func (h *History) Consumer(c ConsumerConfig) *Consumer {
	r := &Consumer{config: c, history: h}
	r.mu.numbered = newNumbered(h)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.consumers = append(h.mu.consumers, r)
	return r
}

// Poll begins an operation. Its records follow in the order in which the
// client gave them.
func (c *Consumer) Poll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.polls.add(poll{invoked: c.history.clock(), ended: never})
}

// Read notes a record that the operation returned.
func (c *Consumer) Read(topic string, partition int32, offset int64, v Value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readLocked(c.mu.of(topic, partition), offset, v)
}

func (c *Consumer) readLocked(partition uint32, offset int64, v Value) {
	if c.mu.polls.len() == 0 {
		c.mu.polls.add(poll{ended: never})
	}
	at := uint32(c.mu.polls.len() - 1)
	c.mu.values.add(v)
	if n := c.mu.runs.len(); n > 0 {
		last := c.mu.runs.at(n - 1)
		if last.kind == moveRead && last.poll == at && last.partition == partition &&
			last.offset+int64(last.count) == offset {
			last.count++
			return
		}
	}
	c.mu.runs.add(run{offset: offset, partition: partition, poll: at, count: 1})
}

// Done ends the operation: the client has returned.
func (c *Consumer) Done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.mu.polls.len(); n > 0 {
		last := c.mu.polls.at(n - 1)
		last.ended, last.wall = c.history.clock(), c.history.wall()
	}
}

// Seek notes that the consumer was told to go on at an offset, also where it begins.
func (c *Consumer) Seek(topic string, partition int32, offset int64) {
	c.move(moveSeek, topic, partition, offset)
}

// Reset excuses the next jump in a partition: a rebalance, or a start wherever the log ends.
func (c *Consumer) Reset(topic string, partition int32) {
	c.move(moveReset, topic, partition, 0)
}

// Range is what a partition holds, as the broker says.
type Range struct {
	// Asked is History.Now from before the broker was asked.
	Asked time.Duration `json:"asked"`
	// Start is the first offset that is there, End the one after the last.
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// Final begins the final polls of a partition: a seek to the start of r, from where this consumer
// reads everything up to its end. The broker is asked for r after every send to the partition had its
// outcome and every process that produces has ended.
func (c *Consumer) Final(topic string, partition int32, r Range) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.finals = append(c.mu.finals, r)
	c.moveLocked(moveFinal, topic, partition, r.Start)
}

// Finished says that the client's position has reached the end of the range of Final. It is needed
// only where offsets may be without a record; elsewhere the last record read shows it.
func (c *Consumer) Finished(topic string, partition int32) {
	c.move(moveFinished, topic, partition, 0)
}

func (c *Consumer) move(kind moveKind, topic string, partition int32, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moveLocked(kind, topic, partition, offset)
}

func (c *Consumer) moveLocked(kind moveKind, topic string, partition int32, offset int64) {
	c.mu.runs.add(run{
		kind: kind, offset: offset, partition: c.mu.of(topic, partition),
		poll: uint32(max(0, c.mu.polls.len()-1)),
	})
}
