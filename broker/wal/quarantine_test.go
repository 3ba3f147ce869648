package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// injury is a way to damage the log that history makes, and how many records lie before it.
type injury struct {
	name  string
	spoil func(fs *waltest.FS, all []wal.Placed)
	kept  func(all []wal.Placed) int
}

func before(file uint64) func([]wal.Placed) int {
	return func(all []wal.Placed) int {
		return slices.IndexFunc(all, func(p wal.Placed) bool { return p.At.File >= file })
	}
}

func first(n int) func([]wal.Placed) int { return func([]wal.Placed) int { return n } }

func injuries() []injury {
	flipped := func(records ...int) func(*waltest.FS, []wal.Placed) {
		return func(fs *waltest.FS, all []wal.Placed) {
			for _, i := range records {
				flip(fs, all[i].At.File, all[i].At.Offset+100)
			}
		}
	}
	return []injury{
		{"the first group", flipped(0), first(0)},
		{"a group in the middle of a file", flipped(4), first(4)},
		{"the last group of a file that was left", flipped(6), first(6)},
		{"the first group of a later file", flipped(7), first(7)},
		{"the last group of a session", flipped(11), first(11)},
		{"two groups", flipped(3, 20), first(3)},
		{"the last group of all", flipped(35), first(35)},
		{"the first file header", func(fs *waltest.FS, _ []wal.Placed) { flip(fs, 1, 20) }, first(0)},
		{"a file header", func(fs *waltest.FS, _ []wal.Placed) { flip(fs, 2, 20) }, before(2)},
		{"a group, and the header of a later file", func(fs *waltest.FS, all []wal.Placed) {
			flipped(4)(fs, all)
			flip(fs, all[20].At.File, 20)
		}, first(4)},
		// The last group of the first session is zeroed, so that nothing in its file shows that it was
		// there: only the headers of the next session do.
		{"a session's end", func(fs *waltest.FS, all []wal.Placed) {
			end := groupOf(all[11])
			zero(fs, end.File, end.Offset, 3*4096)
		}, first(11)},
		{"a file that is missing", func(fs *waltest.FS, _ []wal.Placed) {
			fs.Delete(wal.FileName(dir, 2))
		}, before(2)},
		{"the first file, missing", func(fs *waltest.FS, _ []wal.Placed) {
			fs.Delete(wal.FileName(dir, 1))
		}, first(0)},
		{"a file cut short", func(fs *waltest.FS, all []wal.Placed) {
			cut(fs, all[4].At.File, groupOf(all[4]).Offset)
		}, first(0)},
	}
}

// everything is the content of every file that holds, or held, groups, wherever it lies.
func everything(t *testing.T, fs *waltest.FS) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, name := range fs.Names() {
		if filepath.Ext(name) == ".wal" {
			all[name] = fs.Content(name)
		}
	}
	return all
}

// nothingIsGone requires that every file of before is still there, under its name or set aside.
func nothingIsGone(t *testing.T, what string, before, after map[string][]byte) {
	t.Helper()
	for name, content := range before {
		found := false
		for other, there := range after {
			found = found || filepath.Base(name) == filepath.Base(other) && bytes.Equal(content, there)
		}
		if !found {
			t.Fatalf("%s: %s is gone, there are %v", what, name, slices.Sorted(maps.Keys(after)))
		}
	}
}

// mended opens what a quarantine left and requires the records before the damage, that more can be
// appended, and that the next start finds nothing wrong.
func mended(t *testing.T, what string, fs *waltest.FS, want []wal.Record) {
	t.Helper()
	for round := range uint64(2) {
		n, err := open(t, small(fs))
		if err != nil {
			t.Fatalf("%s: round %d: open: %v", what, round, err)
		}
		same(t, what, n.found, want)
		n.run()
		more := series(1000+10*round, 3, 3000)
		n.putDurable(more...)
		want = slices.Concat(want, more)
		same(t, what, records(scanAll(t, n.Log, wal.Position{}, 0)), want)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		damage, err := wal.Dump(fs, dir, func(wal.DumpRecord) {})
		if err != nil || len(damage) > 0 {
			t.Fatalf("%s: dump: %v, %v", what, damage, err)
		}
		fs = fs.Restart()
	}
}

// failure modes 34 and 36: a damaged log keeps what lies before the damage, and loses nothing of the
// rest: it is set aside.
func TestQuarantineKeepsTheGoodPrefixAndDeletesNothing(t *testing.T) {
	for _, injury := range injuries() {
		t.Run(injury.name, func(t *testing.T) {
			fs, all := history(t)
			injury.spoil(fs, all)
			before := everything(t, fs)
			if _, err := open(t, small(fs)); !errors.Is(err, wal.ErrDamaged) {
				t.Fatalf("open: %v, want damage", err)
			}
			done, err := wal.Quarantine(small(fs))
			if err != nil || len(done.Damage) == 0 || filepath.Dir(done.Dir) != dir {
				t.Fatalf("quarantine: %+v, %v", done, err)
			}
			after := everything(t, fs)
			nothingIsGone(t, injury.name, before, after)
			for _, name := range done.Files {
				if !bytes.Equal(before[filepath.Join(dir, name)], after[filepath.Join(done.Dir, name)]) {
					t.Errorf("%s is said to lie in %s", name, done.Dir)
				}
			}
			mended(t, injury.name, fs, records(all)[:injury.kept(all)])
		})
	}
}

