package wal_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// drainable is a driven log with three full files and a fourth begun.
type drainable struct {
	t       *testing.T
	log     *wal.Log
	driver  *wal.Driver
	records []wal.Record
}

func openDrainable(t *testing.T, fs *waltest.FS, start wal.Start, packs []wal.Pack, found func(wal.Damage)) *drainable {
	t.Helper()
	return openDriven(t, wal.Config{FS: fs, SparesMax: 1, Start: start, Packs: packs, Scrub: wal.Scrub{Found: found}})
}

// openDriven opens a log by hand, of small groups, and of small files unless they have a size.
func openDriven(t *testing.T, cfg wal.Config) *drainable {
	t.Helper()
	cfg.Dir, cfg.Session, cfg.GroupBytesMax, cfg.FileBytes = dir, 7, 16<<10, cmp.Or(cfg.FileBytes, 64<<10)
	log, err := wal.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	driver, err := log.Drive()
	if err != nil {
		t.Fatal(err)
	}
	return &drainable{t: t, log: log, driver: driver}
}

func (d *drainable) append(count int) {
	d.t.Helper()
	for i := range count {
		d.put(wal.Record{Kind: wal.Data, Partition: topic.Partition{Index: int32(i % 3)}, Base: topic.Offset(i), Count: 1,
			Payload: bytes.Repeat([]byte{byte(i + 1)}, 3000)})
		d.turn()
	}
}

