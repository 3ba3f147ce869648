package wal

import (
	"bytes"
	"testing"
	"unsafe"
)

// driven is an empty log in a directory of its own, driven by hand.
func driven(t *testing.T, cfg Config) (*Log, *Driver) {
	t.Helper()
	cfg.Dir, cfg.Session = t.TempDir(), 1
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	d, err := l.Drive()
	if err != nil {
		t.Fatal(err)
	}
	return l, d
}

// put queues a record.
func put(t *testing.T, l *Log, r Record) {
	t.Helper()
	if !l.TryReserve(Leader, EncodedLen(r)) {
		t.Fatal("no room")
	}
	l.Append(Leader, r)
}

// writeGroup makes what is queued durable, as one group.
func writeGroup(t *testing.T, d *Driver) {
	t.Helper()
	if err := d.Turn(); err != nil {
		t.Fatal(err)
	}
	d.Disk()
	if err := d.Complete(); err != nil {
		t.Fatal(err)
	}
}

// filled is a group of records with these payloads, sealed and finished, whose buffer comes from m.
func filled(t *testing.T, m *groupMemory, limit int64, payloads ...int) *openGroup {
	t.Helper()
	g := &openGroup{memory: m}
	g.begin(&segment{number: 3, seed: 7}, blockBytes, limit)
	for i, n := range payloads {
		r := Record{Kind: Data, Count: 1, Payload: bytes.Repeat([]byte{byte(i + 1)}, n)}
		if !g.add(&queued{record: r, bytes: EncodedLen(r)}) {
			t.Fatalf("record %d of %d bytes does not fit", i, n)
		}
	}
	g.seal(1)
	g.finish(chain{}, 1, 0)
	return g
}

// Wherever a group outgrows its buffer, it holds what one does that had room from the start.
func TestGroupThatGrowsHoldsTheSame(t *testing.T) {
	for _, largest := range []int64{16 << 10, 256 << 10, defaultGroupBytes} {
		m := &groupMemory{largest: largest}
		for _, payloads := range [][]int{
			{},
			{100},
			{smallGroupBytes - 1000},
			{smallGroupBytes - recordHeaderBytes - groupHeaderBytes},
			{smallGroupBytes - recordHeaderBytes - groupHeaderBytes, 1},
			{smallGroupBytes - 200, 3000, 70_000},
			{100, 1 << 20, 100, 500_000},
			{3 << 20},
		} {
			want := filled(t, nil, 4<<20, payloads...)
			limit := max(largest, want.group.Bytes)
			got := filled(t, m, limit, payloads...)
			if !bytes.Equal(got.buffer[:got.group.Bytes], want.buffer[:want.group.Bytes]) {
				t.Errorf("groups of %d bytes at most, payloads %v: the bytes differ", largest, payloads)
			}
			if at := uintptr(unsafe.Pointer(unsafe.SliceData(got.buffer))); at%blockBytes != 0 {
				t.Errorf("groups of %d bytes at most, payloads %v: buffer at %#x", largest, payloads, at)
			}
		}
		if err := m.release(); err != nil {
			t.Error(err)
		}
	}
}

// Groups that are not small lie on whole huge pages, a record of unusual size and all groups of a small bound in the heap.
func TestLargeGroupsLieOnHugePages(t *testing.T) {
	m := &groupMemory{largest: defaultGroupBytes}
	for _, c := range []struct {
		payload int
		limit   int64
		mapped  int
	}{
		{1000, defaultGroupBytes, 0},
		{100_000, defaultGroupBytes, 1},
		{100_000, 128 << 10, 2}, // The end of a file: a later group has more room.
		{3 << 20, 4 << 20, 2},
	} {
		g := filled(t, m, c.limit, c.payload)
		if len(m.mapped) != c.mapped {
			t.Fatalf("after a payload of %d bytes: %d buffers outside of the heap, want %d", c.payload, len(m.mapped), c.mapped)
		}
		at := uintptr(unsafe.Pointer(unsafe.SliceData(g.buffer)))
		if c.mapped > 0 && c.limit <= defaultGroupBytes && directFlag != 0 && (at%hugePageBytes != 0 || len(g.buffer) != defaultGroupBytes) {
			t.Errorf("payload of %d bytes: %d bytes at %#x", c.payload, len(g.buffer), at)
		}
	}
	if err := m.release(); err != nil || len(m.mapped) != 0 {
		t.Errorf("release: %v, %d buffers left", err, len(m.mapped))
	}
	small := &groupMemory{largest: 256 << 10}
	if filled(t, small, 256<<10, 200_000); len(small.mapped) != 0 {
		t.Error("a small bound takes a huge page")
	}
}

// A log takes memory for as many groups as are under way at once, whatever comes, and none after its end.
func TestMemoryOfGroupsIsBoundedAndGivenBack(t *testing.T) {
	l, d := driven(t, Config{FileBytes: 16 << 20, RecordBytesMax: 4 << 20, QueueBytesMax: [2]int64{32 << 20, 32 << 20}})
	small, whole, huge := Record{Kind: Data, Count: 1, Payload: make([]byte, 300)},
		Record{Kind: Data, Count: 1, Payload: make([]byte, 900_000)}, Record{Kind: Data, Count: 1, Payload: make([]byte, 3<<20)}
	most := 0
	for round := range 12 {
		for d.Wanted() {
			if err := d.Prepare(); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range []Record{small, whole, whole, huge, whole, small, whole, whole} {
			put(t, l, r)
			if round%2 == 0 { // else all of them wait at once
				if err := d.Turn(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := d.Turn(); err != nil {
			t.Fatal(err)
		}
		for d.Writing() {
			d.Disk()
			if err := d.Complete(); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, len(d.writer.memory.mapped))
	}
	// At the disk, behind it, being filled, and the one whose end the Sink hears of.
	if most == 0 || most > jobsMax+2 {
		t.Errorf("%d buffers outside of the heap, want 1 to %d", most, jobsMax+2)
	}
	memory := &d.writer.memory
	if err := d.Close(); err != nil || len(memory.mapped) != 0 {
		t.Errorf("close: %v, %d buffers left", err, len(memory.mapped))
	}
}
