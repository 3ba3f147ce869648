package partition

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// spec describes a batch.
type spec struct {
	count     int32 // records, 1 unless set
	timestamp int64 // of the first record; each further one is a millisecond later
	producer  int64 // -1 unless idempotent is set
	epoch     int16
	sequence  int32

	idempotent bool
	control    bool
	// transactional batches may be markers.
	transactional bool
	marker        *batch.Marker
	value         []byte
	// key is none unless set; tombstone is no value.
	key       []byte
	tombstone bool
}

func (s spec) length() int32 { return max(1, s.count) }

// build makes the bytes of a record batch as a producer sends it.
func build(s spec) []byte {
	if s.marker != nil {
		b, err := s.marker.Build(s.producer, s.epoch, s.timestamp)
		if err != nil {
			panic(err)
		}
		return b
	}
	s.count = s.length()
	if !s.idempotent {
		s.producer, s.epoch, s.sequence = -1, -1, -1
	}
	if s.value == nil {
		s.value = []byte("value")
	}
	b := make([]byte, 61)
	b[16] = 2
	if s.control {
		b[22] |= 0x20
	}
	if s.transactional {
		b[22] |= 0x10
	}
	binary.BigEndian.PutUint32(b[12:], ^uint32(0))
	binary.BigEndian.PutUint32(b[23:], uint32(s.count-1))
	binary.BigEndian.PutUint64(b[27:], uint64(s.timestamp))
	binary.BigEndian.PutUint64(b[35:], uint64(s.timestamp+int64(s.count)-1))
	binary.BigEndian.PutUint64(b[43:], uint64(s.producer))
	binary.BigEndian.PutUint16(b[51:], uint16(s.epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(s.sequence))
	binary.BigEndian.PutUint32(b[57:], uint32(s.count))
	for i := range s.count {
		record := []byte{0}                            // attributes
		record = binary.AppendVarint(record, int64(i)) // timestamp delta
		record = binary.AppendVarint(record, int64(i)) // offset delta
		record = appendBytes(record, s.key, s.key == nil)
		record = appendBytes(record, s.value, s.tombstone)
		record = binary.AppendVarint(record, 0) // no headers
		b = binary.AppendVarint(b, int64(len(record)))
		b = append(b, record...)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func appendBytes(record, b []byte, null bool) []byte {
	if null {
		return binary.AppendVarint(record, -1)
	}
	return append(binary.AppendVarint(record, int64(len(b))), b...)
}

// placed is a batch as a leader made it: at base, in epoch.
func placed(s spec, base topic.Offset, epoch topic.Epoch) []byte {
	b := build(s)
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[12:], uint32(epoch))
	return b
}

// fixture is a Store over a hand-turned journal, and one log of it.
type fixture struct {
	*testing.T
	journal  *journal
	store    *Store
	log      *Log
	observer *recorder
	clock    *clock
}

func testConfig(c *clock) Config {
	return Config{
		Now:    c.now,
		Logger: slog.New(slog.DiscardHandler),
	}.withDefaults()
}

func newFixture(t *testing.T, adjust ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{T: t, clock: &clock{}}
	cfg := testConfig(f.clock)
	for _, fn := range adjust {
		fn(&cfg)
	}
	f.open(cfg, newJournal(t))
	t.Cleanup(func() { f.journal.idle() })
	return f
}

func (f *fixture) open(cfg Config, j *journal) {
	f.Helper()
	f.journal, f.observer = j, &recorder{}
	f.store = newStore(cfg)
	f.store.appender, f.store.reader = j, j
	j.sink = sink{f.store}
	for _, r := range j.durable {
		if err := f.store.replay(r); err != nil {
			f.Fatalf("replay: %v", err)
		}
	}
	if err := f.store.finishReplay(); err != nil {
		f.Fatalf("replay: %v", err)
	}
	f.store.SetObserver(f.observer)
	f.store.SetLease(Forever)
	f.log = f.store.Create(p0)
}

// reopen crashes the node and opens it again.
func (f *fixture) reopen(withSealed bool) {
	f.Helper()
	f.open(f.store.cfg, f.journal.survivors(withSealed))
}

func (f *fixture) lead(epoch topic.Epoch) {
	f.log.Assume(Role{Leading: true, Epoch: epoch, AcceptAll: true, AcceptOne: true, Ready: true})
}

func (f *fixture) follow(epoch topic.Epoch) { f.log.Assume(Role{Epoch: epoch}) }

func (f *fixture) append(s spec) Appended {
	f.Helper()
	a, err := f.log.Append(context.Background(), build(s), AppendOptions{Acks: AcksAll})
	if err != nil {
		f.Fatalf("append: %v", err)
	}
	return a
}

// refuse appends and wants an error.
func (f *fixture) refuse(s spec, acks int16, want error) {
	f.Helper()
	b := build(s)
	before, state := slices.Clone(b), f.log.State()
	_, err := f.log.Append(expired(), b, AppendOptions{Acks: acks})
	if !errors.Is(err, want) {
		f.Fatalf("append with acks %d: got error %v, want %v", acks, err, want)
	}
	if !slices.Equal(b, before) {
		f.Error("a refused batch was changed")
	}
	if after := f.log.State(); after != state {
		f.Errorf("a refused batch changed the log from %+v to %+v", state, after)
	}
}

// replicate appends what a leader made.
func (f *fixture) replicate(s spec, epoch topic.Epoch) {
	f.Helper()
	if err := f.tryReplicate(s, epoch); err != nil {
		f.Fatalf("append replica: %v", err)
	}
}

func (f *fixture) tryReplicate(s spec, epoch topic.Epoch) error {
	state := f.log.State()
	return f.log.AppendReplica(Entry{Partition: p0, Epoch: epoch, PrevEpoch: state.TailEpoch,
		Base: state.LogEnd, Count: max(1, s.count), Payload: placed(s, state.LogEnd, epoch)})
}

func (f *fixture) truncate(to topic.Offset) {
	f.Helper()
	if err := f.log.Truncate(to); err != nil {
		f.Fatalf("truncate to %d: %v", to, err)
	}
}

func (f *fixture) wantEnds(durable, end topic.Offset) {
	f.Helper()
	if s := f.log.State(); s.DurableEnd != durable || s.LogEnd != end {
		f.Fatalf("durable end and log end are %d and %d, want %d and %d",
			s.DurableEnd, s.LogEnd, durable, end)
	}
}

// expired is a context that has ended.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// clock is a clock that the test sets.
type clock struct {
	mu sync.Mutex
	at time.Duration
}

func (c *clock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at += d
}

// recorder is an Observer that remembers.
type recorder struct {
	mu      sync.Mutex
	entries []Entry
	ends    []DurableEnd
}

func (r *recorder) Sealed(entries []Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, entries...)
}

func (r *recorder) Durable(ends []DurableEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends = append(r.ends, ends...)
}

// outcome is a callback that counts its calls.
type outcome struct {
	tb    testing.TB
	mu    sync.Mutex
	calls int
	err   error
}

func (o *outcome) done(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls++
	o.err = err
}

func (o *outcome) wantOpen() {
	o.tb.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls != 0 {
		o.tb.Fatalf("callback was called %d times with %v, want none yet", o.calls, o.err)
	}
}

func (o *outcome) want(err error) {
	o.tb.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.calls != 1 || !errors.Is(o.err, err) {
		o.tb.Fatalf("callback was called %d times with %v, want once with %v", o.calls, o.err, err)
	}
}