// put queues a record, which the next turn writes.
func (d *drainable) put(r wal.Record) {
	d.t.Helper()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for d.driver.Wanted() {
		if err := d.driver.Prepare(); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := d.log.Reserve(ended, wal.Leader, wal.EncodedLen(r)); err != nil {
		d.t.Fatal(err)
	}
	d.log.Append(wal.Leader, r)
	d.records = append(d.records, r)
}

func (d *drainable) turn() {
	d.t.Helper()
	if err := d.driver.Turn(); err != nil {
		d.t.Fatal(err)
	}
	d.driver.Disk()
	if err := d.driver.Complete(); err != nil {
		d.t.Fatal(err)
	}
}

// drain copies the oldest file into a pack, and returns where its records lay and lie.
func (d *drainable) drain(number uint64) (from, to []wal.Position, pack wal.Pack, next wal.Start) {
	d.t.Helper()
	sealed, ok := d.log.Sealed()
	if !ok {
		d.t.Fatal("no file is sealed")
	}
	w, err := d.log.NewPack(number)
	if err != nil {
		d.t.Fatal(err)
	}
	next, err = d.log.ReadSealed(sealed.File, nil, func(r wal.Placed) error {
		at, err := w.Add(&r.Record)
		from, to = append(from, r.At), append(to, at)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	if pack, err = w.Finish(); err != nil {
		d.t.Fatal(err)
	}
	next.NextPack = number + 1
	return from, to, pack, next
}

func (d *drainable) read(at wal.Position, want wal.Record) error {
	got, err := d.log.ReadRecord(at, wal.EncodedLen(want))
	if err == nil && !bytes.Equal(got.Payload, want.Payload) {
		err = errors.New("another record")
	}
	return err
}

// scan counts the records from the start of the log on.
func (d *drainable) scan() (count int) {
	d.t.Helper()
	for at := (wal.Position{}); ; {
		records, next, err := d.log.Scan(at, 8<<10)
		for _, r := range records {
			if at != (wal.Position{}) && r.At.Compare(at) < 0 {
				d.t.Fatalf("scan: %v comes after %v", r.At, at)
			}
			at = r.At
		}
		count, at = count+len(records), next
		if errors.Is(err, wal.ErrEnd) {
			return count
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// A drained file is read from its pack; its old place says that it moved, also while the file lives on
// under another number; and a log that is opened again begins where the drain left it.
func TestDrainedRecordsAreReadFromTheirPack(t *testing.T) {
	fs := waltest.New()
	d := openDrainable(t, fs, wal.Start{}, nil, nil)
	d.append(80)
	from, to, pack, next := d.drain(1)
	if err := d.read(from[0], d.records[0]); err != nil {
		t.Fatalf("before the file is retired: %v", err)
	}
	d.log.Adopt(pack)
	if err := d.log.Retire(next); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for i := range from {
			if err := d.read(from[i], d.records[i]); !errors.Is(err, wal.ErrMoved) {
				t.Fatalf("%s: old place of record %d: got %v, want ErrMoved", when, i, err)
			}
			if err := d.read(to[i], d.records[i]); err != nil {
				t.Fatalf("%s: new place of record %d: %v", when, i, err)
			}
		}
		if got := d.scan(); got != len(d.records) {
			t.Fatalf("%s: a scan finds %d records of %d", when, got, len(d.records))
		}
	}
	check("after the drain")
	names, err := fs.List(dir)
	if err != nil || !slices.Contains(names, "00000000000000000001.spare") {
		t.Fatalf("the drained file is no spare: %q, %v", names, err)
	}
	d.append(60)
	names, err = fs.List(dir)
	if err != nil || slices.Contains(names, "00000000000000000001.spare") {
		t.Fatalf("the spare was not written again: %q, %v", names, err)
	}
	check("after the file has got another number")
	if err := errors.Join(d.driver.Close(), d.log.Close()); err != nil {
		t.Fatal(err)
	}
	records := d.records
	d = openDrainable(t, fs.Restart(), next, []wal.Pack{pack}, nil)
	d.records = records
	check("after a restart")
}

// What a crash can have left of a drain goes at the next start. A pack that nobody can have left there
// stays, under a name of its own.
func TestUnknownPacksAreRemovedOnlyIfADrainCanHaveLeftThem(t *testing.T) {
	fs := waltest.New()
	d := openDrainable(t, fs, wal.Start{}, nil, nil)
	d.append(80)
	_, _, _, _ = d.drain(1)
	_, _, _, _ = d.drain(9 << 16)
	fs = fs.Restart()
	d = openDrainable(t, fs, wal.Start{}, nil, nil)
	names, err := fs.List(dir)
	if err != nil || slices.Contains(names, "00000000000000000001.pack") ||
		!slices.Contains(names, fmt.Sprintf("%020d.pack.orphan", 9<<16)) {
		t.Fatalf("after the start: %q, %v", names, err)
	}
	if got := d.scan(); got != 80 {
		t.Fatalf("a scan finds %d records, want 80", got)
	}
}

// Whatever bit of a pack flips, the scrub and a dump name the pack, and a read of the record says so.
func TestDamageInAPackIsFound(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		fs := waltest.New()
		var found []wal.Damage
		d := openDrainable(t, fs, wal.Start{}, nil, func(x wal.Damage) { found = append(found, x) })
		d.append(80)
		_, to, pack, next := d.drain(1)
		d.log.Adopt(pack)
		if err := d.log.Retire(next); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s/%020d.pack", dir, 1)
		at := fs.Flip(random, name, 4096, pack.Bytes)
		for scrub := d.log.Scrubber(); ; {
			if err := scrub.Turn(); errors.Is(err, io.EOF) {
				break
			}
		}
		if len(found) != 1 || found[0].File != name || found[0].At.Offset > at {
			t.Fatalf("round %d: bit at %d: the scrub found %v", round, at, found)
		}
		bad := 0
		for i := range to {
			if err := d.read(to[i], d.records[i]); errors.Is(err, wal.ErrDamaged) {
				bad++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if bad != 1 {
			t.Fatalf("round %d: bit at %d: %d records are damaged, want 1", round, at, bad)
		}
		damage, err := wal.Dump(fs, dir, func(wal.DumpRecord) {})
		if err != nil || len(damage) != 1 || damage[0].File != name {
			t.Fatalf("round %d: dump: %v, %v", round, damage, err)
		}
	}
}

// At the bound on its files a log takes nothing more until one is retired, or until the bound is lifted.
func TestLogWaitsAtItsBoundForADrain(t *testing.T) {
	open := func() *drainable {
		d := openDriven(t, wal.Config{FS: waltest.New(), FilesMax: 4})
		d.append(50)
		for d.driver.Wanted() {
			if err := d.driver.Prepare(); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	d := open()
	if chain, _ := d.log.ChainBytes(); chain != 4*64<<10 {
		t.Fatalf("the log takes up %d bytes, want four files", chain)
	}
	_, _, pack, next := d.drain(1)
	d.log.Adopt(pack)
	if err := d.log.Retire(next); err != nil {
		t.Fatal(err)
	}
	if !d.driver.Wanted() {
		t.Error("no file is made after one was retired")
	}
	d = open()
	d.log.Unbind()
	if !d.driver.Wanted() {
		t.Error("no file is made after the bound was lifted")
	}
}

// A file that was given up, and is not wanted as a spare, stays until somebody says that it may go now, and what was not
// removed goes with the next start.
func TestWhatWasGivenUpWaitsForDiscard(t *testing.T) {
	fs := waltest.New()
	d := openDrainable(t, fs, wal.Start{}, nil, nil)
	d.append(120)
	var packs []wal.Pack
	var start wal.Start
	for number := range uint64(4) {
		_, _, pack, next := d.drain(number + 1)
		d.log.Adopt(pack)
		if err := d.log.Retire(next); err != nil {
			t.Fatal(err)
		}
		packs, start = append(packs, pack), next
	}
	there := func() (files string) {
		for number := range uint64(4) {
			if fs.Exists(wal.FileName(dir, number+1)) {
				files += fmt.Sprint(number + 1)
			}
		}
		return fmt.Sprint(files, " ", d.log.Waste()>>16)
	}
	if got := there(); got != "234 3" { // The first one is the spare.
		t.Fatalf("got files %s that wait, want 234 3", got)
	}
	if more, err := d.log.Discard(); !more || err != nil || there() != "34 2" {
		t.Fatalf("one file was to be removed: %t, %v, %s wait", more, err, there())
	}
	d.append(20) // It takes the spare.
	if more, err := d.log.Discard(); !more || err != nil || there() != " 0" {
		t.Fatalf("one file was to be a spare again and one to be removed: %t, %v, %s wait", more, err, there())
	}
	if more, err := d.log.Discard(); more || err != nil {
		t.Fatalf("got %t, %v where nothing waits", more, err)
	}
	for number := uint64(5); ; number++ {
		sealed, ok := d.log.Sealed()
		if !ok {
			break
		}
		_, _, pack, next := d.drain(number)
		d.log.Adopt(pack)
		if err := d.log.Retire(next); err != nil {
			t.Fatal(err)
		}
		packs, start = append(packs, pack), next
		if name := wal.FileName(dir, sealed.File); !fs.Exists(name) {
			t.Fatalf("%s does not wait", name)
		}
	}
	if d.log.Waste() == 0 {
		t.Fatal("nothing waits: the test proves nothing")
	}
	if err := errors.Join(d.driver.Close(), d.log.Close()); err != nil {
		t.Fatal(err)
	}
	d = openDrainable(t, fs, start, packs, nil)
	for number := range start.File {
		if fs.Exists(wal.FileName(dir, number)) {
			t.Errorf("file %d is there after the start", number)
		}
	}
	if d.log.Waste() > 0 {
		t.Errorf("%d bytes wait after the start", d.log.Waste())
	}
	d.stop()
}
