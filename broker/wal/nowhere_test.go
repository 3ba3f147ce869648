package wal_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// killed is a log whose run was killed in its fourth file or so, with all files ahead, and its records.
func killed(t *testing.T) (*waltest.FS, []wal.Placed) {
	t.Helper()
	fs := waltest.New()
	d := drive(t, small(fs))
	d.groups(series(1, 25, 5000)...)
	all, left := d.sink.durables(), fs.Clone()
	d.end()
	return left, all
}

// behind is how far behind the start of the last record's group the next one would begin.
const behind = 8192

// Where no group can lie a block that cannot be read is no damage: the log opens, whole, a verify agrees, and it goes on.
func TestUnreadableBlockWhereNothingWasWrittenIsNoDamage(t *testing.T) {
	for _, test := range []struct {
		name   string
		clean  bool
		damage bool
		// file and offset are counted from the group of the last record.
		file   uint64
		offset int64
	}{
		{"where the next group would begin", false, true, 0, behind},
		{"behind where the next group would begin", false, true, 0, behind + 4096},
		{"in the first block of the file ahead", false, true, 1, 4096},
		{"in the second block of the file ahead", false, true, 1, 8192},
		{"in the middle of the file ahead", false, true, 1, 32 << 10},
		{"in the first block of the file behind that", false, true, 2, 4096},
		{"in the header of the file behind that", false, true, 2, 0},
		{"in the group of a clean stop", true, true, 0, behind},
		{"behind the group of a clean stop", true, false, 0, behind + 4096},
		{"in the first block of the file ahead of a clean stop", true, false, 1, 4096},
		{"in the middle of the file ahead of a clean stop", true, false, 1, 32 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs, all := killed(t)
			if test.clean {
				fs, all = history(t)
			}
			at := last(all)
			name := wal.FileName(dir, at.File+test.file)
			if test.file == 0 {
				test.offset += at.Offset
			}
			if !fs.Exists(name) || test.offset >= int64(len(fs.Content(name))) {
				t.Fatalf("there is no byte %d of %s: the test proves nothing", test.offset, name)
			}
			fs.Unread(name, test.offset, 4096)
			checked, err := wal.Verify(wal.Check{FS: fs, Dir: dir})
			if err != nil || checked.Broken != test.damage {
				t.Errorf("verify: %+v, %v", checked.Damage, err)
			}
			n, err := open(t, small(fs))
			if test.damage {
				damage := (*wal.Damage)(nil)
				if !errors.As(err, &damage) || !damage.Unreadable {
					t.Fatalf("open: %v, want damage", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			same(t, "recovered", n.found, records(all))
			n.run()
			more := series(1000, 30, 5000) // into the files that were ahead, too
			n.putDurable(more...)
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			n, err = open(t, small(fs))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "recovered later", n.found, append(records(all), more...))
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What was begun behind the tail shows that more may lie there: a block that cannot be read counts then.
func TestUnreadableBlockBehindATornGroupIsDamage(t *testing.T) {
	for _, torn := range []int64{100, 4096 + 100} {
		for _, behindIt := range []int64{behind, behind + 4096} {
			fs, all := killed(t)
			at := last(all)
			flip(fs, at.File, at.Offset+torn)
			fs.Unread(wal.FileName(dir, at.File), at.Offset+behindIt, 4096)
			if _, err := open(t, small(fs)); !errors.Is(err, wal.ErrDamaged) {
				t.Fatalf("open: %v, want damage", err)
			}
		}
	}
}

// What is there of a later group shows that groups lie up to it, whatever lies where the chain stops.
func TestUnreadableBlockBeforeALaterGroupIsDamage(t *testing.T) {
	fs, all := killed(t)
	n := len(all)
	zero(fs, all[n-3].At.File, groupOf(all[n-3]).Offset, 8192)
	unread(fs, all[n-2].At.File, groupOf(all[n-2]).Offset)
	flip(fs, all[n-1].At.File, all[n-1].At.Offset+100)
	if _, err := open(t, small(fs)); !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("open: %v, want damage", err)
	}
}

// refusing counts the reads that a file system refuses.
type refusing struct {
	*waltest.FS
	reads int
}

func (r *refusing) Open(name string, direct bool) (wal.File, error) {
	file, err := r.FS.Open(name, direct)
	return refusingFile{file, r}, err
}

type refusingFile struct {
	wal.File
	of *refusing
}

func (f refusingFile) ReadAt(b []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(b, offset)
	if err != nil && n == 0 {
		f.of.reads++
	}
	return n, err
}

// A device that takes seconds for each refusal is asked for little, however much of it is bad: a start, a verify and a
// quarantine come to their end.
func TestDeviceThatRefusesMuchIsAskedForLittle(t *testing.T) {
	for _, from := range []int{0, 3, 20} {
		whole, all := killed(t)
		fs := &refusing{FS: whole}
		for _, name := range whole.Names() {
			var number uint64
			if _, err := fmt.Sscanf(name, dir+"/%d.wal", &number); err != nil || number < all[from].At.File {
				continue
			}
			first := int64(4096)
			if number == all[from].At.File {
				first = groupOf(all[from]).Offset
			}
			whole.Unread(name, first, int64(len(whole.Content(name)))-first)
		}
		if _, err := open(t, small(fs)); !errors.Is(err, wal.ErrDamaged) {
			t.Fatalf("open: %v, want damage", err)
		}
		if most := 2 * 16; fs.reads == 0 || fs.reads > most {
			t.Errorf("a start from record %d on was refused %d times, want %d at most", from, fs.reads, most)
		}
		fs.reads = 0
		if _, err := wal.Quarantine(small(fs)); err != nil {
			t.Fatal(err)
		}
		if most := 4 * 16; fs.reads > most {
			t.Errorf("a quarantine from record %d on was refused %d times, want %d at most", from, fs.reads, most)
		}
		mended(t, "quarantine", whole, records(all)[:from])
	}
}

// What was refused is not asked for again for a minute, whoever reads, so that nobody waits for the same answer; then it
// is.
func TestRefusedBlockIsLeftAloneForAMinute(t *testing.T) {
	whole, all := history(t)
	fs, now := &refusing{FS: whole}, time.Hour
	cfg := small(fs)
	cfg.Now = func() time.Duration { return now }
	n, err := open(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	hit := all[4]
	unread(whole, hit.At.File, groupOf(hit).Offset+4096)
	read := func() error {
		_, err := n.ReadRecord(hit.At, wal.EncodedLen(hit.Record))
		return err
	}
	for range 5 {
		damage := (*wal.Damage)(nil)
		if err := read(); !errors.As(err, &damage) || !damage.Unreadable {
			t.Fatalf("got %v, want damage", err)
		}
		if _, _, err := n.Scan(hit.At, 1); !errors.Is(err, wal.ErrDamaged) {
			t.Fatalf("got %v, want damage", err)
		}
	}
	if fs.reads != 2 || n.Refusals() != 1 {
		t.Errorf("it was refused %d times and counted %d times, want 2 and 1", fs.reads, n.Refusals())
	}
	if _, err := n.ReadRecord(all[5].At, wal.EncodedLen(all[5].Record)); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
	whole.Damage(wal.FileName(dir, hit.At.File), func(b []byte) []byte { return b })
	if err := read(); err == nil {
		t.Error("it was asked for again at once")
	}
	now += time.Minute
	if err := read(); err != nil {
		t.Errorf("after a minute: %v", err)
	}
}

// A chunk of the cache that is refused is not read again for each record in it.
func TestRefusedChunkIsReadOnce(t *testing.T) {
	whole, all := history(t)
	fs := &refusing{FS: whole}
	n, err := open(t, small(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	unread(whole, all[4].At.File, groupOf(all[4]).Offset+4096)
	loan := n.Lend()
	defer loan.Release()
	for _, r := range all[:3] {
		if _, _, err := loan.Record(r.At, wal.EncodedLen(r.Record), true); err == nil {
			t.Fatalf("the record at %v was lent", r.At)
		}
		if _, err := n.ReadRecord(r.At, wal.EncodedLen(r.Record)); err != nil {
			t.Fatal(err)
		}
	}
	if fs.reads != 1 {
		t.Errorf("it was refused %d times, want once", fs.reads)
	}
}

// A scrub that is refused on and on tells the rest of the file, and goes on with the next.
func TestScrubOfADeviceThatRefusesMuchComesToItsEnd(t *testing.T) {
	fs := waltest.New()
	cfg := small(fs)
	cfg.FileBytes = 512 << 10
	s := &scrubbed{fs: fs}
	cfg.Scrub.Found = func(d wal.Damage) { s.found = append(s.found, d) }
	s.node = start(t, cfg)
	s.putDurable(series(1, 70, 5000)...)
	s.all = s.sink.durables()
	at := groupOf(s.all[2])
	name := wal.FileName(dir, at.File)
	fs.Unread(name, at.Offset, int64(len(fs.Content(name)))-at.Offset)
	s.pass(s.Scrubber())
	if len(s.found) != 1 || s.found[0].At != at || s.found[0].Bytes < 400<<10 {
		t.Fatalf("found %+v, want all from %v on", s.found, at)
	}
	if got := s.Refusals(); got > 20 {
		t.Errorf("it was refused %d times", got)
	}
}

// The empty group that ends a file early begins the next one, in which its run goes on: what comes behind it may have
// been acknowledged.
func TestUnreadableBlockBehindAFileThatWasEndedEarlyIsDamage(t *testing.T) {
	fs := waltest.New()
	d := drive(t, small(fs))
	d.must(data(1, 100))
	d.settle()
	d.Seal(1)
	d.settle()
	d.wantSealed("after it was asked for", 1)
	left := fs.Clone()
	if _, err := open(t, small(left.Clone())); err != nil {
		t.Fatal(err)
	}
	left.Unread(wal.FileName(dir, 2), 8192, 4096)
	if _, err := open(t, small(left)); !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("open: %v, want damage", err)
	}
}
