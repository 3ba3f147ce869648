package raftstore

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"outrigger/broker/pebblefs"
	"outrigger/sidecar/raft"
)

// One flipped bit in the log must not take back what was synced: neither in the log that a store is made
// with, nor behind a batch that crosses a block.
func TestFlippedBitInTheLogIsDamage(t *testing.T) {
	const saves = 12
	for _, size := range []int{10, 9000} {
		fs := vfs.NewCrashableMem()
		if err := errors.Join(fs.MkdirAll("data", 0o755), pebblefs.SyncDir(fs, "/")); err != nil {
			t.Fatal(err)
		}
		s := open(t, fs)
		load(t, s)
		var ends []int64
		path := ""
		for i := range uint64(saves) {
			e := raft.Entry{Index: i + 1, Term: 1, Kind: raft.EntryCommand, Data: make([]byte, size)}
			if err := s.Save(raft.Batch{Entries: []raft.Entry{e}, Sync: true}); err != nil {
				t.Fatal(err)
			}
			names, err := fs.List(testDir)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.HasSuffix(name, logSuffix) {
					path = testDir + "/" + name
				}
			}
			info, err := fs.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, info.Size())
		}
		for i, end := range ends {
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			flipAt(t, clone, path, end-5)
			s, err := OpenFS(clone, testDir, slog.New(slog.DiscardHandler), nobodyDies)
			last := i == len(ends)-1
			if !last && (!errors.Is(err, raft.ErrDamaged) || !strings.Contains(err.Error(), path)) {
				t.Errorf("entries of %d bytes, flip in batch %d: got %v, want raft.ErrDamaged", size, i+1, err)
			}
			if err == nil {
				if got := load(t, s); last && len(got.Entries) != saves-1 {
					t.Errorf("flip in the last batch leaves %d entries, want %d", len(got.Entries), saves-1)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func flipAt(t *testing.T, fs vfs.FS, path string, offset int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], offset)
	b[0] ^= 4
	_, werr := f.WriteAt(b[:], offset)
	if err := errors.Join(err, werr, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func FuzzLostBatch(f *testing.F) {
	fs := vfs.NewMem()
	s := open(f, fs)
	load(f, s)
	for i := range uint64(3) {
		if err := s.Save(raft.Batch{HardState: &raft.HardState{Term: i}, Sync: true}); err != nil {
			f.Fatal(err)
		}
	}
	file, err := fs.Open(testDir + "/000002.log")
	if err != nil {
		f.Fatal(err)
	}
	b, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		f.Fatal(err)
	}
	if at, _, lost := lostBatch(b, 2); lost || at != len(b) {
		f.Fatalf("a good log is bad at %d of %d", at, len(b))
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, w, lost := lostBatch(b, 2); lost && (at > len(b) || w.synced == 0) {
			t.Errorf("lost at %d of %d by %+v", at, len(b), w)
		}
	})
}
