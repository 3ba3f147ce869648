package wal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A file goes piece by piece where the file system can do that, is counted for what is left of it, and is no spare meanwhile.
func TestFilesAreRemovedPieceByPiece(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	l, err := Open(Config{Dir: dir, Session: 1, FileBytes: 2*discardBytes + 1<<20, Sink: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	name := l.nameOf(9)
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, l.cfg.FileBytes)); err != nil {
		t.Fatal(err)
	}
	l.cfg.SparesMax, l.drained = 0, []uint64{9}
	left := l.cfg.FileBytes
	for _, want := range []int64{discardBytes, discardBytes, 1 << 20, 0} {
		got, err := l.DiscardSome()
		if left -= want; err != nil || got != want || l.Waste() != left {
			t.Fatalf("got %d bytes, %v, %d are left; want %d and %d", got, err, l.Waste(), want, left)
		}
		l.cfg.SparesMax = 1
		info, err := os.Stat(name)
		if left > 0 && (err != nil || info.Size() != left) || left == 0 && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d bytes are left: got %v, %v", left, info, err)
		}
	}
}
