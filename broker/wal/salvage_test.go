package wal_test

import (
	"errors"
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// salvaged is a sealed file of three groups of five records each, and those.
func salvaged(t *testing.T) (*driven, *waltest.FS, []wal.Placed) {
	t.Helper()
	fs := waltest.New()
	d := drive(t, small(fs))
	for i := range uint64(3) {
		d.settle()
		d.must(series(10*i+1, 5, 1500)...)
		d.settle()
	}
	d.Seal(1)
	d.settle()
	d.wantSealed("after it was asked for", 1)
	all := d.sink.durables()
	if len(all) != 15 || all[5].At.Offset%4096 != 64 || all[9].At.Offset/4096 == all[5].At.Offset/4096 {
		t.Fatalf("got %d records, the sixth at %v", len(all), all[5].At)
	}
	return d, fs, all
}

// salvage collects what Salvage gives, with records that the caller knows.
func (d *driven) salvage(known ...wal.Placed) ([]wal.Record, error) {
	var got []wal.Record
	_, err := d.Salvage(1, func(at wal.Position) (wal.Record, bool) {
		for _, p := range known {
			if p.At == at {
				return p.Record, true
			}
		}
		return wal.Record{}, false
	}, func(p wal.Placed) error {
		got = append(got, cloned(p.Record))
		return nil
	})
	return got, err
}

// What is bad in a group is asked of who knows, what is good is read, also where a block cannot be, and what nobody knows
// ends it.
func TestSalvageTakesWhatIsGoodAndAsksForTheRest(t *testing.T) {
	d, fs, all := salvaged(t)
	flip(fs, 1, all[3].At.Offset+100)
	unread(fs, 1, all[9].At.Offset)
	var lost []wal.Placed
	for _, p := range all[5:10] {
		if p.At.Offset+wal.EncodedLen(p.Record) > all[9].At.Offset/4096*4096 {
			lost = append(lost, p)
		}
	}
	got, err := d.salvage(append(lost, all[3])...)
	if err != nil || len(lost) == 5 {
		t.Fatal(lost, err)
	}
	same(t, "salvaged", got, records(all))
	next, err := d.Salvage(1, func(at wal.Position) (wal.Record, bool) {
		for _, p := range append(lost, all[3]) {
			if p.At == at {
				return p.Record, true
			}
		}
		return wal.Record{}, false
	}, func(wal.Placed) error { return nil })
	if _, want, ok := d.Adoptable(1); !ok || err != nil || next.File != want.File || next.Sequence != want.Sequence || next.CRC != want.CRC {
		t.Errorf("the chain goes on at %+v, want %+v, %v", next, want, err)
	}
	for _, known := range [][]wal.Placed{{all[3]}, lost, lost[1:]} {
		if _, err := d.salvage(known...); !errors.Is(err, wal.ErrDamaged) {
			t.Errorf("got %v, want damage", err)
		}
	}
	longer := all[3]
	longer.Payload = append(longer.Payload, make([]byte, 8)...)
	if _, err := d.salvage(append(lost, longer)...); !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("a record of another length: got %v, want damage", err)
	}
}

// A group's header is not verified by itself if its records are bad: none is believed that the next one, or what was
// made durable, does not vouch for.
func TestSalvageBelievesNoHeaderThatNothingVouchesFor(t *testing.T) {
	for group := range 3 {
		d, fs, all := salvaged(t)
		fs.Damage(wal.FileName(dir, 1), func(b []byte) []byte {
			b[groupOf(all[5*group]).Offset+44]-- // A record less.
			return b
		})
		if got, err := d.salvage(all...); !errors.Is(err, wal.ErrDamaged) {
			t.Errorf("group %d with a record less: got %d records, %v, want damage", group, len(got), err)
		}
		for behind := range int64(64) {
			if behind >= 52 && behind < 60 || behind == 6 || behind == 7 || behind >= 32 && behind < 40 {
				continue // Zeros, and what was synced: nothing hangs on it here.
			}
			d, fs, all := salvaged(t)
			flip(fs, 1, groupOf(all[5*group]).Offset+behind)
			if got, err := d.salvage(all...); !errors.Is(err, wal.ErrDamaged) {
				t.Errorf("group %d, byte %d of its header: got %d records, %v, want damage", group, behind, len(got), err)
			}
		}
	}
}
