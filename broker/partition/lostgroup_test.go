package partition

import (
	"errors"
	"strings"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// A group never reached the disk, and zeros look like the padding between groups:
// what lay there must be missed, by a read of batches and by a scan for a follower.
func TestLostGroupIsDamageAndNotPadding(t *testing.T) {
	fs := waltest.New()
	s := openReal(t, fs, 1)
	d, err := s.Drive()
	if err != nil {
		t.Fatal(err)
	}
	l := leader(s, 0, 1)
	var end topic.Offset
	group := func(batches int) {
		for range batches {
			a, err := l.Append(expired(), build(spec{value: make([]byte, 1500)}), AppendOptions{Acks: 1})
			if err != nil {
				t.Fatal(err)
			}
			end = a.End
		}
		if err := d.Turn(); err != nil {
			t.Fatal(err)
		}
		d.Disk()
		if err := d.Complete(); err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(end)
	}
	group(1)
	fs.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Write && strings.HasSuffix(op.Name, ".wal") {
			return &waltest.Amiss{}
		}
		return nil
	})
	group(2)
	fs.Intercept(nil)
	group(8) // and out of memory
	start, _ := l.Position(0)
	second, _ := l.Position(1)
	for _, from := range []wal.Position{second, start} {
		for end := false; !end; {
			var entries []Entry
			var err error
			if entries, from, end, err = s.Scan(from, 64<<10); err != nil {
				t.Fatalf("scan over the lost group: %v", err)
			}
			for _, e := range entries {
				if e.Base == 1 || e.Base == 2 {
					t.Errorf("scan gives batch %d, which is lost", e.Base)
				}
			}
		}
		if d := s.Damaged(); len(d) != 1 || d[0].Offset != 1 {
			t.Errorf("scan over the lost group: damaged are %v, want the batch at 1", d)
		}
	}
	for from := range end {
		got, err := l.Read(from, 1<<20, true)
		var damage *wal.Damage
		switch {
		case err == nil && (from == 0 && len(got.Batches) == 1 || from >= 3 && len(got.Batches) > 0):
		case !errors.As(err, &damage) || damage.File == "":
			t.Errorf("read at %d: got %d batches, %v, want a wal.Damage", from, len(got.Batches), err)
		}
	}
}

// No checksum covers the padding behind a group, and a start takes no notice of a bit that flips there:
// nor may a scan, or a follower could never catch up.
func TestFlippedPaddingIsNoDamage(t *testing.T) {
	fs := waltest.New()
	s := openReal(t, fs, 1)
	d, err := s.Drive()
	if err != nil {
		t.Fatal(err)
	}
	l := leader(s, 0, 1)
	for range 3 {
		if _, err := l.Append(expired(), build(spec{}), AppendOptions{Acks: 1}); err != nil {
			t.Fatal(err)
		}
		if err := d.Turn(); err != nil {
			t.Fatal(err)
		}
		d.Disk()
		if err := d.Complete(); err != nil {
			t.Fatal(err)
		}
	}
	at, _ := l.Position(1)
	size := wal.EncodedLen(wal.Record{Payload: build(spec{})})
	fs.Damage("wal/00000000000000000001.wal", func(b []byte) []byte {
		b[at.Offset+size] ^= 1
		return b
	})
	entries, _, end, err := s.Scan(wal.Position{}, 1<<20)
	if len(entries) != 3 || !end || err != nil {
		t.Fatalf("scan gives %d batches, end %t, %v, want 3", len(entries), end, err)
	}
}