func TestQuarantineOfAWholeLogDoesNothing(t *testing.T) {
	fs, all := history(t)
	before := contents(t, fs)
	done, err := wal.Quarantine(small(fs))
	if err != nil || len(done.Damage)+len(done.Files) > 0 {
		t.Fatalf("got %+v, %v", done, err)
	}
	if !equalContents(before, contents(t, fs)) {
		t.Fatal("a whole log was changed")
	}
	mended(t, "whole", fs, records(all))
}

// A crash at any step leaves a log that Open refuses, or one that is mended with all set aside: never
// one that lacks groups and looks whole before the rest is in safety.
func TestCrashInAQuarantineIsSurvivedAtEveryStep(t *testing.T) {
	all := injuries()
	if testing.Short() {
		all = all[1:3]
	}
	for _, injury := range all {
		t.Run(injury.name, func(t *testing.T) {
			steps := 0
			for n := 1; ; n++ {
				fs, all := history(t)
				injury.spoil(fs, all)
				before := everything(t, fs)
				fs.CrashAfter(n)
				_, err := wal.Quarantine(small(fs))
				if err == nil {
					break
				}
				if !errors.Is(err, waltest.ErrCrashed) {
					t.Fatalf("step %d: %v", n, err)
				}
				steps++
				what := fmt.Sprintf("step %d", n)
				afterCrash(t, what, fs, n, before, records(all)[:injury.kept(all)])
			}
			if steps < 8 {
				t.Errorf("the quarantine took %d steps only", steps)
			}
		})
	}
}

// afterCrash restarts in several ways, and crashes the second attempt too.
func afterCrash(t *testing.T, what string, fs *waltest.FS, seed int, before map[string][]byte, want []wal.Record) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(seed), 5))
	var worlds []*waltest.FS
	for range 3 {
		worlds = append(worlds, fs.Crash(random))
	}
	for _, fs := range append(worlds, fs.Restart()) {
		fs.CrashAfter(1 + random.IntN(12))
		_, err := wal.Quarantine(small(fs))
		if err != nil && !errors.Is(err, waltest.ErrCrashed) {
			t.Fatalf("%s: second attempt: %v", what, err)
		}
		fs = fs.Crash(random)
		n, err := open(t, small(fs))
		if err == nil {
			// It looks whole: then everything that was damaged must be in safety.
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			nothingIsGone(t, what+", looks whole", before, everything(t, fs))
		} else if !errors.Is(err, wal.ErrDamaged) {
			t.Fatalf("%s: open: %v", what, err)
		}
		if _, err := wal.Quarantine(small(fs)); err != nil {
			t.Fatalf("%s: last attempt: %v", what, err)
		}
		nothingIsGone(t, what, before, everything(t, fs))
		mended(t, what, fs, want)
	}
}

// Whatever is done to a log, a quarantine makes it usable, with a prefix of what it held.
func TestQuarantineMendsAnyDamage(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 6))
		fs, all := history(t)
		what := fmt.Sprintf("seed %d", seed)
		for range 1 + random.IntN(3) {
			func() {
				// A file may be gone already.
				defer func() { _ = recover() }()
				what += ", " + vandalise(fs, all, random)
			}()
		}
		before := everything(t, fs)
		if _, err := wal.Quarantine(small(fs)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		nothingIsGone(t, what, before, everything(t, fs))
		n, err := open(t, small(fs))
		if err != nil {
			t.Fatalf("%s: open: %v", what, err)
		}
		same(t, what, n.found, records(all)[:len(n.found)])
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A full disk leaves the damaged log as it was.
func TestQuarantineWithoutSpaceChangesNothing(t *testing.T) {
	fs, all := history(t)
	flip(fs, all[4].At.File, all[4].At.Offset+100)
	before := everything(t, fs)
	used := 0
	for _, content := range maps.All(contents(t, fs)) {
		used += len(content)
	}
	fs.SetCapacity(int64(used))
	if _, err := wal.Quarantine(small(fs)); !errors.Is(err, wal.ErrNoSpace) {
		t.Fatalf("got %v, want no space", err)
	}
	if !equalContents(before, everything(t, fs)) {
		t.Fatal("files were changed")
	}
	fs.SetCapacity(0)
	if _, err := wal.Quarantine(small(fs)); err != nil {
		t.Fatal(err)
	}
	mended(t, "with space", fs, records(all)[:4])
}
