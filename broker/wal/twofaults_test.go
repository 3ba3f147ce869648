package wal_test

import (
	"errors"
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// A file that a crash left empty lies before one that was begun, and the next run's file comes behind both. Then an
// acknowledged group of that run is lost without a word if it and the begun one cannot be read.
func TestAcknowledgedGroupBehindAnOldHoleIsNotForgiven(t *testing.T) {
	cfg := small(waltest.New())
	cfg.Sync.Interval = time.Hour
	first := start(t, cfg)
	first.putDurable(series(1, 25, 5000)...)
	all, fs := first.sink.durables(), cfg.FS.(*waltest.FS).Clone()
	at := last(all)
	// As a loss of power leaves it: the last files' groups were written and not synced; the first of the two is gone,
	// the second one is torn. Seen from the chain: tail, n empty, n+1 begun.
	tail := at.File
	size := int64(len(fs.Content(wal.FileName(dir, tail-1))))
	zero(fs, tail-1, 4096, size-4096)
	size = int64(len(fs.Content(wal.FileName(dir, tail))))
	zero(fs, tail, 4096+8192, size-4096-8192)
	flip(fs, tail, 4096+200) // torn
	// the file header of tail says what was synced when it was made: under an interval less.
	n, err := open(t, small(fs))
	if err != nil {
		t.Skipf("the shape is damage already: %v", err)
	}
	n.run()
	n.putDurable(data(5000, 2000)) // acknowledged
	acked := n.sink.durables()
	left := fs.Clone()
	file := acked[len(acked)-1].At.File
	left.Unread(wal.FileName(dir, tail), 4096, 4096)
	left.Unread(wal.FileName(dir, file), 4096, 4096)
	m, err := open(t, small(left))
	var damage *wal.Damage
	if !errors.As(err, &damage) {
		t.Errorf("open: %v, %d records; an acknowledged one is lost without a word", err, len(m.found))
	}
}

// One acknowledged group is rotten in its header block, the only group behind it, its witness, cannot be read.
func TestRottenHeaderBeforeAnUnreadableWitnessIsNoTornTail(t *testing.T) {
	fs, all := killed(t)
	n := len(all)
	if groupOf(all[n-2]).File != groupOf(all[n-1]).File {
		t.Skip("not in one file")
	}
	flip(fs, all[n-2].At.File, groupOf(all[n-2]).Offset+1)
	unread(fs, all[n-1].At.File, groupOf(all[n-1]).Offset)
	m, err := open(t, small(fs))
	if !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("open: %v, %d of %d records; two acknowledged ones are lost without a word", err, len(m.found), n)
	}
}
