package wal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

const dir = "/wal"

// watcher is a Sink that remembers, and lets tests wait for what it hears.
type watcher struct {
	mu      sync.Mutex
	changed chan struct{}
	events  []string
	sealed  []wal.Placed
	durable []wal.Placed
	groups  int
	onSeal  func()
}

func newWatcher() *watcher { return &watcher{changed: make(chan struct{})} }

func (w *watcher) Sealed(g *wal.Group) {
	if w.onSeal != nil {
		w.onSeal()
	}
	w.note(func() {
		w.events = append(w.events, fmt.Sprintf("sealed %d", g.Sequence))
		w.sealed = append(w.sealed, g.Records...)
		w.groups++
	})
}

func (w *watcher) Durable(g *wal.Group) {
	w.note(func() {
		w.events = append(w.events, fmt.Sprintf("durable %d", g.Sequence))
		w.durable = append(w.durable, g.Records...)
	})
}

func (w *watcher) note(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits until ok, which is called with the lock held, holds.
func (w *watcher) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		met, changed := ok(), w.changed
		w.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (w *watcher) awaitDurable(t testing.TB, n int) {
	t.Helper()
	w.await(t, fmt.Sprintf("%d durable records", n), func() bool { return len(w.durable) >= n })
}

func (w *watcher) durables() []wal.Placed {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]wal.Placed(nil), w.durable...)
}

// node is a log that runs.
type node struct {
	*wal.Log
	t        testing.TB
	sink     *watcher
	found    []wal.Record
	cancel   context.CancelFunc
	ended    chan struct{}
	err      error
	stopOnce sync.Once
}

var sessions struct {
	sync.Mutex
	last topic.Session
}

// nextSession is new at every call, as a process start's is.
func nextSession() topic.Session {
	sessions.Lock()
	defer sessions.Unlock()
	sessions.last++
	return sessions.last
}

// small is a configuration whose files fill up quickly.
func small(fs wal.FS) wal.Config {
	return wal.Config{FS: fs, Dir: dir, FileBytes: 64 << 10, GroupBytesMax: 16 << 10,
		Session: nextSession(), SpaceRetry: time.Millisecond}
}

// open opens a log and collects what it replays.
func open(t testing.TB, cfg wal.Config) (*node, error) {
	t.Helper()
	n := &node{t: t, sink: newWatcher(), ended: make(chan struct{})}
	if cfg.Sink == nil {
		cfg.Sink = n.sink
	}
	cfg.Replay = func(p wal.Placed) error {
		n.found = append(n.found, cloned(p.Record))
		return nil
	}
	var err error
	n.Log, err = wal.Open(cfg)
	return n, err
}

func cloned(r wal.Record) wal.Record {
	r.Payload = append([]byte(nil), r.Payload...)
	return r
}

// start opens a log, which must work, and runs it until the test ends.
func start(t testing.TB, cfg wal.Config) *node {
	t.Helper()
	n, err := open(t, cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	n.run()
	t.Cleanup(func() { n.stop() })
	return n
}

func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() {
		defer close(n.ended)
		n.err = n.Run(ctx)
	}()
}

// stop ends the run, checks that nothing is left in the accounts, and returns Run's error.
func (n *node) stop() error {
	n.stopOnce.Do(func() {
		n.cancel()
		<-n.ended
		if err := n.Close(); err != nil && !errors.Is(err, waltest.ErrCrashed) {
			n.t.Errorf("close: %v", err)
		}
		queued, unplaced, reserved, waiting := n.Accounts()
		if queued != 0 || unplaced != 0 || reserved != 0 || waiting != 0 {
			n.t.Errorf("accounts after the end: %d queued, %d unplaced, %d reserved, %d waiting",
				queued, unplaced, reserved, waiting)
		}
	})
	return n.err
}

// put reserves and appends.
func (n *node) put(b wal.Budget, records ...wal.Record) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, r := range records {
		if err := n.Reserve(ctx, b, wal.EncodedLen(r)); err != nil {
			n.t.Fatalf("reserve: %v", err)
		}
		n.Append(b, r)
	}
}

// putDurable appends one by one, each after the one before is durable: a group for each.
func (n *node) putDurable(records ...wal.Record) {
	n.t.Helper()
	for _, r := range records {
		before := len(n.sink.durables())
		n.put(wal.Leader, r)
		n.sink.awaitDurable(n.t, before+1)
	}
}

// data is a record that nobody else has: its number is its base and begins its payload, if that is
// long enough.
func data(number uint64, payloadBytes int) wal.Record {
	r := wal.Record{
		Kind:      wal.Data,
		Partition: topic.Partition{Topic: topic.ID{1, byte(number % 7)}, Index: int32(number % 3)},
		Epoch:     topic.Epoch(number % 5),
		Base:      topic.Offset(number),
		Count:     1,
		Payload:   make([]byte, payloadBytes),
	}
	random := rand.New(rand.NewPCG(number, 7))
	for i := range r.Payload {
		r.Payload[i] = byte(random.Uint32())
	}
	if payloadBytes >= 8 {
		binary.BigEndian.PutUint64(r.Payload, number)
	}
	return r
}

func series(from, n uint64, payloadBytes int) []wal.Record {
	var records []wal.Record
	for i := range n {
		records = append(records, data(from+i, payloadBytes))
	}
	return records
}

func equal(a, b wal.Record) bool {
	return a.Kind == b.Kind && a.Partition == b.Partition && a.Epoch == b.Epoch && a.Base == b.Base &&
		a.Count == b.Count && string(a.Payload) == string(b.Payload)
}

// same checks that two lists of records are equal.
func same(t testing.TB, what string, got, want []wal.Record) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !equal(got[i], want[i]) {
			t.Fatalf("%s: record %d is %s base %d, want %s base %d",
				what, i, got[i].Kind, got[i].Base, want[i].Kind, want[i].Base)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
}

func records(placed []wal.Placed) []wal.Record {
	var list []wal.Record
	for _, p := range placed {
		list = append(list, p.Record)
	}
	return list
}

// scanAll scans from a position to the durable end.
func scanAll(t testing.TB, l *wal.Log, from wal.Position, bytesMax int) []wal.Placed {
	t.Helper()
	var all []wal.Placed
	for {
		placed, next, err := l.Scan(from, bytesMax)
		all = append(all, placed...)
		if errors.Is(err, wal.ErrEnd) {
			return all
		}
		if err != nil {
			t.Fatalf("scan from %s: %v", from, err)
		}
		if next.Compare(from) <= 0 {
			t.Fatalf("scan from %s goes on at %s", from, next)
		}
		from = next
	}
}
