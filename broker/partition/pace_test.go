package partition

import (
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// Whoever appends or reads much keeps the copies away, and for a while after that.
func TestDiskIsQuietOnlyWhileLittleIsAppendedAndRead(t *testing.T) {
	const fileBytes = 64 << 20
	type load struct{ appended, read int64 }
	for _, step := range []struct {
		name        string
		before, now load
		quiet, fast bool
	}{
		{"nothing", load{}, load{}, true, false},
		{"a little of both", load{}, load{1 << 20, 8 << 20}, true, false},
		{"appends in between", load{}, load{appended: 8 << 20}, false, false},
		{"nothing after that", load{appended: 8 << 20}, load{}, true, false},
		{"much is read", load{}, load{read: drainRead}, false, false},
		{"a gap between two reads", load{read: drainRead}, load{}, false, false},
		{"much is appended", load{}, load{appended: drainFast}, false, true},
		{"a gap between two appends", load{appended: drainFast}, load{}, false, true},
	} {
		p := drainPace{}
		at, end, served := time.Hour, wal.Position{File: 1}, int64(5)
		advance := func(l load) (quiet, fast bool) {
			at, served = at+time.Second, served+l.read
			end.Offset += l.appended
			end.File, end.Offset = end.File+uint64(end.Offset/fileBytes), end.Offset%fileBytes
			return p.judge(at, end, fileBytes, served)
		}
		advance(load{})
		advance(step.before)
		if quiet, fast := advance(step.now); quiet != step.quiet || fast != step.fast {
			t.Errorf("%s: got quiet %v, fast %v, want %v, %v", step.name, quiet, fast, step.quiet, step.fast)
		}
		at += drainCalm
		if quiet, fast := advance(load{}); !quiet || fast {
			t.Errorf("%s, and then silence: got quiet %v, fast %v, want true, false", step.name, quiet, fast)
		}
	}
}

// What consumers read counts, from the disk and from memory, by either way to read.
func TestReadBytesAreCounted(t *testing.T) {
	s, l := longLog(t, waltest.New(), wal.Cache{BytesMax: 1 << 20, ChunkBytes: 32 << 10}, 60)
	var want int64
	count := func(batches [][]byte) {
		for _, b := range batches {
			want += int64(len(b))
		}
	}
	for _, from := range []topic.Offset{2, 58} { // the newest are in memory
		owned, err := l.Read(from, 100_000, true)
		if err != nil {
			t.Fatal(err)
		}
		count(owned.Batches)
		var reader Reader
		lent, err := reader.Read(l, Query{From: from, BytesMax: 100_000, MinOne: true})
		if err != nil {
			t.Fatal(err)
		}
		count(lent.Batches)
		reader.Release()
	}
	if got := s.served.Load(); got != want || want == 0 {
		t.Errorf("got %d bytes counted, want %d", got, want)
	}
}
