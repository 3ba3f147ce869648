package partition

import (
	"strings"
	"testing"
	"time"

	"outrigger/broker/wal/waltest"
)

// Overwritten values of a log that is due for a compaction are never copied: their file becomes a pack as it is, and is
// written anew after the compaction. What is not due is copied at once.
func TestOverwrittenValuesAreNotCopied(t *testing.T) {
	for _, c := range []struct {
		name string
		// ratio is min.cleanable.dirty.ratio: with 1 nothing is ever due.
		ratio   float64
		adopted int64
		most    int64
	}{{"due", 0.1, 3, 7 << 20}, {"not due", 1, 0, 13 << 20}} {
		t.Run(c.name, func(t *testing.T) {
			s := newShift(t)
			s.rules.DirtyRatio = c.ratio
			s.write(3) // Half of each file is of four keys, the rest has none.
			s.store.found.Store(int32(quiet))
			before := s.one.State()
			var written int64
			s.takes(func(op waltest.Op) time.Duration {
				if op.Verb == waltest.Write && strings.HasSuffix(op.Name, ".pack") {
					written += op.Bytes
				}
				return 0
			}, func() {
				s.sort() // drains, and would write anew
				if got := s.store.Stats().Drain; got.Adopted != c.adopted || got.Repacked > 0 {
					t.Errorf("before the compaction: got %+v, want %d files adopted and none written anew", got, c.adopted)
				}
				s.clock.advance(time.Minute)
				s.clean()
				s.clock.advance(time.Minute)
				s.clean() // It looks again, and finds nothing that is due.
				s.sort()
			})
			stats := s.store.Stats()
			if due := c.adopted > 0; (stats.Compaction.Logs > 0) != due || (stats.Drain.Repacked > 0) != due {
				t.Errorf("got %+v, %+v", stats.Compaction, stats.Drain)
			}
			t.Logf("%d bytes were written", written)
			if least := int64(5 << 20); written < least || written > c.most {
				t.Errorf("%d bytes were written, want %d to %d", written, least, c.most)
			}
			if after := s.one.State(); after.LogEnd != before.LogEnd || after.Size < 4*64<<10 || (after.Size < before.Size/2) != (c.adopted > 0) {
				t.Errorf("got %+v after %+v", after, before)
			}
			if err := s.driver.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
