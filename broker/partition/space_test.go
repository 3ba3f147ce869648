package partition

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/wal/waltest"
)

// crammed is a store on a disk that becomes full, and counts the packs that it begins.
type crammed struct {
	*hand
	begun int
	// capacity is that of the disk, once it is bounded.
	capacity int64
}

func openCrammed(t *testing.T, adjust ...func(*Config)) *crammed {
	t.Helper()
	fs := waltest.New()
	h, err := openDraining(t, fs, 1, &catalogtest.Catalog{},
		append([]func(*Config){func(cfg *Config) { cfg.WAL.FilesMax = 4 }}, adjust...)...)
	if err != nil {
		t.Fatal(err)
	}
	c := &crammed{hand: h}
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Create && strings.HasSuffix(op.Name, ".pack") {
			c.begun++
		}
		return nil
	})
	return c
}

// adoptsNothing: all that is drained is copied.
func adoptsNothing(cfg *Config) { cfg.MayAdopt = func() bool { return false } }

// cram leaves no byte free.
func (c *crammed) cram() { c.spare(0) }

// spare leaves so many bytes free.
func (c *crammed) spare(bytes int64) {
	for _, name := range c.fs.Names() {
		bytes += int64(len(c.fs.Content(name)))
	}
	c.capacity = bytes
	c.fs.SetCapacity(bytes)
}

// second is what happens in one.
func (c *crammed) second() {
	c.t.Helper()
	c.clock.advance(time.Second)
	c.store.Tick()
	if !c.store.drainDue.Load() {
		return
	}
	if _, err := c.store.drainer.step(c.store.adopts()); err != nil {
		c.t.Fatal(err)
	}
}

// A full and quiet disk is not asked each second whether there is space for a pack that is to be written anew. Once
// there is, it is written within a minute.
func TestFullDiskIsNotTriedEachSecond(t *testing.T) {
	c := openCrammed(t)
	c.fill(1)
	if drained, err := c.driver.Drain(); err != nil || !drained {
		t.Fatalf("got drained %v, %v", drained, err)
	}
	c.asked(loaded)
	for _, l := range c.logs[1:] {
		c.tolerate("truncate", l.Truncate(0))
	}
	c.settle()
	c.cram()
	c.begun = 0
	for range 100 {
		c.second()
	}
	if c.begun < 2 || c.begun > 10 || c.store.Stats().Drain.Repacked > 0 || c.store.demand() != idle {
		t.Errorf("got %d tries in 100 seconds, demand %v, %+v", c.begun, c.store.demand(), c.store.Stats().Drain)
	}
	c.fs.SetCapacity(0)
	for range int(fullMost/time.Second) + 1 {
		c.second()
	}
	if got := c.store.Stats().Drain.Repacked; got != 1 {
		t.Errorf("got %d packs written anew once there was space, want 1", got)
	}
	c.close()
}

// A pack that nobody needs goes although a drain finds no space: it is what gives it back.
func TestFullDiskGivesBackWhatNobodyNeeds(t *testing.T) {
	c := openCrammed(t, adoptsNothing)
	c.fill(1)
	if drained, err := c.driver.Drain(); err != nil || !drained {
		t.Fatalf("got drained %v, %v", drained, err)
	}
	c.asked(loaded)
	for _, l := range c.logs {
		c.tolerate("truncate", l.Truncate(0))
		c.settle()
	}
	c.settle()
	c.fill(3)
	if !c.store.pressed() {
		t.Fatal("the store does not have to drain: the test proves nothing")
	}
	for again := true; again; { // no spare is left to give
		var err error
		if again, err = c.store.walLog.DropSpare(); err != nil {
			t.Fatal(err)
		}
	}
	c.cram()
	c.begun = 0
	for range 3 {
		c.second()
	}
	if stats := c.store.Stats().Drain; c.begun == 0 || stats.Packs > 1 || stats.Files != 2 {
		t.Errorf("got %d tries, %+v, want the first pack gone and the second file drained", c.begun, stats)
	}
	c.close()
}

// A disk on which no file can be drained has room for the little that is needed of a pack: to write that anew gives
// the room that the drain lacks. It is tried also while so much waits that the drain is tried each second.
func TestFullDiskHasPacksWrittenAnewOfWhichLittleIsNeeded(t *testing.T) {
	c := openCrammed(t, adoptsNothing)
	c.fill(1)
	if drained, err := c.driver.Drain(); err != nil || !drained {
		t.Fatalf("got drained %v, %v", drained, err)
	}
	c.asked(loaded)
	for _, l := range c.logs[1:] {
		c.tolerate("truncate", l.Truncate(0))
		c.settle()
	}
	for c.store.walLog.End().File <= 3 { // with much in each group, so that the packs are large
		for _, l := range c.logs {
			c.append(l)
		}
		c.settle()
	}
	if !c.store.pressed() {
		t.Fatal("the store does not have to drain: the test proves nothing")
	}
	for again := true; again; { // no spare is left to give
		var err error
		if again, err = c.store.walLog.DropSpare(); err != nil {
			t.Fatal(err)
		}
	}
	room := map[uint64]int64{}
	for number, p := range c.store.drainer.packs {
		used, _ := c.store.packsInUse()
		room[number] = used[number]
		if 4*used[number] > p.RecordBytes() {
			t.Fatalf("%d of the %d bytes of a pack are needed: the test proves nothing", used[number], p.RecordBytes())
		}
	}
	c.cram()
	for range 20 { // not even for that
		c.second()
	}
	if stats := c.store.Stats().Drain; stats.Files != 1 || stats.Repacked != 0 {
		t.Fatalf("got %+v on a disk without a free byte", stats)
	}
	for _, used := range room {
		c.spare(4096 + (used+4095)/4096*4096)
	}
	for range int(fullMost/time.Second) + 2 {
		c.second()
	}
	if stats := c.store.Stats().Drain; stats.Files < 2 || stats.Repacked == 0 {
		t.Errorf("got %+v, want the pack written anew, and by that room for the drain", stats)
	}
	c.close()
}

