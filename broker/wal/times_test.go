package wal

import (
	"testing"
	"time"
)

// A write is counted once, under the least bound that it does not exceed.
func TestWritesAreCountedByHowLongTheyTook(t *testing.T) {
	bounds := WriteBounds()
	for i, bound := range bounds {
		if i > 0 && bound <= bounds[i-1] {
			t.Fatalf("bound %v follows %v", bound, bounds[i-1])
		}
		var times WriteTimes
		times.add(bound)
		times.add(bound + 1)
		if times.Counts[i] != 1 || times.Counts[i+1] != 1 || times.Sum != 2*bound+1 {
			t.Errorf("got %+v of %v and a nanosecond more", times, bound)
		}
	}
	var times WriteTimes
	times.add(time.Hour)
	if times.Counts[len(bounds)] != 1 {
		t.Errorf("got %+v of an hour", times)
	}
}
