package history

import (
	"sync"
	"time"
)

// NoOffset is the offset of an acknowledgement that names none.
const NoOffset int64 = -1

// ProducerConfig says what a producer promises by its settings.
type ProducerConfig struct {
	// Name is for the report.
	Name string `json:"name"`
	// Idempotent: a value stands at one offset only, however often its batch was sent.
	Idempotent bool `json:"idempotent,omitempty"`
	// Ordered: of two sends to one partition the one invoked later has the higher offset, though the
	// earlier may not have returned. Idempotent producers are, and those with one request in flight.
	// Without it only a send invoked after the other returned must be higher.
	Ordered bool `json:"ordered,omitempty"`
}

// outcome is what became of a send or of a transaction, as the client was told.
type outcome uint8

const (
	pending outcome = iota
	acked
	failed
	unknown
)

var outcomeNames = [...]string{"pending", "acked", "failed", "unknown"}

func (o outcome) String() string { return outcomeNames[o] }

// send is one record that was handed to a producer.
type send struct {
	value          Value
	offset         int64
	invoked, ended time.Duration
	partition      uint32
	outcome        outcome
	stored         Stored
}

// transaction is a range of a producer's sends.
type transaction struct {
	first, end int
	// committing is when the commit was asked for; -1 if it never was.
	committing time.Duration
	outcome    outcome
}

// Producer records the sends of one producer.
type Producer struct {
	config  ProducerConfig
	history *History
	mu      struct {
		sync.Mutex
		numbered
		sends        chunked[send]
		transactions []transaction
	}
}

// Producer adds a producer: one process as the rules on order see it, with one producer id if it is
// idempotent. A client that was made anew is another one.
func (h *History) Producer(c ProducerConfig) *Producer {
	p := &Producer{config: c, history: h}
	p.mu.numbered = newNumbered(h)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.producers = append(h.mu.producers, p)
	return p
}

// Sent is a send that waits for its outcome. Exactly one of its methods is called, once; a send
// without an outcome counts as unknown.
type Sent struct {
	producer *Producer
	index    int
}

// Send notes a record right before it is handed to the client. The order of these calls is the order
// of the producer's sends.
func (p *Producer) Send(topic string, partition int32, v Value) Sent {
	return p.SendStored(topic, partition, v, Stored{Stamp: p.history.wall()})
}

// Stored is what retention goes by.
type Stored struct {
	// Stamp is the record's timestamp, in milliseconds since 1970.
	Stamp int64
	// Bytes is the most that it takes of a log, 0 if that is not known.
	Bytes uint32
}

// SendStored is Send of a record of which more is known; Send is of one that its client stamps at once.
func (p *Producer) SendStored(topic string, partition int32, v Value, of Stored) Sent {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.sends.add(send{
		value: v, offset: NoOffset, partition: p.mu.of(topic, partition), invoked: p.history.clock(), stored: of,
	})
	return Sent{producer: p, index: p.mu.sends.len() - 1}
}

// Acked says that the client was told success at this offset; NoOffset if it was told none.
func (s Sent) Acked(offset int64) { s.end(acked, offset) }

// AckedAt is Acked for a send to AnyPartition.
func (s Sent) AckedAt(partition int32, offset int64) {
	p := s.producer
	p.mu.Lock()
	sent := p.mu.sends.at(s.index)
	sent.partition = p.mu.of(p.mu.names[sent.partition].Topic, partition)
	p.mu.Unlock()
	s.end(acked, offset)
}

// Failed says that the client was told an error, one which means that nothing was and nothing will be written. If in
// doubt, it is Unknown.
func (s Sent) Failed() { s.end(failed, NoOffset) }

// Unknown says that the client was told something else, or gave up.
func (s Sent) Unknown() { s.end(unknown, NoOffset) }

func (s Sent) end(o outcome, offset int64) {
	s.producer.mu.Lock()
	defer s.producer.mu.Unlock()
	sent := s.producer.mu.sends.at(s.index)
	sent.outcome, sent.offset, sent.ended = o, offset, s.producer.history.clock()
}

// Transaction is one transaction of a producer, which sends nothing outside of it meanwhile.
type Transaction struct {
	producer *Producer
	index    int
}

// Begin begins a transaction: what is sent from now on until its outcome belongs to it.
func (p *Producer) Begin() Transaction {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.transactions = append(p.mu.transactions, transaction{
		first: p.mu.sends.len(), end: -1, committing: -1,
	})
	return Transaction{producer: p, index: len(p.mu.transactions) - 1}
}

// Committing is called right before the commit is asked for: no read-committed reader may have seen
// the transaction before.
func (t Transaction) Committing() {
	t.producer.mu.Lock()
	defer t.producer.mu.Unlock()
	t.producer.mu.transactions[t.index].committing = t.producer.history.clock()
}

// Committed says that the client was told that the commit succeeded.
func (t Transaction) Committed() { t.end(acked) }

// Aborted says that the client was told that the transaction was aborted.
func (t Transaction) Aborted() { t.end(failed) }

// Unknown says that the client was not told whether it was committed.
func (t Transaction) Unknown() { t.end(unknown) }

func (t Transaction) end(o outcome) {
	t.producer.mu.Lock()
	defer t.producer.mu.Unlock()
	of := &t.producer.mu.transactions[t.index]
	of.end, of.outcome = t.producer.mu.sends.len(), o
}
