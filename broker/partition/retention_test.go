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

// What is drained and opened again has forgotten no timestamp: else retention, once the front of such a
// log has gone, would take what is left for old.
func TestDrainedBatchesKeepTheirOwnTimestamps(t *testing.T) {
	var run []extent
	for i, ts := range []int64{900, 100, 200} {
		run = append(run, extent{base: topic.Offset(i), count: 1, bytes: 70, newest: ts, latest: 900, epoch: 1})
	}
	var x index
	if err := decodeRun(0, encodeRun(run), func(e extent) { x.push(e) }); err != nil {
		t.Fatal(err)
	}
	if got := x.at(2).latest; got != 900 {
		t.Errorf("the running maximum is %d, want 900", got)
	}
	x.drop(1)
	if first, last := x.at(0).latest, x.at(1).latest; first != 100 || last != 200 {
		t.Errorf("without its first batch the running maxima are %d and %d, want 100 and 200", first, last)
	}
	if got := x.older(2, 1000, 850*time.Millisecond); got != 1 {
		t.Errorf("%d batches are older than 850 ms at 1000, want 1", got)
	}
}

// What retention has deleted before its file is drained is not copied.
func TestDeletedRecordsAreNotCopied(t *testing.T) {
	s := newShift(t)
	s.write(4)
	s.copies()
	if _, _, err := s.filler.DeleteRecords(t.Context(), s.filler.State().HighWatermark); err != nil {
		t.Fatal(err)
	}
	settle(s, s.driver)
	gone := s.filler.State().HighWatermark
	if left := s.filler.State(); left.LogStart != gone || left.Size != 0 {
		t.Fatalf("got a log start of %d and %d bytes, want %d and none", left.LogStart, left.Size, gone)
	}
	for range 4 {
		s.turn()
	}
	kept := s.one.State().Size
	if got := s.store.Stats().Drain; got.Files < 3 || got.Bytes == 0 || got.Bytes > kept+kept/8 {
		t.Errorf("%d bytes of %d files were copied, of which %d are needed: %+v", got.Bytes, got.Files, kept, got)
	}
	if err := s.driver.Close(); err != nil {
		t.Fatal(err)
	}
}
