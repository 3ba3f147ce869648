package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// unread makes one block of a file unreadable.
func unread(fs *waltest.FS, file uint64, offset int64) {
	fs.Unread(wal.FileName(dir, file), offset/4096*4096, 4096)
}

// refused are places that the device does not give back, and how many records lie before them.
func refused() []injury {
	of := func(record int, behind int64) func(*waltest.FS, []wal.Placed) {
		return func(fs *waltest.FS, all []wal.Placed) {
			if record < 0 {
				record += len(all)
			}
			unread(fs, all[record].At.File, groupOf(all[record]).Offset+behind)
		}
	}
	return []injury{
		{"the first group", of(0, 0), first(0)},
		{"the header of a group in the middle of a file", of(4, 0), first(4)},
		{"the second block of a group", of(4, 4096), first(4)},
		{"the last group of a file that was left", of(6, 4096), first(6)},
		{"the last group of a session", of(11, 0), first(11)},
		{"the last group of all", of(-1, 0), first(35)},
		{"the closing group", of(-1, 8192), first(36)},
		{"a file header", func(fs *waltest.FS, _ []wal.Placed) { unread(fs, 2, 0) }, before(2)},
		{"two groups", func(fs *waltest.FS, all []wal.Placed) { of(3, 0)(fs, all); of(20, 0)(fs, all) }, first(3)},
		{"a bad group and an unreadable one behind it", func(fs *waltest.FS, all []wal.Placed) {
			flip(fs, all[4].At.File, all[4].At.Offset+100)
			of(20, 0)(fs, all)
		}, first(4)},
	}
}

// A block that the device does not give back is damage wherever a group may lie, at the end of the log, too: nothing is
// changed, the place is named, and a quarantine keeps all that is good.
func TestUnreadableBlockIsDamage(t *testing.T) {
	for _, injury := range refused() {
		t.Run(injury.name, func(t *testing.T) {
			fs, all := history(t)
			injury.spoil(fs, all)
			before := everything(t, fs)
			_, err := open(t, small(fs))
			var damage *wal.Damage
			if !errors.As(err, &damage) || damage.File == "" {
				t.Fatalf("open: %v, want damage", err)
			}
			if !strings.Contains(injury.name, "bad") && !strings.Contains(damage.Reason, "cannot be read: ") {
				t.Errorf("the reason is %q", damage.Reason)
			}
			found, err := wal.Dump(fs, dir, func(wal.DumpRecord) {})
			if err != nil || len(found) == 0 {
				t.Errorf("dump: %v, %v", found, err)
			}
			checked, err := wal.Verify(wal.Check{FS: fs, Dir: dir})
			if err != nil || !checked.Broken || len(checked.Damage) == 0 || checked.Damage[0].At != damage.At {
				t.Errorf("verify: %+v, %v, want damage at %v", checked.Damage, err, damage.At)
			}
			if !equalContents(before, everything(t, fs)) {
				t.Fatal("files were changed")
			}
			done, err := wal.Quarantine(small(fs))
			if err != nil || len(done.Damage) == 0 {
				t.Fatalf("quarantine: %+v, %v", done, err)
			}
			nothingIsGone(t, injury.name, before, everything(t, fs))
			mended(t, injury.name, fs, records(all)[:injury.kept(all)])
		})
	}
}

// The very last group of a run that was killed has no witness. It may have been acknowledged, so that it is damage if
// it cannot be read: what was torn can be read.
func TestUnreadableTailOfAKilledRunIsDamage(t *testing.T) {
	for _, behind := range []int64{0, 4096} {
		fs := waltest.New()
		n := start(t, small(fs))
		n.putDurable(series(1, 3, 5000)...)
		all := n.sink.durables()
		killed := fs.Clone()
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		unread(killed, all[2].At.File, groupOf(all[2]).Offset+behind)
		if _, err := open(t, small(killed)); !errors.Is(err, wal.ErrDamaged) {
			t.Fatalf("open: %v, want damage", err)
		}
		if _, err := wal.Quarantine(small(killed)); err != nil {
			t.Fatal(err)
		}
		mended(t, "killed", killed, records(all)[:len(all)-1])
	}
}

