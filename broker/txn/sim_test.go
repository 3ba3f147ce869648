package txn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// errLost is what a client hears when the coordinator is replaced.
var errLost = errors.New("coordinator is gone")

// world is one transactional id: its coordinator over a log, the leaders of three partitions, and two
// producers that both believe to own the id. All messages are late as chance has it; those that brokers
// repeat may come twice. Its shell does what the real one promises: answers and markers wait for records,
// and a change of leadership throws the machine away.
type world struct {
	*testing.T
	rand  *rand.Rand
	cfg   Config
	m     *Machine
	epoch int32 // of the coordinator
	now   Time
	fx    Effects

	committed, flying []Record
	parked            []parkedSim
	asked             map[Token]func(any, error)
	next              Token
	fresh             int64
	// network holds the messages on their way.
	network []message

	partitions [3]simPartition
	producers  [2]*simProducer
	// decisions are the committed ones, by identity of the marker.
	decisions map[Identity]State
	// told is what a producer was told of its transaction, by number.
	told         map[int]bool
	transactions int
}

type parkedSim struct {
	needs int
	do    func()
}

type message struct {
	deliver func()
	// repeats: whoever sent it may send it again.
	repeats bool
}

// simPartition is the leader of a partition, with the rules of package partition, written once more.
type simPartition struct {
	entries []simEntry
	open    map[int64]int16
	newest  map[int64]int16
	writer  map[int64]int32 // coordinator epoch
	marks   int             // breaks guards
}

// simEntry is a batch: of which transaction, and what became of it.
type simEntry struct {
	id          int64
	transaction int
	acked       bool
	closed      bool
	commit      bool
}

type simProducer struct {
	Identity
	transaction int
	// ending: an End is under way, begun: the identity is good.
	ending, begun bool
	waits         bool
	commit        bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T: t, rand: rand.New(rand.NewPCG(seed, 11)), now: Time{Mono: 1, Wall: 1_000_000}, asked: map[Token]func(any, error){},
		cfg:       Config{TimeoutMaxMillis: 1 << 30, ExpirationMillis: 1 << 40, RecordBytesMax: 1 << 20},
		decisions: map[Identity]State{}, told: map[int]bool{}, fresh: 10,
	}
	for i := range w.partitions {
		w.partitions[i] = simPartition{open: map[int64]int16{}, newest: map[int64]int16{}, writer: map[int64]int32{}}
	}
	for i := range w.producers {
		w.producers[i] = &simProducer{}
	}
	w.m = New(&w.cfg, "tx")
	return w
}

func (w *world) send(repeats bool, deliver func()) {
	w.network = append(w.network, message{deliver, repeats})
}

// ask has the coordinator take an event when it comes there.
func (w *world) ask(repeats bool, make func(Token) Event, done func(any, error)) {
	w.send(repeats, func() {
		w.next++
		t := w.next
		w.asked[t] = done
		w.m.Step(make(t), w.now, &w.fx)
		w.turn()
	})
}

func (w *world) turn() {
	w.flying = append(w.flying, w.fx.Records...)
	needs := len(w.committed) + len(w.flying)
	for _, r := range w.fx.Replies {
		do := func() {
			done := w.asked[r.Token]
			delete(w.asked, r.Token)
			w.send(false, func() { done(r.Result, r.Err) })
		}
		if r.AfterRecords {
			w.parked = append(w.parked, parkedSim{needs, do})
		} else {
			do()
		}
	}
	for _, m := range w.fx.Markers {
		w.parked = append(w.parked, parkedSim{needs, func() { w.mark(m, w.epoch) }})
	}
	w.fx.Reset()
	w.release()
}

func (w *world) release() {
	w.parked = slices.DeleteFunc(w.parked, func(p parkedSim) bool {
		if p.needs > len(w.committed) {
			return false
		}
		p.do()
		return true
	})
}

// commit lets some of what is on its way arrive, and notes the decisions in it.
func (w *world) commit(n int) {
	for _, r := range w.flying[:n] {
		v := kmsg.NewTxnMetadataValue()
		if err := v.ReadFrom(r.Value); err != nil {
			w.Fatal(err)
		}
		if s := State(v.State); s.preparing() {
			who := Identity{v.ProducerID, v.ProducerEpoch}
			if before, ok := w.decisions[who]; ok && before != s {
				w.Fatalf("%+v is decided as %v and as %v", who, before, s)
			}
			w.decisions[who] = s
		}
	}
	w.committed = append(w.committed, w.flying[:n]...)
	w.flying = slices.Clone(w.flying[n:])
	w.release()
}

