package wal_test

import (
	"bytes"
	"errors"
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// fuzzBytesMax keeps the fuzzer at sizes where it finds something.
const fuzzBytesMax = 64 << 10

// Whatever the bytes, with checksums that fit or without: no panic, no read outside of them, and what
// is accepted decodes to the same once more.
func FuzzGroup(f *testing.F) {
	h := wal.GroupHeader{Sequence: 3, Generation: 1, Session: 9, Synced: 2, Previous: 77}
	f.Add(wal.PutGroup(h, nil))
	f.Add(wal.PutGroup(h, series(1, 3, 20)))
	f.Add(wal.PutGroup(h, every()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > fuzzBytesMax {
			return
		}
		b = bytes.Clone(b)
		for range 2 {
			if h, records, err := wal.ParseGroup(b); err == nil {
				_, again, err := wal.ParseGroup(wal.PutGroup(h, records))
				if err != nil {
					t.Fatalf("group of %d records does not come back: %v", len(records), err)
				}
				same(t, "decoded again", again, records)
			}
			wal.Mend(b)
		}
	})
}

// A record's length field must not make the decoder trust more than there is.
func FuzzRecord(f *testing.F) {
	h := wal.GroupHeader{Sequence: 1, Generation: 1, Session: 9}
	f.Add(wal.PutGroup(h, series(1, 1, 20))[wal.GroupHeaderBytes:], uint32(0))
	f.Add(make([]byte, wal.RecordHeaderBytes), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, seed uint32) {
		if len(b) > fuzzBytesMax {
			return
		}
		b = bytes.Clone(b)
		for range 2 {
			r, n, err := wal.ParseRecord(b, seed)
			if err == nil && (n > int64(len(b)) || n != wal.EncodedLen(r)) {
				t.Fatalf("a record of %d bytes takes %d of %d", wal.EncodedLen(r), n, len(b))
			}
			wal.MendRecord(b, seed)
		}
	})
}

// A file of arbitrary bytes behind a valid header: Open finds nothing or refuses, and never panics.
func FuzzOpen(f *testing.F) {
	h := wal.GroupHeader{Sequence: 1, Generation: 1, Session: 1}
	f.Add(wal.PutGroup(h, series(1, 3, 20)))
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 32<<10 {
			return
		}
		fs := waltest.New()
		cfg := small(fs)
		cfg.Session = 1
		n, err := open(t, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		fs.Damage(wal.FileName(dir, 1), func(file []byte) []byte {
			copy(file[wal.BlockBytes:], b)
			wal.Mend(file[wal.BlockBytes:])
			return file
		})
		cfg.Session = 2
		n, err = open(t, cfg)
		if errors.Is(err, wal.ErrDamaged) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		same(t, "scanned", records(scanAll(t, n.Log, wal.Position{}, 0)), n.found)
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
