package wal_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// history is a log of several sessions and files, cleanly stopped with all files ahead, and its records.
func history(t *testing.T) (*waltest.FS, []wal.Placed) {
	t.Helper()
	fs := waltest.New()
	var all []wal.Placed
	for session := range uint64(3) {
		d := drive(t, small(fs))
		d.groups(series(100*session, 12, 5000)...)
		all = append(all, d.sink.durables()...)
		d.end()
	}
	return fs, all
}

// failure modes 34, 35, 36: what a bad byte means depends on what is known about it, and nothing is
// deleted in any case.
func TestDamageAndTornTailAreToldApart(t *testing.T) {
	// The second session's groups begin in this file; the last session's last group in that one.
	tests := []struct {
		name  string
		spoil func(fs *waltest.FS, all []wal.Placed) wal.Position
		// damaged is false for what is a torn tail, which costs the given number of records.
		damaged bool
		lost    int
	}{
		{"a flipped bit in the first group", flipRecord(0), true, 0},
		{"a flipped bit in the middle of a file", flipRecord(4), true, 0},
		{"a flipped bit in the last group of a file that was left", flipRecord(6), true, 0},
		{"a flipped bit in the first group of the next file", flipRecord(7), true, 0},
		{"a flipped bit in the last group of a session", flipRecord(11), true, 0},
		{"a flipped bit in the last group of all, cleanly stopped", flipRecord(-1), true, 0},
		{"a flipped bit in a file header", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			flip(fs, 2, 20)
			return wal.Position{File: 2}
		}, true, 0},
		{"a zeroed block in the middle", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			at := groupOf(all[5])
			zero(fs, at.File, at.Offset, 4096)
			return at
		}, true, 0},
		{"a file cut in the middle of the chain", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			at := groupOf(all[4])
			cut(fs, at.File, at.Offset)
			return at
		}, true, 0},
		{"a file cut behind its last group", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			cut(fs, 1, 60<<10)
			return wal.Position{File: 1, Offset: 60 << 10}
		}, true, 0},
		{"a file removed from the middle", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			fs.Delete(wal.FileName(dir, 2))
			return wal.Position{File: 2}
		}, true, 0},
		{"the first file removed", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			fs.Delete(wal.FileName(dir, 1))
			return wal.Position{File: 1}
		}, true, 0},
		{"the first file emptied", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			cut(fs, 1, 0)
			return wal.Position{File: 1}
		}, true, 0},
		{"the closing group torn", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			flip(fs, last(all).File, last(all).Offset+8192+100)
			return wal.Position{}
		}, false, 0},
		{"the closing group and the last group torn", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			zero(fs, last(all).File, last(all).Offset, 8192+4096)
			return wal.Position{}
		}, false, 1},
		{"bytes that nothing uses", func(fs *waltest.FS, all []wal.Placed) wal.Position {
			flip(fs, last(all).File, last(all).Offset+8192+4096+77)
			return wal.Position{}
		}, false, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fs, all := history(t)
			at := test.spoil(fs, all)
			before := contents(t, fs)
			n, err := open(t, small(fs))
			if !test.damaged {
				if err != nil {
					t.Fatal(err)
				}
				defer n.Close()
				same(t, "recovered", n.found, records(all)[:len(all)-test.lost])
				return
			}
			var damage *wal.Damage
			if !errors.Is(err, wal.ErrDamaged) || !errors.As(err, &damage) {
				t.Fatalf("got %v, want damage", err)
			}
			if damage.At != at || damage.File != wal.FileName(dir, at.File) {
				t.Fatalf("damage at %s in %s, want %s", damage.At, damage.File, at)
			}
			if after := contents(t, fs); !equalContents(before, after) {
				t.Fatal("open has changed a damaged log")
			}
			found, err := wal.Dump(fs, dir, func(wal.DumpRecord) {})
			if err != nil || len(found) == 0 || found[0].At != at {
				t.Fatalf("dump: %v, %v, want damage at %s", found, err, at)
			}
		})
	}
}

// groupOf is where the group of a record that is alone in it begins.
func groupOf(p wal.Placed) wal.Position {
	return wal.Position{File: p.At.File, Offset: p.At.Offset - wal.GroupHeaderBytes}
}

func last(all []wal.Placed) wal.Position { return groupOf(all[len(all)-1]) }

func flipRecord(i int) func(*waltest.FS, []wal.Placed) wal.Position {
	return func(fs *waltest.FS, all []wal.Placed) wal.Position {
		if i < 0 {
			i += len(all)
		}
		flip(fs, all[i].At.File, all[i].At.Offset+100)
		return groupOf(all[i])
	}
}

func flip(fs *waltest.FS, file uint64, offset int64) {
	fs.Damage(wal.FileName(dir, file), func(b []byte) []byte {
		b[offset] ^= 0x10
		return b
	})
}