// fail replaces the coordinator. Some of what was on its way is in the log of the next one all the same.
func (w *world) fail() {
	w.commit(w.rand.IntN(len(w.flying) + 1))
	w.flying, w.parked = nil, nil
	for t, done := range w.asked {
		delete(w.asked, t)
		w.send(false, func() { done(nil, errLost) })
	}
	replay := NewReplay()
	for _, r := range w.committed {
		if err := replay.Apply(r); err != nil {
			w.Fatal(err)
		}
	}
	w.epoch++
	if w.m = replay.Machines(&w.cfg, w.now)["tx"]; w.m == nil {
		w.m = New(&w.cfg, "tx")
	}
	w.m.Resume(w.now, &w.fx)
	w.turn()
}

// mark sends markers, again and again until they are confirmed or the coordinator is another.
func (w *world) mark(m Markers, epoch int32) {
	for _, p := range m.Partitions {
		w.send(true, func() {
			confirmed := w.partitions[p.Index].mark(w, m, epoch)
			w.send(false, func() {
				switch {
				case w.epoch != epoch:
				case confirmed:
					w.m.Step(Marked{ID: m.ID, Epoch: m.Epoch, Partitions: []Partition{p}}, w.now, &w.fx)
					w.turn()
				default:
					w.mark(Markers{m.ID, m.Epoch, m.Commit, m.Strict, []Partition{p}}, epoch)
				}
			})
		})
	}
}

// mark is a marker's arrival.
func (p *simPartition) mark(w *world, m Markers, coordinator int32) (confirmed bool) {
	want := PrepareAbort
	if m.Commit {
		want = PrepareCommit
	}
	if got := w.decisions[Identity{m.ID, m.Epoch}]; got != want {
		w.Fatalf("a marker of %+v comes to say %v, and the log says %v", m, want, got)
	}
	newest, known := p.newest[m.ID]
	open, isOpen := p.open[m.ID]
	switch {
	case known && m.Epoch < newest, isOpen && m.Strict && open >= m.Epoch:
		return true // as the sender takes INVALID_PRODUCER_EPOCH
	case coordinator < p.writer[m.ID]:
		return false
	}
	p.newest[m.ID], p.writer[m.ID] = m.Epoch, coordinator
	p.marks++
	delete(p.open, m.ID)
	for i := range p.entries {
		if e := &p.entries[i]; e.id == m.ID && !e.closed {
			e.closed, e.commit = true, m.Commit
		}
	}
	return true
}

// produce sends a batch of a producer's transaction to a partition, whose leader asks the coordinator
// first if the transaction is not open there.
func (w *world) produce(c *simProducer) {
	who, transaction, index := c.Identity, c.transaction, int32(w.rand.IntN(len(w.partitions)))
	p := &w.partitions[index]
	write := func() {
		p.open[who.ID], p.newest[who.ID] = who.Epoch, who.Epoch
		p.entries = append(p.entries, simEntry{id: who.ID, transaction: transaction})
		at := len(p.entries) - 1
		w.send(false, func() {
			if c.Identity == who && c.transaction == transaction && !c.ending {
				p.entries[at].acked = true
			}
		})
	}
	w.send(false, func() {
		if newest, known := p.newest[who.ID]; known && who.Epoch < newest {
			return
		}
		if open, ok := p.open[who.ID]; ok && open == who.Epoch {
			write()
			return
		}
		guard := p.marks
		w.ask(true, func(t Token) Event {
			return Add{Token: t, ID: who.ID, Epoch: who.Epoch, Partitions: []Partition{{"t", index}}, Version: BumpsEpochs}
		}, func(_ any, err error) {
			if newest := p.newest[who.ID]; err == nil && guard == p.marks && who.Epoch >= newest {
				write()
			}
		})
	})
}

// begin has a producer take the id.
func (w *world) begin(c *simProducer) {
	c.waits = true
	w.ask(false, func(t Token) Event {
		w.fresh++
		return Init{Token: t, TimeoutMillis: 500, ID: NoProducer, Epoch: NoEpoch, NewID: w.fresh}
	}, func(result any, err error) {
		if c.waits = false; err == nil {
			*c = simProducer{Identity: *result.(*Identity), begun: true}
			w.number(c)
		}
	})
}

