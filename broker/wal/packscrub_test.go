package wal_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// packOfSmall is a log with one pack of many small records, all of which somebody needs.
type packOfSmall struct {
	*wal.Log
	t     *testing.T
	fs    *waltest.FS
	pack  wal.Pack
	name  string
	at    []wal.Position
	found []wal.Damage
	// resumed counts the looks for a place behind damage.
	resumed int
}

func openPackOfSmall(t *testing.T, records int) *packOfSmall {
	t.Helper()
	p := &packOfSmall{t: t, fs: waltest.New()}
	log, err := wal.Open(wal.Config{FS: p.fs, Dir: dir, Session: 7, FileBytes: 64 << 10, GroupBytesMax: 16 << 10,
		Scrub: wal.Scrub{Found: func(d wal.Damage) { p.found = append(p.found, d) }, Resume: p.behind}})
	if err != nil {
		t.Fatal(err)
	}
	p.Log = log
	w, err := log.NewPack(wal.PackStep)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		at, err := w.Add(&wal.Record{Kind: wal.Data, Partition: topic.Partition{Index: 1}, Base: topic.Offset(i), Count: 1,
			Payload: make([]byte, 100)})
		if err != nil {
			t.Fatal(err)
		}
		p.at = append(p.at, at)
	}
	if p.pack, err = w.Finish(); err != nil {
		t.Fatal(err)
	}
	log.Adopt(p.pack)
	p.name = dir + "/" + p.at[0].FileName()
	return p
}

func (p *packOfSmall) behind(place wal.Position) (wal.Position, bool) {
	p.resumed++
	i, found := slices.BinarySearchFunc(p.at, place, wal.Position.Compare)
	if found {
		i++
	}
	if i == len(p.at) {
		return wal.Position{}, false
	}
	return p.at[i], true
}

// pass makes a pass and says how many bytes were asked of the pack.
func (p *packOfSmall) pass(fail func(op waltest.Op) error) (asked int64) {
	p.t.Helper()
	p.fs.Intercept(func(op waltest.Op) error {
		if op.Verb != waltest.Read || op.Name != p.name {
			return nil
		}
		asked += op.Bytes
		return fail(op)
	})
	scrubber := p.Scrubber()
	for range 2 * len(p.at) {
		if err := scrubber.Turn(); errors.Is(err, io.EOF) {
			return asked
		}
	}
	p.t.Fatal("the pass does not end")
	return asked
}

// wantCovered wants the damage to be told as places that lie one behind the other, from a place to the pack's end.
func (p *packOfSmall) wantCovered(from int64) {
	p.t.Helper()
	for _, d := range p.found {
		if d.At.Offset != from {
			p.t.Fatalf("damage is told at byte %d, want it at %d: what lies between is not looked at", d.At.Offset, from)
		}
		from += d.Bytes
	}
	if from != p.pack.Bytes {
		p.t.Fatalf("damage is told up to byte %d, want %d", from, p.pack.Bytes)
	}
}

// What lies before a block that the device does not give back is not read again for each of its records.
func TestScrubReadsLittleMoreBecauseOfABadBlock(t *testing.T) {
	p := openPackOfSmall(t, 4000)
	bad := p.at[3900].Offset / 4096 * 4096
	asked := p.pass(func(op waltest.Op) error {
		if op.Offset < bad+4096 && op.Offset+op.Bytes > bad {
			return fmt.Errorf("read: %w", syscall.EIO)
		}
		return nil
	})
	if asked > 8*p.pack.Bytes {
		t.Errorf("a pass asks for %d bytes of a pack of %d", asked, p.pack.Bytes)
	}
	if n := len(p.found); n == 0 || n > 40 {
		t.Errorf("got %d damaged places, want some, and no more than records can lie in a block", n)
	}
}

// A pack that is bad all through is told in few places, which leave nothing out.
func TestScrubTellsOfAPackThatIsBadAllThroughInFewPlaces(t *testing.T) {
	p := openPackOfSmall(t, 4000)
	p.fs.Damage(p.name, func(b []byte) []byte {
		clear(b[4096:])
		return b
	})
	p.pass(func(waltest.Op) error { return nil })
	if n := len(p.found); n == 0 || n > 20 || p.resumed > 20 {
		t.Errorf("got %d damaged places, and %d looks for what lies behind them", n, p.resumed)
	}
	p.wantCovered(4096)
}

// That a pack cannot be read now, for a reason that is not the disk's, is no damage.
func TestScrubTakesNoWantOfResourcesForDamage(t *testing.T) {
	p := openPackOfSmall(t, 100)
	p.pass(func(op waltest.Op) error {
		if op.Offset == 0 {
			return nil // the header
		}
		return fmt.Errorf("read: %w", syscall.ENOMEM)
	})
	if len(p.found) > 0 || p.ScrubStats().Damage > 0 {
		t.Errorf("got damage %v", p.found)
	}
	p.pass(func(waltest.Op) error { return nil })
	if s := p.ScrubStats(); len(p.found) > 0 || s.Passes != 1 || s.Bytes != p.pack.RecordBytes() {
		t.Errorf("got %+v, %v, want a pass over all of the pack", s, p.found)
	}
}

// Who names a record behind the end of a pack does not come too early, as in a file that is being written.
func TestRecordBehindTheEndOfAPackIsDamage(t *testing.T) {
	p := openPackOfSmall(t, 10)
	last := p.at[9]
	length := p.pack.Bytes - last.Offset
	if _, err := p.ReadRecord(last, length); err != nil {
		t.Fatalf("the last record: %v", err)
	}
	last.Offset++
	var damage *wal.Damage
	if _, err := p.ReadRecord(last, length); !errors.As(err, &damage) || damage.File != p.name {
		t.Errorf("a byte behind it: got %v, want damage of %s", err, p.name)
	}
}
