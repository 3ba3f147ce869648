package partition

import (
	"context"
	"encoding/binary"
	"log/slog"
	"testing"

	"outrigger/broker/batch"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// A log of 256 MiB in the file system, with records of 1 KiB under so many keys, is compacted once.
func BenchmarkCompactLog(b *testing.B) {
	const size, perBatch, batches = 1 << 10, 64, 4096
	for name, keys := range map[string]uint64{"keys=1000": 1000, "keys=all": perBatch * batches} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size * perBatch * batches)
			for range b.N {
				b.StopTimer()
				s, d := overwritten(b, keys, size, perBatch, batches)
				b.StartTimer()
				for more := true; more; {
					var err error
					if more, err = d.Compact(pieceBytes); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				if got := s.Stats().Compaction; got.Logs == 0 {
					b.Fatalf("nothing was compacted: %+v", got)
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// overwritten opens a store with one log, whose files are drained.
func overwritten(b *testing.B, keys uint64, size, perBatch, batches int) (*Store, *Driver) {
	b.Helper()
	s, err := Open(Config{
		WAL: wal.Config{FS: wal.OS(), Dir: b.TempDir(), Session: 1, FileBytes: 16 << 20},
		Now: (&clock{}).now, Catalog: &catalogtest.Catalog{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	s.SetLease(Forever)
	s.CompactBy(func(topic.Partition) (Compaction, bool) { return Compaction{LagMax: maxAge}, true })
	d, err := s.Drive()
	if err != nil {
		b.Fatal(err)
	}
	l := leader(s, 0, 1)
	next := uint64(0)
	for range batches {
		build := batch.NewBuilder(batch.CodecNone)
		for range perBatch {
			next++
			build.Add(batch.Record{Key: binary.BigEndian.AppendUint64(nil, next%keys), Value: make([]byte, size)})
		}
		payload, err := build.Build()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Append(context.Background(), payload, AppendOptions{Acks: 1}); err != nil {
			b.Fatal(err)
		}
		settle(b, d)
		l.SetHighWatermark(l.State().DurableEnd)
	}
	for more := true; more; {
		if more, err = d.Drain(); err != nil {
			b.Fatal(err)
		}
	}
	return s, d
}

// settle makes what was appended durable.
func settle(b testing.TB, d *Driver) {
	b.Helper()
	for d.Wanted() {
		if err := d.Prepare(); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Turn(); err != nil {
		b.Fatal(err)
	}
	for d.Writing() {
		d.Disk()
		if err := d.Complete(); err != nil {
			b.Fatal(err)
		}
	}
}