// A full disk that is not busy has room for no copy. What is needed of the oldest file is adopted then, and so the dead
// files behind it come back, although nobody deletes anything more.
func TestFullDiskAdoptsAndGivesDeadFilesBack(t *testing.T) {
	for _, knows := range []bool{false, true} {
		var c *crammed
		c = openCrammed(t, func(cfg *Config) {
			if cfg.WAL.FilesMax = 0; !knows {
				return
			}
			cfg.WAL.Space = func() (free int64, low bool) {
				if c == nil || c.capacity == 0 {
					return 1 << 40, false
				}
				return max(0, c.capacity-c.fs.Used()), true
			}
		})
		c.fill(1)
		c.asked(loaded)
		for c.store.walLog.End().File <= 4 {
			for _, l := range c.logs[1:] {
				c.append(l)
			}
			c.settle()
		}
		settle(t, c.driver)
		for _, l := range c.logs[1:] {
			l.SetHighWatermark(l.State().DurableEnd)
			c.tolerate("move the start", l.MoveStart(l.State().DurableEnd))
		}
		settle(t, c.driver)
		for again := true; again; { // no spare is left to give
			var err error
			if again, err = c.store.walLog.DropSpare(); err != nil {
				t.Fatal(err)
			}
		}
		want := c.digest()
		c.spare(c.store.walLog.FileBytes() / editShare)
		before := c.fs.Used()
		for range 5 {
			c.second()
		}
		stats := c.store.Stats().Drain
		if stats.Files < 3 || stats.Adopted != 1 || stats.Packs != 1 || c.store.demand() == busy {
			t.Errorf("space is known %t: got %+v, demand %v, want one file adopted and the others gone", knows, stats, c.store.demand())
		}
		if free := before - c.fs.Used() + stats.SpareBytes; free < 2*c.store.walLog.FileBytes() {
			t.Errorf("space is known %t: got %d bytes back, want two files", knows, free)
		}
		for range int(fullMost/time.Second) + 2 { // and then there is room for a copy of what was adopted
			c.second()
		}
		if stats = c.store.Stats().Drain; stats.Repacked != 1 || stats.Packs != 1 || c.digest() != want {
			t.Errorf("space is known %t: got %+v, want the adopted file written anew", knows, stats)
		}
		c.close()
	}
}

// Where the cluster has not agreed on files that are adopted the drain waits for space.
func TestFullDiskAdoptsNothingThatItMayNot(t *testing.T) {
	c := openCrammed(t, adoptsNothing)
	c.fill(3)
	for again := true; again; {
		var err error
		if again, err = c.store.walLog.DropSpare(); err != nil {
			t.Fatal(err)
		}
	}
	c.cram()
	for range 5 {
		c.second()
	}
	if stats := c.store.Stats().Drain; stats.Files != 0 || stats.Adopted != 0 {
		t.Errorf("got %+v on a full disk, want nothing adopted", stats)
	}
	c.close()
}

// On a disk without a free byte the catalog has none either (Pebble's commit fails after one pause): to adopt there
// would end the process, where a copy is put off.
func TestNothingIsAdoptedWhereTheCatalogHasNoRoom(t *testing.T) {
	full := false
	cat := &catalogtest.Catalog{}
	cat.Durable = func(apply func()) error {
		if full {
			return syscall.ENOSPC
		}
		apply()
		return nil
	}
	free := int64(1 << 40)
	h, err := openDraining(t, waltest.New(), 1, cat, func(cfg *Config) {
		cfg.WAL.FilesMax = 4
		cfg.WAL.Space = func() (int64, bool) { return free, free == 0 }
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &crammed{hand: h}
	c.fill(3)
	for again := true; again; {
		if again, err = c.store.walLog.DropSpare(); err != nil {
			t.Fatal(err)
		}
	}
	for c.store.Tick(); c.store.demand() == busy; c.store.Tick() {
		c.clock.advance(time.Second)
	}
	c.cram()
	full, free = true, 0
	for range 5 {
		c.clock.advance(time.Second)
		c.store.Tick()
		if _, err := c.store.drainer.step(c.store.adopts()); err != nil {
			t.Fatalf("demand %v: the node stops: %v", c.store.demand(), err)
		}
	}
}
