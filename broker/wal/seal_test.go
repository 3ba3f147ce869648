package wal_test

import (
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// settle prepares, and writes what there is until all of it is durable.
func (d *driven) settle() {
	d.t.Helper()
	for d.Wanted() {
		if err := d.Prepare(); err != nil {
			d.t.Fatal(err)
		}
	}
	d.must()
	for d.Writing() {
		d.Disk()
		d.complete()
	}
}

// wantSealed wants the oldest file that can be drained to be that one; 0 for none.
func (d *driven) wantSealed(what string, file uint64) {
	d.t.Helper()
	if got, _ := d.Sealed(); got.File != file {
		d.t.Fatalf("%s: got file %d sealed, want %d", what, got.File, file)
	}
}

// A file that is not full can be drained as soon as that is asked for, although nothing is appended. Nobody hears
// of the empty group that ends it, and what comes next lies in the next file.
func TestSealEndsAFileThatIsNotFull(t *testing.T) {
	fs := waltest.New()
	d := drive(t, small(fs))
	d.now = time.Hour
	d.must(data(1, 100))
	d.settle()
	d.wantSealed("before it was asked for", 0)
	if at, ok := d.Born(1); at != time.Hour || !ok {
		t.Fatalf("file 1 was born at %v, %t, want %v", at, ok, time.Hour)
	}
	heard, written := d.sink.groups, d.WrittenBytes()
	d.now *= 2
	d.Seal(1)
	if err := d.Turn(); err != nil {
		t.Fatal(err)
	}
	if d.Age() != 0 {
		t.Fatalf("age %v while an empty group is written, want 0", d.Age())
	}
	d.settle()
	d.wantSealed("after it was asked for", 1)
	if end := d.End(); end.File != 2 || d.sink.groups != heard {
		t.Fatalf("the log ends at %v, the sink heard of %d groups, want file 2 and %d", end, d.sink.groups, heard)
	}
	if got := d.WrittenBytes() - written; got != wal.BlockBytes {
		t.Fatalf("got %d bytes counted as written, want a block", got)
	}
	d.Seal(1)
	d.settle()
	d.must(data(2, 100))
	d.settle()
	if end := d.End(); end.File != 2 {
		t.Fatalf("the log ends at %v, want it in file 2", end)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := open(t, small(fs))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "found", found.found, series(1, 2, 100))
}

// While something is appended the next group begins the next file, and no group is empty.
func TestSealedFileIsLeftByTheNextGroup(t *testing.T) {
	d := drive(t, small(waltest.New()))
	d.settle()
	d.must(data(1, 100))
	d.must(data(2, 100)) // behind a busy disk
	d.Seal(1)
	d.must(data(3, 100))
	d.Disk()
	d.complete()
	d.must(data(4, 100))
	d.settle()
	d.wantSealed("behind the group after", 1)
	placed := scanAll(t, d.Log, wal.Position{}, 0)
	same(t, "scanned", records(placed), series(1, 4, 100))
	if last := placed[3].At.File; last != 2 || d.sink.groups != 3 {
		t.Fatalf("record 4 lies in file %d, in %d groups, want file 2 and 3 groups", last, d.sink.groups)
	}
}

// Nobody loses space that was promised: a file is left only if the others hold it.
func TestSealTakesNoPromisedSpace(t *testing.T) {
	d := drive(t, small(waltest.New()))
	d.must(data(1, 100))
	d.Disk()
	d.complete()
	d.Seal(1)
	d.must()
	d.wantSealed("without a file ahead", 0)
	if d.Writing() {
		t.Fatal("something is written without a file ahead")
	}
	d.settle()
	d.settle()
	d.wantSealed("with files ahead", 1)
	d.must(data(2, 100))
	d.settle()
	reserve := func() (all []wal.Budget) {
		for _, b := range []wal.Budget{wal.Leader, wal.Follower} {
			for d.TryReserve(b, wal.EncodedLen(data(0, 7000))) {
				all = append(all, b)
			}
		}
		return all
	}
	held := reserve()
	d.Seal(2)
	d.settle()
	d.wantSealed("while all space is promised", 1)
	for _, b := range held {
		d.Release(b, wal.EncodedLen(data(0, 7000)))
	}
	if held = reserve(); len(held) < 8 {
		t.Fatalf("only %d records were promised space", len(held))
	}
	for i, b := range held {
		d.Append(b, data(uint64(3+i), 7000)) // it panics where a promise is broken
	}
	d.settle()
	same(t, "durable", records(d.sink.durable), append(series(1, 2, 100), series(3, uint64(len(held)), 7000)...))
}
