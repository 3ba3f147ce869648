package partition

import (
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// Whoever appends or reads much keeps the copies away, and for a while after that.
func TestStoreIsQuietOnlyWhileLittleIsAppendedAndRead(t *testing.T) {
	type took struct{ appended, read int64 }
	for _, step := range []struct {
		name        string
		before, now took
		want        demand
	}{
		{"nothing", took{}, took{}, idle},
		{"next to nothing", took{}, took{32 << 10, 32 << 10}, idle},
		{"a little is appended", took{}, took{appended: drainIdle}, quiet},
		{"a little is read", took{}, took{read: drainIdle}, quiet},
		{"a little of both", took{}, took{1 << 20, 8 << 20}, quiet},
		{"appends in between", took{}, took{appended: 8 << 20}, loaded},
		{"nothing after that", took{appended: 8 << 20}, took{}, idle},
		{"much is read", took{}, took{read: drainRead}, loaded},
		{"a gap between two reads", took{read: drainRead}, took{}, loaded},
		{"much is appended", took{}, took{appended: drainFast}, busy},
		{"a gap between two appends", took{appended: drainFast}, took{}, busy},
	} {
		p := drainPace{}
		at, written, served := time.Hour, int64(7), int64(5)
		advance := func(t took) demand {
			at, written, served = at+time.Second, written+t.appended, served+t.read
			return p.judge(at, written, served)
		}
		advance(took{})
		advance(step.before)
		if got := advance(step.now); got != step.want {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
		at += drainCalm
		if got := advance(took{}); got != idle {
			t.Errorf("%s, and then silence: got %v, want %v", step.name, got, idle)
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
