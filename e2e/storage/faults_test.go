package storage

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
	"outrigger/sidecar/raft"
	"outrigger/sidecar/raftstore"
)

// failure mode 31: a change of the disk that fails stops the partition logs for ever: nothing more is
// taken, reported or tried, and the next start finds what was promised before.
func TestFailedWriteStopsThePartitionLogs(t *testing.T) {
	seeds(t, func(n *node) {
		for range 4 {
			n.disks.arm(n.random)
			n.disks.mu.walIn, n.disks.mu.metaIn = -1, -1
			if !n.open() {
				n.fatal("the power failed without a reason")
			}
			n.live(n.random.IntN(200))
			n.disks.breakWAL(n.random.IntN(40))
			n.liveUntilStopped()
			n.lights()
			n.breakOpen()
		}
	}, "stopped", "open broken")
}

// liveUntilStopped runs until the log fails, and looks what it does then.
func (n *node) liveUntilStopped() {
	err := error(nil)
	for i := 0; i < 600 && err == nil; i++ {
		err = n.step()
	}
	if err == nil {
		return // fewer changes than were let through
	}
	if !errors.Is(err, wal.ErrFailed) || !errors.Is(err, syscall.EIO) {
		n.fatal("after EIO: got %v, want wal.ErrFailed", err)
	}
	n.counts["stopped"]++
	promised, records, tries := n.logs.promised, len(n.logs.records), n.disks.tries()
	for range 100 {
		if err := n.step(); err != nil && !errors.Is(err, wal.ErrFailed) {
			n.fatal("after the failure: %v", err)
		}
	}
	if n.logs.promised != promised || len(n.logs.records) != records || n.disks.tries() != tries {
		n.fatal("after the failure: %d promised, then %d; %d records, then %d; %d changes, then %d",
			promised, n.logs.promised, records, len(n.logs.records), tries, n.disks.tries())
	}
}

// breakOpen lets a start fail. It says so, takes nothing for damage, and harms nothing.
func (n *node) breakOpen() {
	n.disks.breakWAL(n.random.IntN(8))
	store, err := n.openWAL(n.disks.wal)
	switch {
	case err == nil:
		_ = store.Close()
	case !errors.Is(err, syscall.EIO) || errors.Is(err, wal.ErrDamaged):
		n.fatal("open over a failing disk: %v", err)
	default:
		n.counts["open broken"]++
	}
	n.disks.arm(n.random)
	n.lights()
}

// A write of the metadata that fails, or a sync, stops that store: a later sync that succeeds is not
// believed.
func TestFailedSyncStopsTheMetadata(t *testing.T) {
	seeds(t, func(n *node) {
		// A store that has failed is not closed: it keeps its memory until the process ends.
		for range 3 {
			if n.counts["stopped"] == 1000 {
				return
			}
			n.disks.arm(n.random)
			n.disks.mu.walIn, n.disks.mu.metaIn = -1, -1
			if !n.open() {
				n.fatal("the power failed without a reason")
			}
			n.disks.breakMeta(n.random.IntN(60))
			err := error(nil)
			for i := 0; i < 400 && err == nil; i++ {
				err = n.step()
			}
			if err != nil {
				n.counts["stopped"]++
				n.refusesMetadata(err)
			}
			n.lights()
		}
	}, "stopped")
}

func (n *node) refusesMetadata(err error) {
	if errors.Is(err, wal.ErrFailed) || errors.Is(err, wal.ErrFull) {
		n.fatal("after an error of the metadata disk: %v", err)
	}
	for i := range 20 {
		b := raft.Batch{HardState: &raft.HardState{Term: 1 << 40}, Sync: i%2 == 0}
		if err := n.meta.Save(b); !errors.Is(err, raftstore.ErrFailed) {
			n.fatal("save after a failure: got %v, want raftstore.ErrFailed", err)
		}
	}
}

// A full disk holds appends up and loses nothing; with space they go on.
func TestFullDiskIsBackPressure(t *testing.T) {
	seeds(t, func(n *node) {
		for range 4 {
			n.disks.arm(n.random)
			n.disks.wal.SetCapacity(1 + n.random.Int64N(200<<10))
			if n.open() {
				n.live(300)
			}
			n.disks.wal.SetCapacity(0)
			if !n.dead() {
				n.goOn()
			}
			n.lights()
		}
	}, "no space", "refused", "went on")
}

