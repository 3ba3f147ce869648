package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// adopt makes the oldest file a pack, and returns what lies there, under its new positions.
func (d *drainable) adopt() (placed []wal.Placed, pack wal.Pack, next wal.Start) {
	d.t.Helper()
	sealed, ok := d.log.Sealed()
	if !ok {
		d.t.Fatal("no file is sealed")
	}
	pack, next, ok = d.log.Adoptable(sealed.File)
	if !ok {
		d.t.Fatalf("file %d is not adoptable", sealed.File)
	}
	read, err := d.log.ReadSealed(sealed.File, nil, func(r wal.Placed) error {
		r.Record = cloned(r.Record)
		r.At.File = pack.Number | wal.PackBit
		placed = append(placed, r)
		return nil
	})
	if err != nil || read != next {
		d.t.Fatalf("got the chain at %+v, %v; read from the file it is at %+v", next, err, read)
	}
	d.log.Adopt(pack)
	next.NextPack = next.File * wal.PackStep
	if err := d.log.Retire(next); err != nil {
		d.t.Fatal(err)
	}
	return placed, pack, next
}

func (d *drainable) readAll(placed []wal.Placed) {
	d.t.Helper()
	loan := d.log.Lend()
	defer loan.Release()
	for _, r := range placed {
		if err := d.read(r.At, r.Record); err != nil {
			d.t.Fatalf("read at %v: %v", r.At, err)
		}
		lent, rest, err := loan.Record(r.At, wal.EncodedLen(r.Record), true)
		payload := string(lent.Payload)
		for _, more := range rest {
			payload += string(more)
		}
		if err != nil && !errors.Is(err, wal.ErrNotLent) || err == nil && payload != string(r.Payload) {
			d.t.Fatalf("lend at %v: %v", r.At, err)
		}
		loan.Release()
	}
}

