package bench

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Records that nobody verifies are counted unread, but one that is missing is still seen.
func TestUnreadRecordsAreCountedAndGapsAreSeen(t *testing.T) {
	var gaps atomic.Int64
	c := &consumer{positions: make(positions, 2), meter: newMeter(window{to: never}), gaps: &gaps}
	c.positions[1].Store(7)
	c.count(1, nil, 0, 0)
	c.count(1, []*kgo.Record{{Offset: 7, Value: []byte("ab")}, {Offset: 8, Value: []byte("c")}, {Offset: 10}}, 0, time.Millisecond)
	c.count(1, []*kgo.Record{{Offset: 11}}, 0, time.Millisecond)
	got := newTally()
	c.meter.totalInto(got)
	if got.records != 4 || got.bytes != 3 || gaps.Load() != 1 || c.positions[1].Load() != 12 || c.positions[0].Load() != 0 {
		t.Errorf("got %d records, %d bytes, %d gaps, positions %d and %d, want 4, 3, 1, 0, 12", got.records, got.bytes, gaps.Load(),
			c.positions[0].Load(), c.positions[1].Load())
	}
}
