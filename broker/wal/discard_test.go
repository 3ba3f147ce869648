package wal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A file goes piece by piece where the file system can do that, is counted for what is left of it, and is no spare meanwhile.
func TestFilesAreRemovedPieceByPiece(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	l, err := Open(Config{Dir: dir, Session: 1, FileBytes: 2*defaultDiscardBytes + 1<<20, Sink: nobody{}})
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
	for _, want := range []int64{defaultDiscardBytes, defaultDiscardBytes, 1 << 20, 0} {
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

// shrinking is the operating system, and notes to what files are shrunk.
type shrinking struct {
	osFS
	to *[]int64
}

func (s shrinking) Shrink(name string, bytes int64) error {
	*s.to = append(*s.to, bytes)
	return s.osFS.Shrink(name, bytes)
}

// So does a pack, and one that is not there any more is no error.
func TestPacksAreRemovedPieceByPiece(t *testing.T) {
	var to []int64
	l, err := Open(Config{FS: shrinking{to: &to}, Dir: filepath.Join(t.TempDir(), "wal"), Session: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	pack := Pack{Number: 65536, Session: 1, Bytes: 2*defaultDiscardBytes + 1<<20}
	name := l.nameOf(pack.Number | PackBit)
	for _, there := range []bool{true, false} {
		if there {
			if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, pack.Bytes)); err != nil {
				t.Fatal(err)
			}
		}
		l.Adopt(pack)
		if err := l.RemovePack(pack.Number); err != nil {
			t.Errorf("there %t: %v", there, err)
		}
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) || len(l.mu.extents) != 0 {
			t.Errorf("there %t: got %v, and %d files are known", there, err, len(l.mu.extents))
		}
	}
	if want := []int64{defaultDiscardBytes + 1<<20, 1 << 20}; !slices.Equal(to, append(want, want...)) {
		t.Errorf("got it shrunk to %d, want %d", to, want)
	}
}

// What a crash leaves of a file that was being removed by pieces is too short to be written again: it goes.
func TestFilesThatWereRemovedHalfGoWithTheNextStart(t *testing.T) {
	cfg := Config{FileBytes: 1 << 20, SparesMax: 2}
	l, d := driven(t, cfg)
	prepare := func() {
		for d.Wanted() {
			if err := d.Prepare(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for l.End().File < 2 {
		prepare()
		put(t, l, Record{Kind: Data, Count: 1, Payload: make([]byte, 100<<10)})
		writeGroup(t, d)
	}
	next, err := l.ReadSealed(1, nil, func(Placed) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	next.NextPack = 2 * PackStep
	cfg.Dir, cfg.Session, cfg.Start = l.cfg.Dir, 2, next
	pack := fileName(cfg.Dir, PackStep, packSuffix)
	err = errors.Join(os.WriteFile(pack, nil, 0o600), os.Truncate(pack, 1000), os.Truncate(fileName(cfg.Dir, 1, fileSuffix), cfg.FileBytes/2))
	if err != nil {
		t.Fatal(err)
	}
	if l, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	if d, err = l.Drive(); err != nil {
		t.Fatal(err)
	}
	prepare()
	if err := errors.Join(d.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		ext := filepath.Ext(e.Name())
		if ext == packSuffix || (ext == fileSuffix || ext == spareSuffix) && info.Size() != cfg.FileBytes {
			t.Errorf("%s of %d bytes is left", e.Name(), info.Size())
		}
		if ext == fileSuffix {
			files++
		}
	}
	if files == 0 {
		t.Errorf("got %v, and no file of the chain: the test proves nothing", entries)
	}
}
