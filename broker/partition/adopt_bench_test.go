package partition

import (
	"testing"
	"time"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal/waltest"
)

// What the adoption of a file costs for each of its batches, and how long it works at most until it looks whether it may go
// on: of logs that keep all, and of logs that keep about as much as came before and whose start moves.
func BenchmarkAdopt(b *testing.B) {
	for _, one := range []struct {
		name  string
		logs  int
		moves bool
	}{{"kept", 6, false}, {"deleted", 6, true}, {"kept of many", 1000, false}, {"deleted of many", 1000, true}} {
		b.Run(one.name, func(b *testing.B) {
			var spent, longest time.Duration
			batches := 0
			for range b.N {
				took, most, n := adoptOnce(b, one.logs, one.moves)
				spent, longest, batches = spent+took, max(longest, most), batches+n
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(batches), "ns/batch")
			b.ReportMetric(float64(longest.Microseconds()), "µs-longest-stretch")
		})
	}
}

// adoptOnce adopts eight files, one by one, of which the last three are kept if the start moves. The high watermark is checkpointed
// before each.
func adoptOnce(b *testing.B, count int, moves bool) (spent, longest time.Duration, batches int) {
	b.Helper()
	var last time.Duration
	begun, looks := time.Now(), false
	s := openReal(b, waltest.New(), 1, func(cfg *Config) {
		cfg.Catalog, cfg.WAL.FileBytes, cfg.WAL.GroupBytesMax, cfg.WAL.FilesMax = &catalogtest.Catalog{}, 8<<20, 256<<10, 64
		cfg.WAL.QueueBytesMax = [2]int64{4 << 20, 4 << 20}
		cfg.Now = func() time.Duration {
			now := time.Since(begun)
			if looks {
				longest = max(longest, now-last)
			}
			last = now
			return now
		}
	})
	s.SetObserver(discard{})
	s.digests.bytesMax = 1 << 30
	d, err := s.Drive()
	if err != nil {
		b.Fatal(err)
	}
	logs := make([]*Log, count)
	for i := range logs {
		logs[i] = leader(s, int32(i), 1)
	}
	ended := expired()
	var starts [][]topic.Offset
	for file := range uint64(8) {
		s.saveHighWatermarks(0)
		for n := 0; s.walLog.End().File <= file+1; n++ {
			l := logs[n%len(logs)]
			value := build(spec{value: make([]byte, 200), producer: 7, idempotent: true, sequence: int32(l.State().LogEnd)})
			if _, err := l.Append(ended, value, AppendOptions{Acks: AcksAll}); err != nil {
				b.Fatal(err)
			}
			if batches++; n%256 == 255 {
				settle(b, d)
				for _, l := range logs {
					l.SetHighWatermark(l.State().LogEnd)
				}
			}
		}
		ends := make([]topic.Offset, len(logs))
		for i, l := range logs {
			ends[i] = l.State().HighWatermark
			if moves && file >= 3 {
				if _, _, err := l.DeleteRecords(ended, starts[file-3][i]); err != nil {
					b.Fatal(err)
				}
			}
		}
		starts = append(starts, ends)
		settle(b, d)
		from := time.Now()
		last, looks = time.Since(begun), true
		if adopted, err := d.Adopt(); err != nil || !adopted {
			b.Fatalf("got adopted %t, %v", adopted, err)
		}
		spent, looks = spent+time.Since(from), false
	}
	return spent, longest, batches
}