func zero(fs *waltest.FS, file uint64, offset, n int64) {
	fs.Damage(wal.FileName(dir, file), func(b []byte) []byte {
		clear(b[offset : offset+n])
		return b
	})
}

func cut(fs *waltest.FS, file uint64, size int64) {
	fs.Damage(wal.FileName(dir, file), func(b []byte) []byte { return b[:size] })
}

func contents(t *testing.T, fs *waltest.FS) map[string][]byte {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, name := range names {
		all[name] = fs.Content(dir + "/" + name)
	}
	return all
}

func equalContents(a, b map[string][]byte) bool {
	for name, content := range a {
		if other, ok := b[name]; !ok || !bytes.Equal(content, other) {
			return false
		}
	}
	return len(a) == len(b)
}

// failure mode 34: after a clean stop, whatever is done to the files, either everything is still
// there or Open refuses; it never quietly has less.
func TestNothingDurableIsLostQuietly(t *testing.T) {
	for seed := range uint64(80) {
		random := rand.New(rand.NewPCG(seed, 2))
		fs, all := history(t)
		what := vandalise(fs, all, random)
		n, err := open(t, small(fs))
		if errors.Is(err, wal.ErrDamaged) {
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, what, err)
		}
		if len(n.found) != len(all) {
			t.Fatalf("seed %d: %s: %d records of %d", seed, what, len(n.found), len(all))
		}
		same(t, what, n.found, records(all))
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func vandalise(fs *waltest.FS, all []wal.Placed, random *rand.Rand) string {
	file := 1 + random.Uint64N(last(all).File)
	switch random.IntN(5) {
	case 0, 1:
		flip(fs, file, random.Int64N(64<<10))
		return "flip"
	case 2:
		// One block: the last group and the one that closes the log can not both be gone.
		n := 512 * (1 + random.Int64N(8))
		zero(fs, file, 4096*random.Int64N(16)+random.Int64N(4096-n+1)&^511, n)
		return "zero"
	case 3:
		if file == last(all).File {
			return "nothing"
		}
		fs.Delete(wal.FileName(dir, file))
		return "delete"
	default:
		from, to := 4096*random.Int64N(16), 4096*random.Int64N(16)
		fs.Damage(wal.FileName(dir, file), func(b []byte) []byte {
			copy(b[to:to+4096], b[from:])
			return b
		})
		return "copy a block"
	}
}

// failure mode 35: reads verify, and name the place.
func TestReadsNameTheDamage(t *testing.T) {
	fs := waltest.New()
	n := start(t, small(fs))
	n.putDurable(series(1, 5, 1000)...)
	p := n.sink.durables()[2]
	flip(fs, p.At.File, p.At.Offset+500)
	var damage *wal.Damage
	if _, err := n.ReadRecord(p.At, wal.EncodedLen(p.Record)); !errors.As(err, &damage) || damage.At != p.At {
		t.Fatalf("read: %v", err)
	}
	damage = nil
	before, next, err := n.Scan(wal.Position{}, 1<<20)
	if err != nil || len(before) != 2 {
		t.Fatalf("scan: %d records before the damage, %v", len(before), err)
	}
	if _, _, err := n.Scan(next, 1<<20); !errors.As(err, &damage) || damage.At != p.At {
		t.Fatalf("scan: %v", err)
	}
	if !strings.Contains(damage.Error(), wal.FileName(dir, 1)) {
		t.Fatalf("no file name in %q", damage)
	}
}

func TestDumpShowsEverything(t *testing.T) {
	fs, all := history(t)
	var found []wal.Record
	files, groups, sequence := 0, 0, uint64(0)
	damage, err := wal.Dump(fs, dir, func(d wal.DumpRecord) {
		switch {
		case d.File != nil:
			files++
		case d.Group != nil:
			groups++
			if d.Group.Sequence != sequence+1 {
				t.Errorf("group %d after %d", d.Group.Sequence, sequence)
			}
			sequence = d.Group.Sequence
		default:
			found = append(found, cloned(*d.Record))
		}
	})
	if err != nil || len(damage) > 0 {
		t.Fatalf("dump: %v, %v", damage, err)
	}
	same(t, "dumped", found, records(all))
	// One group for each record, and one at the end of each of three sessions.
	if groups != len(all)+3 || files < 4 {
		t.Fatalf("%d groups, %d files", groups, files)
	}
}

// Two places are two findings.
func TestDumpFindsAllDamage(t *testing.T) {
	fs, all := history(t)
	for _, i := range []int{3, 20} {
		flip(fs, all[i].At.File, all[i].At.Offset+9)
	}
	damage, err := wal.Dump(fs, dir, func(wal.DumpRecord) {})
	if err != nil || len(damage) != 2 || damage[0].At != groupOf(all[3]) || damage[1].At != groupOf(all[20]) {
		t.Fatalf("got %v, %v, want damage at %s and %s", damage, err, groupOf(all[3]), groupOf(all[20]))
	}
}