// goOn writes what is queued and makes files, and then a batch must be taken.
func (n *node) goOn() {
	for n.driver.Wanted() && !n.dead() {
		if err := n.driver.Prepare(); err != nil && !n.dead() {
			n.fatal("prepare with space: %v", err)
		}
	}
	n.drain()
	refused := n.counts["refused"]
	for n.roles[at(0)].Epoch == 0 && !n.dead() {
		n.elect()
	}
	for i := 0; i < 100 && !n.dead() && n.counts["refused"] == refused; i++ {
		before := len(n.logs.records)
		if err := n.append(); err != nil && !n.dead() {
			n.fatal("append with space: %v", err)
		}
		if len(n.logs.records) > before {
			n.counts["went on"]++
			return
		}
	}
	if !n.dead() {
		n.fatal("no append is taken although there is space")
	}
}

func (n *node) drain() {
	for !n.dead() {
		if err := n.driver.Turn(); err != nil && !n.dead() {
			n.fatal("turn: %v", err)
		}
		if !n.driver.Writing() && !n.driver.Written() {
			return
		}
		n.driver.Disk()
		if err := n.driver.Complete(); err != nil && !n.dead() {
			n.fatal("complete: %v", err)
		}
	}
}

// failure modes 35, 36: a bit that flips in the log's files is found at the next start, which names
// the place, or it was in what nobody had been promised. The one exception is the group that was
// written last before a crash: nothing says yet that it was synced, and a bad one looks torn.
func TestFlippedBitsAreFound(t *testing.T) {
	seeds(t, func(n *node) {
		for range 4 {
			n.disks.arm(n.random)
			if n.open() {
				n.live(n.random.IntN(400))
			}
			n.lights()
			for range 8 {
				n.flip()
			}
		}
	}, "damage found", "harmless")
}

// flip flips a bit in a copy of the files, and judges what a start makes of it.
func (n *node) flip() {
	fs := n.disks.wal.Clone()
	names, err := fs.List(walDir)
	if err != nil {
		n.fatal("list: %v", err)
	}
	names = filter(names, ".wal")
	if len(names) == 0 {
		return
	}
	name := walDir + "/" + names[n.random.IntN(len(names))]
	offset := fs.Flip(n.random, name, 0, []int64{100, 4 << 10, 20 << 10, walFileBytes}[n.random.IntN(4)])
	n.note("flip a bit of %s at %d", name, offset)
	if damage := n.judge(fs); damage != nil && (damage.File != name || damage.At.Offset > offset) {
		n.fatal("a flip of %s at %d is reported as %v", name, offset, damage)
	}
}

// judge opens files that may be damaged. What is found is either damage, or a front of what was
// written that lacks at most the last group.
func (n *node) judge(fs *waltest.FS) *wal.Damage {
	var damage *wal.Damage
	records, err := survivors(fs)
	if errors.As(err, &damage) {
		n.counts["damage found"]++
		if damage.File == "" || damage.Reason == "" {
			n.fatal("damage without a place: %v", err)
		}
		return damage
	}
	if err != nil {
		n.fatal("open damaged files: got %v, want a wal.Damage", err)
	}
	if _, err := n.logs.match(records, n.logs.groupStart); err != nil {
		n.fatal("open damaged files: %v", err)
	}
	n.counts["harmless"]++
	whole, session := n.logs, n.session
	n.logs = whole.replay(records)
	n.session += 1000
	if n.store, err = n.openWAL(fs); err != nil {
		n.fatal("open: %v", err)
	}
	n.compare()
	if err := n.store.Close(); err != nil {
		n.fatal("close: %v", err)
	}
	n.logs, n.session = whole, session
	return nil
}

func filter(names []string, suffix string) (kept []string) {
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			kept = append(kept, name)
		}
	}
	return kept
}

// A write that is lost or lands elsewhere, although the device reported success, is never read as
// data: reads say that there is damage, and so does the next start, unless what was lost is the last
// group, which then looks torn.
func TestMisplacedWritesAreNeverReadAsData(t *testing.T) {
	seeds(t, func(n *node) {
		n.disks.arm(n.random)
		if n.open() {
			n.live(n.random.IntN(200))
		}
		n.lights()
		n.disks.arm(n.random)
		if !n.open() {
			return
		}
		n.live(n.random.IntN(50))
		n.disks.misplace(n.random, n.random.IntN(8))
		n.amiss = true
		n.live(n.random.IntN(400))
		n.readEverything()
		n.lights()
		if damage := n.judge(n.disks.wal); damage != nil {
			n.note("%v", damage)
		}
	}, "damage found", "damage read", "harmless")
}

