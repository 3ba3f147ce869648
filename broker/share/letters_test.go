package share

import (
	"slices"
	"testing"
)

// TestLettersAreDueOnceTheRecordsAreGivenUpForGood, tell why, and end with the records.
func TestLettersAreDueOnceTheRecordsAreGivenUpForGood(t *testing.T) {
	limits := Limits{LocksMax: 10, DeliveriesMax: 2, LockMillis: 10, Letters: true}
	p := NewPartition(Loaded{Start: 0, Limits: limits})
	give := func(now int64) {
		p.Acquire(Acquire{Member: "m", From: p.Start(), Spans: []Span{{First: 0, Last: 4}}, Max: 5}, now)
	}
	kept := func() {
		if w := p.Write(); w != nil {
			p.Written(w.Number)
		}
	}
	give(0)
	if _, err := p.Acknowledge("m", []Ack{{0, 4, []AckType{Reject, Gap, ReleaseIt, Accept, ReleaseIt}}}, 0); err != nil {
		t.Fatal(err)
	}
	if due := p.Letters(10); due != nil {
		t.Errorf("before it is kept: got %v, want none", due)
	}
	kept()
	give(1)
	p.Tick(11) // 2 and 4 were held for too long, twice
	kept()
	want := []Letter{{0, 0, 1, Rejected}, {2, 2, 2, TooOften}, {4, 4, 2, TooOften}}
	if due := p.Letters(10); !slices.Equal(due, want) {
		t.Errorf("got %v, want %v", due, want)
	}
	if due := p.Letters(2); !slices.Equal(due, want[:2]) {
		t.Errorf("of two records: got %v, want %v", due, want[:2])
	}
	if p.Idle() || p.Start() != 0 {
		t.Errorf("idle %v, start %d, want neither before the letters are written", p.Idle(), p.Start())
	}
	p.Wrote(0, 0)
	p.Wrote(2, 4)
	kept()
	if due := p.Letters(10); due != nil || p.Start() != 5 || !p.Idle() {
		t.Errorf("in the end: letters %v, start %d, idle %v, want none, 5 and true", due, p.Start(), p.Idle())
	}
}

// TestNextLeaderWritesTheLettersThatAreLeft, and knows why only by the number of deliveries.
func TestNextLeaderWritesTheLettersThatAreLeft(t *testing.T) {
	p := NewPartition(Loaded{
		Start: 3, Limits: Limits{LocksMax: 10, DeliveriesMax: 5, Letters: true},
		Batches: []Batch{{3, 4, Archiving, 1}, {5, 5, Archived, 1}, {6, 6, Archiving, 5}},
	})
	want := []Letter{{3, 4, 1, Rejected}, {6, 6, 5, TooOften}}
	if due := p.Letters(10); !slices.Equal(due, want) {
		t.Errorf("got %v, want %v", due, want)
	}
	p.Trim(5)
	p.Wrote(3, 4) // the log has deleted them meanwhile
	if due := p.Letters(10); !slices.Equal(due, want[1:]) || p.Start() != 6 {
		t.Errorf("after a deletion: got %v from %d, want %v from 6", due, p.Start(), want[1:])
	}
}