// Where the chain left a file nothing was written, which the next file shows.
func TestUnreadableBlockBehindTheChainOfAFileThatWasLeftIsNoDamage(t *testing.T) {
	fs, all := history(t)
	closing := groupOf(all[11])
	unread(fs, closing.File, closing.Offset+3*4096) // behind the record's group and the closing one
	n, err := open(t, small(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	same(t, "recovered", n.found, records(all))
}

// once lets so many reads fail that touch a block.
func once(name string, block int64, times int) func(waltest.Op) error {
	return func(op waltest.Op) error {
		if op.Verb != waltest.Read || op.Name != name || op.Offset >= block+4096 || op.Offset+op.Bytes <= block || times == 0 {
			return nil
		}
		times--
		return fmt.Errorf("read: %w", syscall.EIO)
	}
}

// An error that passes is none of the block's. It is told, for a device that does so fails.
func TestReadErrorThatPassesIsNoDamage(t *testing.T) {
	for _, cause := range []string{"open", "read", "drain"} {
		t.Run(cause, func(t *testing.T) {
			fs, all := history(t)
			at := groupOf(all[4])
			var said bytes.Buffer
			cfg := small(fs)
			cfg.Logger = slog.New(slog.NewTextHandler(&said, nil))
			if cause == "open" {
				fs.Intercept(once(wal.FileName(dir, at.File), at.Offset, 1))
			}
			n, err := open(t, cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			same(t, "recovered", n.found, records(all))
			fs.Intercept(once(wal.FileName(dir, at.File), at.Offset, 1))
			switch cause {
			case "read":
				_, err = n.ReadRecord(all[4].At, wal.EncodedLen(all[4].Record))
			case "drain":
				_, err = n.ReadSealed(at.File, nil, func(wal.Placed) error { return nil })
			}
			if err != nil {
				t.Error(err)
			}
			if strings.Count(said.String(), "went through") != 1 {
				t.Errorf("it says\n%s", &said)
			}
		})
	}
}

// What a kernel says of a lost sector, or of one whose protection does not match, is what EIO is.
func TestOtherErrorsOfReadsAreNoDamage(t *testing.T) {
	for _, test := range []struct {
		cause  error
		damage bool
	}{{syscall.EIO, true}, {syscall.ENODATA, true}, {syscall.EILSEQ, true}, {syscall.EMFILE, false}, {syscall.ENOMEM, false}} {
		fs, all := history(t)
		at := groupOf(all[4])
		fs.Intercept(func(op waltest.Op) error {
			if op.Verb == waltest.Read && op.Name == wal.FileName(dir, at.File) && op.Offset < at.Offset+4096 && op.Offset+op.Bytes > at.Offset {
				return test.cause
			}
			return nil
		})
		_, err := open(t, small(fs))
		if damage := errors.Is(err, wal.ErrDamaged); err == nil || damage != test.damage {
			t.Errorf("%v: got %v, want damage %v", test.cause, err, test.damage)
		}
	}
}

// A drain, and a replay, that meet an unreadable block name it, and give nothing behind it.
func TestDrainOfAnUnreadableBlockIsDamage(t *testing.T) {
	fs, all := history(t)
	n, err := open(t, small(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	at := groupOf(all[4])
	unread(fs, at.File, at.Offset+4096)
	var got []wal.Record
	_, err = n.ReadSealed(at.File, nil, func(p wal.Placed) error {
		got = append(got, cloned(p.Record))
		return nil
	})
	var damage *wal.Damage
	if !errors.As(err, &damage) || damage.At != at || damage.Bytes != 8192 {
		t.Fatalf("drain: %v, want damage at %v", err, at)
	}
	same(t, "drained", got, records(all)[:4])
	if err := n.Replay(func(wal.Placed) error { return nil }); !errors.As(err, &damage) || damage.At != at {
		t.Errorf("replay: %v, want damage at %v", err, at)
	}
}

// A scrub tells of the group that cannot be read, once, and goes on behind it.
func TestScrubFindsAnUnreadableBlock(t *testing.T) {
	s := startScrubbed(t)
	hit := s.all[4]
	unread(s.fs, hit.At.File, groupOf(hit).Offset+4096)
	scrubber := s.Scrubber()
	s.pass(scrubber)
	s.pass(scrubber)
	if len(s.found) != 1 || s.found[0].At != groupOf(hit) || s.found[0].Bytes != 8192 {
		t.Fatalf("found %+v, want one group at %v", s.found, groupOf(hit))
	}
}

// Whatever blocks cannot be read, a start never takes a shorter log for a whole one, and a quarantine makes it usable.
func TestNothingIsLostQuietlyToUnreadableBlocks(t *testing.T) {
	for seed := range uint64(80) {
		random := rand.New(rand.NewPCG(seed, 8))
		fs, all := history(t)
		what := fmt.Sprintf("seed %d", seed)
		names := fs.Names()
		for range 1 + random.IntN(3) {
			name := names[random.IntN(len(names))]
			size := int64(len(fs.Content(name)))
			if filepath.Ext(name) != ".wal" || size == 0 {
				continue
			}
			block := random.Int64N(size/4096) * 4096
			fs.Unread(name, block, 4096)
			what += fmt.Sprintf(", %s at %d", filepath.Base(name), block)
		}
		before := everything(t, fs)
		n, err := open(t, small(fs))
		switch {
		case err == nil:
			same(t, what, n.found, records(all))
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		case !errors.Is(err, wal.ErrDamaged):
			t.Fatalf("%s: open: %v", what, err)
		}
		if _, err := wal.Verify(wal.Check{FS: fs, Dir: dir}); err != nil {
			t.Fatalf("%s: verify: %v", what, err)
		}
		if _, err := wal.Quarantine(small(fs)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		nothingIsGone(t, what, before, everything(t, fs))
		if n, err = open(t, small(fs)); err != nil {
			t.Fatalf("%s: open: %v", what, err)
		}
		same(t, what, n.found, records(all)[:len(n.found)])
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
