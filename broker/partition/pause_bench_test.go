package partition

import (
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// vast is a log of so many drained batches, all below the high watermark, and a compaction that has cleaned all of it and
// leaves half of them.
func vast(tb testing.TB, batches int) (*Log, *cleaning) {
	tb.Helper()
	cfg := testConfig(&clock{})
	cfg.Spill = memorySpill(1 << 10)
	s := newStore(cfg)
	l := s.openLog(p0)
	for i := range batches {
		e := extent{base: topic.Offset(i) * 20, count: 20, epoch: 7, bytes: 15_000 + int32(i%512),
			newest: 1_700_000_000_000 + int64(i)*15,
			at:     wal.Position{File: wal.PackBit | uint64(1+i/20_000)*wal.PackStep, Offset: 4096 + int64(i%20_000)*20_000}}
		e.latest, e.encoded = e.newest, int32(wal.EncodedBytes(int(e.bytes)))
		l.mu.index.push(e)
		l.mu.bytes += int64(e.bytes)
	}
	l.mu.index.hasty, l.mu.index.spare = false, nil
	l.mu.end = topic.Offset(batches) * 20
	l.mu.highWatermark, l.mu.durable, l.mu.committed, l.mu.settled = l.mu.end, l.mu.end, batches, batches
	number := uint64(batches/20_000+2) * wal.PackStep
	c := &cleaning{log: l, rules: Compaction{LagMax: maxAge}}
	begun(tb, c.begin(number, 1, goOn))
	for i := 0; i < c.was.len(); i += 2 {
		e := c.was.at(i)
		if i+1 < c.was.len() {
			e.count += c.was.at(i + 1).count
		}
		e.at = wal.Position{File: wal.PackBit | number, Offset: 4096 + int64(i)*20_000}
		e.latest = e.newest
		c.out.push(e)
	}
	c.recorded, c.installs = true, true
	return l, c
}

// The longest time for which others wait for a log of so many batches while something is done with it.
func BenchmarkPause(b *testing.B) {
	const batches = 2_000_000
	for _, one := range []struct {
		name string
		do   func(*Log, *cleaning)
	}{
		{"nothing", func(*Log, *cleaning) { // What the probe itself waits for.
			for from := time.Now(); time.Since(from) < time.Second/2; {
			}
		}},
		{"begin", func(l *Log, c *cleaning) {
			again := &cleaning{log: l, rules: c.rules}
			begun(b, again.begin(c.number(), 1, goOn))
		}},
		{"look", func(l *Log, c *cleaning) { l.dirt(c.rules, wal.Position{File: c.number() | wal.PackBit}) }},
		{"hold", func(_ *Log, c *cleaning) {
			if !c.hold() {
				b.Error("not held")
			}
		}},
		{"install", func(l *Log, c *cleaning) {
			if l.install(c) == 0 {
				b.Error("not installed")
			}
		}},
		{"placed", func(l *Log, _ *cleaning) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.placedLocked(wal.Position{File: wal.PackBit | 7})
		}},
		{"expire", func(l *Log, _ *cleaning) { l.Expired(Retention{AgeMax: maxAge, BytesMax: l.State().Size / 4}, 0) }},
		{"start", func(l *Log, _ *cleaning) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.moveStartLocked(l.mu.end / 2)
		}},
		{"cut", func(l *Log, _ *cleaning) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.cutLocked(l.mu.end/2, newProducerTable(1))
		}},
	} {
		b.Run(one.name, func(b *testing.B) {
			longest := time.Duration(0)
			for range b.N {
				b.StopTimer()
				l, c := vast(b, batches)
				b.StartTimer()
				longest = max(longest, longestPause(l, func() { one.do(l, c) }))
			}
			b.ReportMetric(float64(longest.Microseconds()), "µs-longest-pause")
		})
	}
}

// longestPause is how long others wait for a log at most while something is done.
func longestPause(l *Log, do func()) (longest time.Duration) {
	begun, done := make(chan struct{}), make(chan struct{})
	go func() {
		close(begun)
		do()
		close(done)
	}()
	<-begun
	for {
		select {
		case <-done:
			return longest
		default:
		}
		from := time.Now()
		l.State()
		longest = max(longest, time.Since(from))
	}
}
