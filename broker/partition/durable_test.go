package partition

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// openReal opens a store over a real WAL in a file system in memory.
func openReal(tb testing.TB, fs wal.FS, session topic.Session, adjust ...func(*Config)) *Store {
	tb.Helper()
	cfg := Config{
		WAL: wal.Config{FS: fs, Dir: "wal", Session: session, FileBytes: 256 << 10,
			GroupBytesMax: 16 << 10, QueueBytesMax: [2]int64{128 << 10, 128 << 10}},
		TailBytesMax: 8 << 10,
		Now:          (&clock{}).now,
		Logger:       slog.New(slog.DiscardHandler),
	}
	for _, fn := range adjust {
		fn(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	s.SetLease(Forever)
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// start runs the store; stop ends it and returns Run's error.
func start(s *Store) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- s.Run(ctx) }()
	return func() error {
		cancel()
		return <-result
	}
}

func leader(s *Store, index int32, epoch topic.Epoch) *Log {
	l := s.Create(topic.Partition{Topic: p0.Topic, Index: index})
	l.Assume(Role{Leading: true, Epoch: epoch, AcceptAll: true, AcceptOne: true, Ready: true})
	return l
}

// ledger is what producers were told.
type ledger struct {
	mu sync.Mutex
	// written is every batch by its offset, acked the highest end that was reported durable.
	written map[topic.Offset][]byte
	acked   topic.Offset
}

func (g *ledger) ack(a Appended, b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.written[a.Base] = b
	g.acked = max(g.acked, a.End)
}

// appendDurable appends and waits.
func appendDurable(l *Log, b []byte) (Appended, error) {
	a, err := l.Append(context.Background(), b, AppendOptions{Acks: 1})
	if err != nil {
		return a, err
	}
	result := make(chan error, 1)
	l.AwaitDurable(a.Epoch, a.End, func(err error) { result <- err })
	return a, <-result
}

// Power is lost under load, at a random moment, three times in a row. Every batch that was reported
// durable is there again, at its offset.
func TestPowerLossKeepsWhatWasReportedDurable(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 11))
			fs := waltest.New()
			ledgers := map[int32]*ledger{}
			for index := range int32(3) {
				ledgers[index] = &ledger{written: map[topic.Offset][]byte{}}
			}
			for epoch := range topic.Epoch(3) {
				s := openReal(t, fs, topic.Session(epoch+1))
				for index, g := range ledgers {
					wantAcked(t, s.Create(topic.Partition{Topic: p0.Topic, Index: index}), g)
				}
				fs.CrashAfter(1 + random.IntN(150))
				stop := start(s)
				var group sync.WaitGroup
				for index, g := range ledgers {
					l := leader(s, index, epoch)
					for range 3 {
						group.Go(func() { produceUntilFailure(t, l, g) })
					}
				}
				group.Wait()
				if err := stop(); !errors.Is(err, wal.ErrFailed) {
					t.Fatalf("run ended with %v, want wal.ErrFailed", err)
				}
				fs = fs.Crash(random)
			}
			s := openReal(t, fs, 99)
			for index, g := range ledgers {
				wantAcked(t, s.Create(topic.Partition{Topic: p0.Topic, Index: index}), g)
			}
		})
	}
}

func produceUntilFailure(t *testing.T, l *Log, g *ledger) {
	for i := int64(0); ; i++ {
		b := build(spec{value: binary.BigEndian.AppendUint64(nil, uint64(i)), timestamp: i})
		a, err := appendDurable(l, b)
		if errors.Is(err, wal.ErrFailed) {
			return
		}
		if err != nil {
			t.Errorf("append: %v", err)
			return
		}
		g.ack(a, b)
		l.SetHighWatermark(l.State().DurableEnd)
	}
}

