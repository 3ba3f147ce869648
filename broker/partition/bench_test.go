package partition

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// instant is a WAL that is durable at once: it leaves the cost of this package alone.
type instant struct {
	journal
	group wal.Group
}

func (w *instant) Reserve(context.Context, wal.Budget, int64) error { return nil }
func (w *instant) Release(wal.Budget, int64)                        {}

func (w *instant) Append(_ wal.Budget, r wal.Record) {
	w.next.Offset += wal.EncodedLen(r)
	w.group.Records = append(w.group.Records, wal.Placed{Record: r, At: w.next})
}

func (w *instant) flush() {
	w.sink.Sealed(&w.group)
	w.sink.Durable(&w.group)
	w.group.Records = w.group.Records[:0]
}

// Append, seal, settle, commit and wait, in groups of 64 batches of 1 KiB over 16 partitions.
func BenchmarkAppendSettleCommit(b *testing.B) {
	w := &instant{}
	s := newStore(testConfig(&clock{}))
	s.appender, s.reader = w, w
	s.SetLease(Forever)
	s.SetObserver(discard{})
	w.sink = sink{s}
	logs := make([]*Log, 16)
	for i := range logs {
		logs[i] = leader(s, int32(i), 1)
	}
	// The same batch again and again: nobody reads it, and copies would be what is measured.
	value := build(spec{value: make([]byte, 1000)})
	ignore := func(error) {}
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		l := logs[i%len(logs)]
		a, err := l.Append(context.Background(), value, AppendOptions{Acks: AcksAll})
		if err != nil {
			b.Fatal(err)
		}
		l.AwaitCommit(a.Epoch, a.End, ignore)
		if i%64 == 63 {
			w.flush()
			for _, l := range logs {
				l.SetHighWatermark(a.End)
			}
		}
	}
}

type discard struct{}

func (discard) Sealed([]Entry)       {}
func (discard) Durable([]DurableEnd) {}

// The whole way through the real WAL over a file system in memory, 64 producers at once.
func BenchmarkAppendDurable(b *testing.B) {
	s := openReal(b, waltest.New(), 1, func(c *Config) {
		c.WAL.FileBytes, c.WAL.GroupBytesMax, c.WAL.QueueBytesMax = 0, 0, [2]int64{}
		c.TailBytesMax, c.UnackedBytesMax = 0, 1<<40
	})
	stop := start(s)
	value := build(spec{value: make([]byte, 1000)})
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	b.SetParallelism(32)
	var next int32
	var mu sync.Mutex
	b.RunParallel(func(pb *testing.PB) {
		mu.Lock()
		next++
		l := leader(s, next%16, 1)
		mu.Unlock()
		result := make(chan error, 1)
		done := func(err error) { result <- err }
		for pb.Next() {
			a, err := l.Append(context.Background(), append([]byte(nil), value...), AppendOptions{Acks: 1})
			if err != nil {
				b.Error(err)
				return
			}
			l.AwaitDurable(a.Epoch, a.End, done)
			if err := <-result; err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	if err := stop(); err != nil {
		b.Fatal(err)
	}
}

// A thousand waits at a time: what one costs must not grow with the others.
func BenchmarkWaiters(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	var h waiters
	ignore := func(error) {}
	reached := topic.Offset(0)
	b.ReportAllocs()
	for range b.N {
		h.add(&waiter{until: reached + 1 + topic.Offset(random.IntN(10000)), done: ignore})
		if len(h) > 1000 {
			reached = h[0].until
			h.reached(reached, nil).call()
		}
	}
}