func (w *world) number(c *simProducer) {
	w.transactions++
	c.transaction, c.ending = w.transactions, false
}

// end has a producer end its transaction; it asks until it is told what has become of it.
func (w *world) end(c *simProducer) {
	if !c.ending {
		c.ending, c.commit = true, w.rand.IntN(3) > 0
	}
	c.waits = true
	who, transaction, commit := c.Identity, c.transaction, c.commit
	w.ask(false, func(t Token) Event {
		w.fresh++
		return End{Token: t, ID: who.ID, Epoch: who.Epoch, Commit: commit, Version: BumpsEpochs, NewID: w.fresh}
	}, func(result any, err error) {
		c.waits = false
		switch {
		case err == nil:
			w.told[transaction] = commit
			c.Identity = *result.(*Identity)
			w.number(c)
		case errors.Is(err, errLost), errors.Is(err, ErrConcurrent):
		default:
			c.begun = false // fenced, or refused: the outcome is not known to it
		}
	})
}

// act has something happen.
func (w *world) act() {
	c := w.producers[w.rand.IntN(2)]
	switch w.rand.IntN(14) {
	case 0:
		w.now.Mono += w.rand.Int64N(60)
		w.now.Wall += w.rand.Int64N(60)
		w.m.Tick(w.now, &w.fx)
		w.turn()
	case 1, 2:
		w.commit(w.rand.IntN(len(w.flying) + 1))
	case 3, 4:
		switch {
		case c.waits:
		case !c.begun || w.rand.IntN(30) == 0:
			w.begin(c)
		case c.ending || w.rand.IntN(2) == 0:
			w.end(c)
		}
	case 5, 6:
		if c.begun && !c.ending {
			w.produce(c)
		}
	default:
		w.deliver()
	}
}

// deliver has one of the messages come, perhaps not for the last time.
func (w *world) deliver() {
	if len(w.network) == 0 {
		return
	}
	i := w.rand.IntN(len(w.network))
	m := w.network[i]
	if !m.repeats || w.rand.IntN(4) > 0 {
		w.network = slices.Delete(w.network, i, i+1)
	}
	m.deliver()
}

// settle lets everything arrive and the timeouts come: nothing is left open.
func (w *world) settle() {
	for range 40 {
		for range 10_000 {
			if len(w.network) == 0 && len(w.flying) == 0 {
				break
			}
			w.commit(len(w.flying))
			w.deliver()
		}
		w.now.Mono += 1000
		w.m.Tick(w.now, &w.fx)
		w.turn()
	}
	for i := range w.partitions {
		if len(w.partitions[i].open) > 0 {
			w.Fatalf("partition %d: transactions %v are open for ever", i, w.partitions[i].open)
		}
	}
	if s := w.m.state; s == Ongoing || s.preparing() {
		w.Fatalf("the coordinator is left in %v", s)
	}
}

// whole checks that no transaction is torn, and that each has become what its producer was told.
func (w *world) whole() {
	outcome := map[int]bool{}
	for i := range w.partitions {
		for _, e := range w.partitions[i].entries {
			if before, ok := outcome[e.transaction]; ok && before != e.commit {
				w.Fatalf("transaction %d is torn", e.transaction)
			}
			outcome[e.transaction] = e.commit
			if told, ok := w.told[e.transaction]; ok && e.acked && told != e.commit {
				w.Fatalf("transaction %d: its producer was told %v, its records say %v", e.transaction, told, e.commit)
			}
		}
	}
}

// TestTransactionsSurviveChangesOfLeadershipAtEveryStep: with a coordinator that fails often, messages that
// are late or come twice, timeouts, and zombies, no transaction is torn, none is decided twice, no marker
// comes before its decision is committed, and none stays open.
func TestTransactionsSurviveChangesOfLeadershipAtEveryStep(t *testing.T) {
	committed := 0
	for seed := range uint64(400) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			every := 3 + w.rand.IntN(150)
			for range 1500 {
				w.act()
				if w.rand.IntN(every) == 0 {
					w.fail()
				}
			}
			w.settle()
			w.whole()
			for _, commit := range w.told {
				if commit {
					committed++
				}
			}
		})
	}
	if committed < 1000 {
		t.Errorf("transactions that were committed: got %d, want some thousand: nothing was tried", committed)
	}
}
