package wal_test

import (
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// What a simulator pays for a group of one block, beside its checksum: write and sync.
func BenchmarkWriteAndSyncOfABlock(b *testing.B) {
	fs := waltest.New()
	f, err := fs.Create("file", false)
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 4096)
	block[0] = 1
	b.ReportAllocs()
	for i := range b.N {
		if _, err := f.WriteAt(block, int64(i%16)*4096); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// A simulated node's start: an empty log with three files of the least size.
func BenchmarkOpenEmpty(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		cfg := small(waltest.New())
		l, err := wal.Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		d, err := l.Drive()
		if err != nil {
			b.Fatal(err)
		}
		for d.Wanted() {
			if err := d.Prepare(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// One record a group, by hand: reserve, append, seal, write, sync, durable. The file is changed, and
// the next one made, every ten groups or so.
func BenchmarkDriverGroup(b *testing.B) {
	l, err := wal.Open(small(waltest.New()))
	if err != nil {
		b.Fatal(err)
	}
	d, err := l.Drive()
	if err != nil {
		b.Fatal(err)
	}
	r := data(1, 200)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for d.Wanted() {
			if err := d.Prepare(); err != nil {
				b.Fatal(err)
			}
		}
		if !l.TryReserve(wal.Leader, wal.EncodedLen(r)) {
			b.Fatal("no room")
		}
		l.Append(wal.Leader, r)
		if err := d.Turn(); err != nil {
			b.Fatal(err)
		}
		d.Disk()
		if err := d.Complete(); err != nil {
			b.Fatal(err)
		}
	}
}