// The groups that the WAL wrote are the store's to tell, before and after its end.
func TestStatsCountGroupsOfTheWAL(t *testing.T) {
	s := openReal(t, waltest.New(), 1)
	if got := s.Stats().Groups; got != (wal.GroupStats{}) {
		t.Errorf("before the first: got %+v", got)
	}
	stop := start(s)
	l := leader(s, 0, 1)
	const batches = 3
	for i := range byte(batches) {
		if _, err := appendDurable(l, build(spec{value: []byte{i}})); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().Groups; got.Groups < batches || got.Waited != 0 {
		t.Errorf("got %+v, want a group for each batch that was waited for, none of which made a thread wait", got)
	}
}

func wantAcked(t *testing.T, l *Log, g *ledger) {
	t.Helper()
	end := l.State().LogEnd
	if end < g.acked {
		t.Fatalf("log ends at %d, %d was reported durable", end, g.acked)
	}
	l.SetHighWatermark(end)
	for from := topic.Offset(0); from < end; {
		got, err := l.Read(from, 4<<10, true)
		if err != nil || len(got.Batches) == 0 {
			t.Fatalf("read from %d of %d: %d batches, %v", from, end, len(got.Batches), err)
		}
		for _, b := range got.Batches {
			if base := topic.Offset(binary.BigEndian.Uint64(b)); base != from {
				t.Fatalf("batch at %d says %d", from, base)
			}
			if want := g.written[from]; want != nil && !bytes.Equal(b, want) {
				t.Fatalf("batch at %d is not the one that was reported durable", from)
			}
			from++
		}
	}
}

// A clean stop drains the WAL and saves the high watermark.
func TestCleanStopLosesNothing(t *testing.T) {
	fs := waltest.New()
	s := openReal(t, fs, 1)
	stop := start(s)
	l := leader(s, 0, 1)
	for range 20 {
		if _, err := l.Append(context.Background(), build(spec{}), AppendOptions{Acks: AcksAll}); err != nil {
			t.Fatal(err)
		}
	}
	l.SetHighWatermark(15)
	if err := stop(); err != nil {
		t.Fatalf("run: %v", err)
	}
	if _, err := l.Append(context.Background(), build(spec{}), AppendOptions{Acks: 1}); !errors.Is(err, ErrStopped) {
		t.Errorf("append after the stop: got %v, want ErrStopped", err)
	}
	s = openReal(t, fs.Crash(rand.New(rand.NewPCG(1, 1))), 2)
	l = s.Log(topic.Partition{Topic: p0.Topic})
	if got := l.State(); got.LogEnd != 20 || got.HighWatermark != 15 {
		t.Errorf("log is %+v, want end 20, high watermark 15", got)
	}
}

// Everything at once, for the race detector: leaders, followers that are truncated, elections,
// removals, readers, waits that are cancelled.
func TestStoreIsSafeUnderConcurrentUse(t *testing.T) {
	s := openReal(t, waltest.New(), 1, func(c *Config) { c.UnackedBytesMax = 4 << 10 })
	h := &hammer{T: t, store: s, done: make(chan struct{}), durable: make(chan []DurableEnd, 1<<14)}
	s.SetObserver(h)
	stop := start(s)
	stable, flapping, followed := leader(s, 0, 1), leader(s, 1, 1), s.Create(h.partition(2))
	followed.Assume(Role{Epoch: 1})
	logs := []*Log{stable, flapping, followed}
	var work, background sync.WaitGroup
	for worker := range 4 {
		work.Go(func() { h.produce(stable, int64(worker), 150, true) })
		work.Go(func() { h.produce(flapping, int64(worker), 150, false) })
	}
	work.Go(func() { h.replicate(followed, 400) })
	work.Go(func() { h.comeAndGo(3, 40) })
	for _, l := range logs {
		background.Go(func() { h.consume(l) })
	}
	background.Go(func() { h.steer(flapping) })
	work.Wait()
	close(h.done)
	background.Wait()
	if err := stop(); err != nil {
		t.Fatalf("run: %v", err)
	}
	if got := stable.State(); got.LogEnd != 600 || got.DurableEnd != 600 {
		t.Errorf("stable log is %+v, want 600 records, all durable", got)
	}
	for _, l := range logs {
		l.SetHighWatermark(l.State().LogEnd)
		if room := &l.mu.room; room.granted != 0 || room.unacked != 0 || room.queue.Len() != 0 {
			t.Errorf("partition %d: room leaked: %d granted, %d unacknowledged, %d waiting",
				l.partition.Index, room.granted, room.unacked, room.queue.Len())
		}
	}
	if len(s.mu.removing) != 0 {
		t.Errorf("removals are still counted: %v", s.mu.removing)
	}
}

// hammer holds the workers of TestStoreIsSafeUnderConcurrentUse, and observes for them.
type hammer struct {
	*testing.T
	store   *Store
	done    chan struct{}
	durable chan []DurableEnd
}

func (h *hammer) Sealed([]Entry) {}

func (h *hammer) Durable(ends []DurableEnd) { h.durable <- ends }

func (h *hammer) partition(index int32) topic.Partition {
	return topic.Partition{Topic: p0.Topic, Index: index}
}

func (h *hammer) over() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// produce appends idempotently and waits for the commit. On a stable leader everything succeeds.
func (h *hammer) produce(l *Log, producer int64, count int32, stable bool) {
	for i := range count {
		b := build(spec{idempotent: true, producer: producer, sequence: i})
		a, err := l.Append(context.Background(), b, AppendOptions{Acks: AcksAll})
		result := make(chan error, 1)
		if err == nil {
			cancel := l.AwaitHighWatermark(a.End-1, func() {})
			l.AwaitCommit(a.Epoch, a.End, func(err error) { result <- err })
			err = <-result
			cancel()
		}
		if stable && (err != nil || a.Duplicate) {
			h.Errorf("produce %d of %d: %+v, %v", i, producer, a, err)
			return
		}
	}
}

// replicate appends as a follower and now and then cuts what is above the high watermark.
func (h *hammer) replicate(l *Log, count int) {
	for i := range count {
		s := l.State()
		if i%10 == 9 {
			if err := l.Truncate(s.HighWatermark); err != nil && !errors.Is(err, wal.ErrFull) {
				h.Errorf("truncate: %v", err)
			}
			continue
		}
		err := l.AppendReplica(Entry{Partition: l.partition, Epoch: 1, PrevEpoch: s.TailEpoch,
			Base: s.LogEnd, Count: 1, Payload: placed(spec{}, s.LogEnd, 1)})
		if err != nil && !errors.Is(err, wal.ErrFull) {
			h.Errorf("append replica: %v", err)
		}
	}
}

// comeAndGo creates, fills and removes one partition again and again.
func (h *hammer) comeAndGo(index int32, rounds int) {
	for epoch := range topic.Epoch(rounds) {
		l := leader(h.store, index, epoch)
		for range 3 {
			_, err := l.Append(context.Background(), build(spec{}), AppendOptions{Acks: 1})
			if err != nil {
				h.Errorf("append to a partition that comes and goes: %v", err)
			}
		}
		err := h.store.Remove(l.partition)
		if err != nil && !errors.Is(err, wal.ErrFull) {
			h.Errorf("remove: %v", err)
		}
		l.SetHighWatermark(l.State().LogEnd) // makes room if it is still there
	}
}

// steer is the sidecar of a cluster of one: what is durable is committed. Now and then it holds an
// election, and passes time.
func (h *hammer) steer(flapping *Log) {
	for round := 1; ; round++ {
		select {
		case <-h.done:
			return
		case ends := <-h.durable:
			for _, end := range ends {
				if l := h.store.Log(end.Partition); l != nil {
					l.SetHighWatermark(end.DurableEnd)
				}
			}
		}
		if round%3 == 0 {
			epoch := topic.Epoch(round)
			flapping.Assume(Role{Epoch: epoch, Leading: epoch%2 == 0, AcceptAll: true, Ready: epoch%4 == 0})
		}
		if round%5 == 0 {
			h.store.Tick()
			h.store.saveHighWatermarks(0)
			h.store.Partitions()
			if _, _, _, err := h.store.Scan(wal.Position{}, 4<<10); err != nil {
				h.Errorf("scan: %v", err)
			}
		}
	}
}

func (h *hammer) consume(l *Log) {
	var reader Reader
	for from := topic.Offset(0); !h.over(); {
		_, err := reader.Read(l, Query{From: from, BytesMax: 2 << 10, MinOne: true})
		if reader.Release(); err != nil && !errors.Is(err, ErrOffsetOutOfRange) {
			h.Errorf("read by loan from %d: %v", from, err)
			return
		}
		got, err := l.Read(from, 2<<10, true)
		if errors.Is(err, ErrOffsetOutOfRange) {
			h.Errorf("read from %d: %v", from, err)
			return
		}
		for range got.Batches {
			from++
		}
		if len(got.Batches) == 0 {
			more := make(chan struct{}, 1)
			cancel := l.AwaitHighWatermark(from, func() { more <- struct{}{} })
			select {
			case <-more:
			case <-h.done:
			}
			cancel()
		}
		l.ReadTail(from, 1<<10)
		l.EpochEnd(1)
		l.Position(from)
		if _, _, _, err := l.OffsetForTime(0); err != nil && !errors.Is(err, ErrNotReady) {
			h.Errorf("look up: %v", err)
		}
	}
}