func (d *drainable) stop() {
	d.t.Helper()
	if err := errors.Join(d.driver.Close(), d.log.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// An adopted file keeps its name and its bytes; it is read, scanned, scrubbed, verified and dumped, before and
// after another start, and becomes a spare when nobody needs it any more.
func TestAdoptedFileStaysWhatItIs(t *testing.T) {
	fs := waltest.New()
	d := openDrainable(t, fs, wal.Start{}, nil, nil)
	d.append(65)
	before := contents(t, fs)[wal.FileName(dir, 1)]
	first, pack, _ := d.adopt()
	stale := wal.Position{File: 1, Offset: first[0].At.Offset}
	if err := d.read(stale, first[0].Record); !errors.Is(err, wal.ErrMoved) {
		t.Fatalf("got %v at the place of before, want %v", err, wal.ErrMoved)
	}
	_, _, drained, next := d.drain(2 * wal.PackStep)
	d.log.Adopt(drained)
	if err := d.log.Retire(next); err != nil {
		t.Fatal(err)
	}
	third, pack3, start := d.adopt()
	packs := []wal.Pack{pack, drained, pack3}
	d.readAll(first)
	d.readAll(third)
	all := d.scan()
	d.append(1)
	d.stop()
	if got := contents(t, fs)[wal.FileName(dir, 1)]; string(got) != string(before) {
		t.Fatal("the bytes of the adopted file changed")
	}

	checked, err := wal.Verify(wal.Check{FS: fs, Dir: dir, Start: start, Packs: packs})
	if err != nil || len(checked.Damage) > 0 || checked.Packs != 3 || len(checked.Unneeded) > 1 {
		t.Fatalf("verify: got %+v, %v", checked, err)
	}
	records := 0
	damage, err := wal.Dump(fs, dir, func(r wal.DumpRecord) {
		if r.Record != nil {
			records++
		}
	})
	if err != nil || len(damage) > 0 || records != all+1 {
		t.Fatalf("dump: got %d records of %d, damage %v, %v", records, all+1, damage, err)
	}

	var found []wal.Damage
	d = openDrainable(t, fs, start, packs, func(d wal.Damage) { found = append(found, d) })
	d.readAll(first)
	d.readAll(third)
	if got := d.scan(); got != all+1 {
		t.Fatalf("got %d records after another start, want %d", got, all+1)
	}
	s := d.log.Scrubber()
	for s.Turn() == nil {
	}
	if len(found) > 0 {
		t.Fatalf("the scrub found %v", found)
	}
	if err := d.log.RemovePack(pack.Number); err != nil {
		t.Fatal(err)
	}
	if err := d.read(first[0].At, first[0].Record); !errors.Is(err, wal.ErrMoved) {
		t.Fatalf("got %v from a file that is not needed any more, want %v", err, wal.ErrMoved)
	}
	if more, err := d.log.Discard(); !more || err != nil || fs.Exists(wal.FileName(dir, 1)) {
		t.Fatalf("the file is still there: %t, %v", more, err)
	}
	d.stop()
}

// What is damaged in an adopted file is found by a read, by the scrub and by Verify, and hides nothing else.
func TestDamageInAnAdoptedFileIsFound(t *testing.T) {
	for _, bad := range []int{0, 5, 14} {
		for _, header := range []bool{false, true} {
			t.Run(fmt.Sprint(bad, header), func(t *testing.T) {
				fs := waltest.New()
				var found []wal.Damage
				d := openDrainable(t, fs, wal.Start{}, nil, func(d wal.Damage) { found = append(found, d) })
				d.append(65)
				placed, pack, start := d.adopt()
				victim := placed[bad]
				at := victim.At.Offset + 100
				if header {
					at = groupOf(victim).Offset + 41
				}
				flip(fs, 1, at)
				if err := d.read(victim.At, victim.Record); errors.Is(err, wal.ErrDamaged) == header {
					t.Errorf("got %v from the record, want damage: %v", err, !header)
				}
				d.readAll(placed[bad+1:])
				s := d.log.Scrubber()
				for !errors.Is(s.Turn(), io.EOF) {
				}
				if len(found) == 0 && !header {
					t.Error("the scrub found nothing")
				}
				d.stop()
				met := map[wal.Position]bool{}
				checked, err := wal.Verify(wal.Check{FS: fs, Dir: dir, Start: start, Packs: []wal.Pack{pack},
					Packed: func(r wal.Placed) { met[r.At] = true },
					Resume: nextOf(placed)})
				if err != nil || len(checked.Damage) == 0 || met[victim.At] == !header {
					t.Errorf("verify: got %+v, %v; the record was met: %v", checked, err, met[victim.At])
				}
				for i, r := range placed {
					if i != bad && !met[r.At] {
						t.Errorf("record %d at %v was not met", i, r.At)
					}
				}
			})
		}
	}
}

// A record whose first byte is 0 looks like the padding of its group. Who reads on does not pass over it, nor does Verify
// over what lies behind it; and one bad byte does not make padding a record.
func TestRecordThatLooksLikePaddingHidesNothing(t *testing.T) {
	fs := waltest.New()
	d := openDrainable(t, fs, wal.Start{}, nil, nil)
	for i := range 4 { // One group.
		d.put(wal.Record{Kind: wal.Data, Base: topic.Offset(i), Count: 1, Payload: bytes.Repeat([]byte{7}, 500)})
	}
	d.turn()
	d.append(65)
	placed, pack, start := d.adopt()
	if groupOf(placed[0]).Offset%wal.BlockBytes != 0 || placed[3].At.Offset >= groupOf(placed[0]).Offset+wal.BlockBytes {
		t.Fatalf("the records at %v and %v are not of one group", placed[0].At, placed[3].At)
	}
	flip(fs, 1, placed[3].At.Offset+wal.EncodedLen(placed[3].Record))
	if got, err := scanned(d.log, placed[0].At, placed[4].At.Offset); got != 4 || err != nil {
		t.Errorf("got %d records from %v on, %v, want 4 and padding", got, placed[0].At, err)
	}
	zero(fs, 1, placed[1].At.Offset, 1)
	if got, err := scanned(d.log, placed[0].At, placed[4].At.Offset); got != 1 || !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("got %d records from %v on, %v, want one and damage", got, placed[0].At, err)
	}
	d.stop()
	needed := placed[2:] // Nobody needs the bad one.
	met := map[wal.Position]bool{}
	checked, err := wal.Verify(wal.Check{FS: fs, Dir: dir, Start: start, Packs: []wal.Pack{pack},
		Packed: func(r wal.Placed) { met[r.At] = true }, Resume: nextOf(append(placed[:1:1], needed...))})
	if err != nil || len(checked.Damage) != 2 { // Of the group, and of the record.
		t.Errorf("verify: got %+v, %v", checked, err)
	}
	for _, r := range needed {
		if !met[r.At] {
			t.Errorf("the record at %v was not met", r.At)
		}
	}
}

// scanned counts the records from a place in a file up to another, or to the first that is damaged.
func scanned(log *wal.Log, at wal.Position, until int64) (count int, err error) {
	for file := at.File; at.File == file && at.Offset < until; {
		records, next, err := log.Scan(at, 8<<10)
		if err != nil {
			return count, err
		}
		for _, r := range records {
			if r.At.File == file && r.At.Offset < until {
				count++
			}
		}
		at = next
	}
	return count, nil
}

// nextOf finds the first of some records behind a place.
func nextOf(placed []wal.Placed) func(at wal.Position) (wal.Position, bool) {
	return func(at wal.Position) (wal.Position, bool) {
		for _, r := range placed {
			if r.At.Compare(at) > 0 {
				return r.At, true
			}
		}
		return wal.Position{}, false
	}
}

// A file of which a loss of power could take something back is not adopted.
func TestUnsyncedFileIsNotAdopted(t *testing.T) {
	d := openDriven(t, wal.Config{FS: waltest.New(), Sync: wal.Policy{Interval: 1 << 40}})
	d.append(25)
	sealed, ok := d.log.Sealed()
	if _, _, adoptable := d.log.Adoptable(sealed.File); !ok || adoptable {
		t.Errorf("got sealed %v, adoptable %v; want a sealed file that is not", ok, adoptable)
	}
	if reported, synced := d.log.Sequences(); synced >= reported {
		t.Errorf("group %d is synced of %d: the test proves nothing", synced, reported)
	}
	d.stop()
}

// A spare can have the number of a file that was begun later: it was ready ahead when the log was opened before.
// When that file is drained the spare is not taken for two.
func TestFileThatHasASpareOfItsNameIsGivenUp(t *testing.T) {
	fs := waltest.New()
	d := openDrainable(t, fs, wal.Start{}, nil, nil)
	d.append(40)
	d.stop()
	file, err := fs.Create(dir+"/00000000000000000001.spare", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Allocate(64 << 10); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(wal.Config{FS: fs, Dir: dir, Session: 8, FileBytes: 64 << 10, GroupBytesMax: 16 << 10, SparesMax: 9})
	if err != nil {
		t.Fatal(err)
	}
	driver, err := log.Drive()
	if err != nil {
		t.Fatal(err)
	}
	d = &drainable{t: t, log: log, driver: driver}
	_, _, pack, next := d.drain(wal.PackStep)
	d.log.Adopt(pack)
	if err := d.log.Retire(next); err != nil {
		t.Fatal(err)
	}
	d.append(200) // Takes all spares.
	d.stop()
}
