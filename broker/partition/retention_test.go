package partition

import (
	"testing"
	"time"

	"outrigger/broker/topic"
)

func TestRetentionKeepsWhatItPromises(t *testing.T) {
	size := int64(len(build(spec{})))
	forEver := time.Duration(1<<63 - 1)
	for name, c := range map[string]struct {
		timestamps []int64
		committed  topic.Offset
		keep       Retention
		want       topic.Offset
	}{
		"nothing to delete":           {[]int64{100, 200, 300}, 3, Retention{AgeMax: forEver, BytesMax: -1}, 0},
		"older than the age":          {[]int64{100, 200, 300}, 3, Retention{AgeMax: 750, BytesMax: -1}, 2},
		"just as old as the age":      {[]int64{100, 250, 300}, 3, Retention{AgeMax: 750, BytesMax: -1}, 1},
		"everything is old":           {[]int64{100, 200, 300}, 3, Retention{AgeMax: 100, BytesMax: -1}, 3},
		"uncommitted is not old":      {[]int64{100, 200, 300}, 2, Retention{AgeMax: 100, BytesMax: -1}, 2},
		"old behind young stays":      {[]int64{100, 900, 100}, 3, Retention{AgeMax: 500, BytesMax: -1}, 1},
		"ahead of the clock":          {[]int64{5000, 100, 100}, 3, Retention{AgeMax: 500, BytesMax: -1}, 0},
		"without a timestamp":         {[]int64{-1, -1}, 2, Retention{AgeMax: 100, BytesMax: -1}, 0},
		"old behind no timestamp":     {[]int64{-1, 100, 900}, 3, Retention{AgeMax: 500, BytesMax: -1}, 2},
		"at once":                     {[]int64{100, 999, 1000}, 3, Retention{AgeMax: 0, BytesMax: -1}, 2},
		"more than the bytes":         {[]int64{1, 1, 1}, 3, Retention{AgeMax: forEver, BytesMax: 2 * size}, 1},
		"a byte less than the bytes":  {[]int64{1, 1, 1}, 3, Retention{AgeMax: forEver, BytesMax: 2*size + 1}, 0},
		"no bytes":                    {[]int64{1, 1, 1}, 3, Retention{AgeMax: forEver, BytesMax: 0}, 3},
		"bytes that are not written":  {[]int64{1, 1, 1}, 3, Retention{AgeMax: forEver, BytesMax: 1 << 40}, 0},
		"no bytes, and not committed": {[]int64{1, 1, 1}, 1, Retention{AgeMax: forEver, BytesMax: 0}, 1},
		"the stricter of both":        {[]int64{100, 200, 900}, 3, Retention{AgeMax: 500, BytesMax: 1}, 2},
	} {
		f := newFixture(t)
		f.lead(1)
		for _, ts := range c.timestamps {
			f.append(spec{timestamp: ts})
		}
		f.journal.flush()
		f.log.SetHighWatermark(c.committed)
		if c.keep.AgeMax != forEver {
			c.keep.AgeMax *= time.Millisecond
		}
		if got := f.log.Expired(c.keep, 1000); got != c.want {
			t.Errorf("%s: the log would start at %d, want %d", name, got, c.want)
		}
	}
}

func TestRetentionNeverTakesTheStartBack(t *testing.T) {
	f := committed(t, 4)
	f.deleteRecords(3)
	f.journal.flush()
	if got := f.log.Expired(Retention{AgeMax: 1<<63 - 1, BytesMax: -1}, 1000); got != 3 {
		t.Errorf("the log would start at %d, want 3", got)
	}
}

// What is not durable here yet may be cut after a crash: nobody deletes it.
func TestRetentionLeavesWhatIsNotDurable(t *testing.T) {
	f := newFixture(t)
	f.lead(1)
	f.append(spec{})
	f.log.SetHighWatermark(1)
	if got := f.log.Expired(Retention{BytesMax: 0}, 1000); got != 0 {
		t.Errorf("the log would start at %d, want 0", got)
	}
	f.journal.flush()
}