// readEverything reads each log from each of its offsets on, and the write-ahead log from its start and
// from each batch on.
func (n *node) readEverything() {
	for index := range int32(partitions) {
		p := at(index)
		m, l := n.logs.logs[p], n.store.Log(p)
		if m == nil || l == nil || n.dead() {
			continue
		}
		for from := range m.highWatermark {
			n.read(l, m, from)
		}
		for offset := range m.end() {
			if at, ok := l.Position(offset); ok {
				n.scan(at, l, offset)
			}
		}
	}
	n.scan(wal.Position{}, nil, 0)
}

// scan reads batches of all partitions, which are what was written. The batch of l at offset, where it
// begins, is passed over only if the log knows then that it is damaged.
func (n *node) scan(from wal.Position, l *partition.Log, offset topic.Offset) {
	found := l == nil
	for end := false; !end && !n.dead(); {
		entries, next, last, err := n.store.Scan(from, 8<<10)
		if err != nil {
			n.damaged(err)
			return
		}
		for _, e := range entries {
			m := n.logs.logs[e.Partition]
			found = found || e.Partition == l.Partition() && e.Base == offset
			if m == nil || e.Base >= m.end() || !bytes.Equal(e.Payload, m.entries[e.Base].payload) {
				n.fatal("scan gives other bytes for %d of %d", e.Base, e.Partition.Index)
			}
		}
		if !found {
			if s := l.State(); !s.Damaged || s.DamagedAt > offset {
				n.fatal("scan passes over batch %d of %d at %v", offset, l.Partition().Index, from)
			}
			n.counts["damage read"]++
		}
		from, end, found = next, last, true
	}
}

// Bits that flip under a running node are never read as data.
func TestFlippedBitsAreNeverReadAsData(t *testing.T) {
	seeds(t, func(n *node) {
		n.disks.arm(n.random)
		n.disks.mu.walIn, n.disks.mu.metaIn = -1, -1
		if !n.open() {
			n.fatal("the power failed without a reason")
		}
		n.live(n.random.IntN(400))
		n.amiss = true
		for range 5 {
			name := fmt.Sprintf("%s/%020d.wal", walDir, 1+n.random.IntN(2))
			if offset := n.disks.wal.Flip(n.random, name, 4<<10, 40<<10); offset > 0 {
				n.readEverything()
			}
		}
		n.lights()
	}, "damage read")
}

// A bit that flips in the metadata is found, or changes nothing that was promised.
func TestFlippedBitsOfTheMetadataAreFound(t *testing.T) {
	seeds(t, func(n *node) {
		n.disks.arm(n.random)
		if n.open() {
			n.live(n.random.IntN(300))
		}
		n.lights()
		for range 4 {
			n.flipMetadata()
		}
	}, "damage found", "harmless")
}

func (n *node) flipMetadata() {
	fs := n.disks.meta.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: n.random})
	names, err := fs.List(metaDir)
	// Of a bad table Pebble hears in a goroutine of its own, and ends the process.
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, ".sst") })
	if err != nil || len(names) == 0 {
		return
	}
	name := metaDir + "/" + names[n.random.IntN(len(names))]
	if !flipByte(n, fs, name) {
		return
	}
	// Nothing says yet that the last synced batch was synced: to lose it looks like a torn end.
	what := *n.what
	n.what.history = append(slices.Clone(n.what.before), n.what.history...)
	defer func() { *n.what = what }()
	store, err := raftstore.OpenFS(fs, metaDir, slog.New(slog.DiscardHandler), died)
	if err != nil {
		n.counts["damage found"]++
		if strings.HasSuffix(name, ".log") && !errors.Is(err, raft.ErrDamaged) {
			n.fatal("flip in %s: got %v, want raft.ErrDamaged", name, err)
		}
		return
	}
	n.counts["harmless"]++
	if err := errors.Join(n.what.settle(store), store.Close()); err != nil {
		n.fatal("flip in %s: %v", name, err)
	}
}

func flipByte(n *node, fs vfs.FS, name string) bool {
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		n.fatal("open %s: %v", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var b [1]byte
	offset := n.random.Int64N(info.Size())
	if _, err := f.ReadAt(b[:], offset); err != nil {
		n.fatal("read %s: %v", name, err)
	}
	b[0] ^= 1 << n.random.IntN(8)
	if _, err := f.WriteAt(b[:], offset); err != nil {
		n.fatal("write %s: %v", name, err)
	}
	return true
}
