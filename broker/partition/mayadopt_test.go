package partition

import (
	"sync/atomic"
	"testing"
	"time"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// Where an older version may come to open the directory, no file is adopted however busy the disk is; once
// none may, the files of the same store are, from the next one on.
func TestStoreAdoptsNothingUntilItMay(t *testing.T) {
	const batches = 2000
	var may atomic.Bool
	ticks, table := &clock{}, &catalogtest.Catalog{}
	s := openReal(t, waltest.New(), 1, func(c *Config) {
		c.WAL.FileBytes, c.WAL.FilesMax, c.Catalog, c.Now, c.MayAdopt = 64<<10, 8, table, ticks.now, may.Load
	})
	l := leader(s, 0, 1)
	stop := start(s)
	// write appends at a rate that makes the disk a busy one, until the drainer has done that much.
	write := func(done func(DrainStats) bool) DrainStats {
		t.Helper()
		for range batches {
			if _, err := appendDurable(l, build(spec{value: make([]byte, 15<<10)})); err != nil {
				t.Fatal(err)
			}
			ticks.advance(100 * time.Microsecond)
			s.Tick()
			if s.demand() != busy {
				t.Fatal("the disk is not busy")
			}
			if stats := s.Stats().Drain; done(stats) {
				return stats
			}
		}
		t.Fatalf("after %d batches the drainer has done no more than %+v", batches, s.Stats().Drain)
		return DrainStats{}
	}
	if _, err := appendDurable(l, build(spec{})); err != nil {
		t.Fatal(err)
	}
	s.Tick() // One look shows no rate yet.
	before := write(func(d DrainStats) bool { return d.Files >= 10 })
	if before.Adopted != 0 {
		t.Errorf("%d of %d files were adopted, want none", before.Adopted, before.Files)
	}
	may.Store(true)
	write(func(d DrainStats) bool { return d.Adopted >= 3 })
	may.Store(false)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	adopted := 0
	for number := range s.drainer.packs {
		if wal.Adopted(number) {
			adopted++
		}
	}
	if adopted == 0 {
		t.Error("no pack is an adopted file")
	}
}
