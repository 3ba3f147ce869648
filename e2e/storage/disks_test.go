package storage

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"outrigger/broker/wal/waltest"
)

// disks are the two file systems of a node, which die at one instant.
type disks struct {
	wal  *waltest.FS
	meta *vfs.MemFS

	// dead says that the instant has come. What returns after it has promised nothing.
	dead atomic.Bool
	mu   struct {
		sync.Mutex
		// walIn and metaIn count operations until the instant, negative for never.
		walIn, metaIn int
		// fail is asked before each change of the WAL's file system, failMeta of the other's.
		fail     func(waltest.Op) error
		failMeta func(errorfs.Op) error
		tries    int
		// next is what the machine finds.
		next *disks
	}
	random *rand.Rand
	// kill loses nothing: the process ends and the machine goes on.
	kill bool
}

// newDisks makes empty ones. The data directory is there and synced, as the node has it before it
// opens anything in it.
func newDisks(t *testing.T) *disks {
	d := &disks{wal: waltest.New(), meta: vfs.NewCrashableMem()}
	if err := d.meta.MkdirAll("data", 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := d.meta.OpenDir("/")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(root.Sync(), root.Close()); err != nil {
		t.Fatal(err)
	}
	d.hook()
	return d
}

func (d *disks) hook() {
	d.mu.walIn, d.mu.metaIn = -1, -1
	d.wal.Intercept(d.walOp)
}

// arm sets when the instant comes, and what it takes.
func (d *disks) arm(random *rand.Rand) {
	d.random = rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
	d.kill = random.IntN(5) == 0
	d.mu.Lock()
	defer d.mu.Unlock()
	switch random.IntN(5) {
	case 0, 1:
		d.mu.walIn = random.IntN(80)
	case 2, 3:
		d.mu.metaIn = random.IntN(120)
	}
}

// die is the instant.
func (d *disks) die() *disks {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dieLocked()
	return d.mu.next
}

func (d *disks) dieLocked() {
	if d.dead.Swap(true) {
		return
	}
	next := &disks{}
	if d.kill {
		next.meta = d.meta.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: d.random})
		next.wal = d.wal.Restart()
	} else {
		next.meta = d.meta.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: []int{0, 50, d.random.IntN(101)}[d.random.IntN(3)], RNG: d.random})
		next.wal = d.wal.Crash(d.random)
	}
	next.wal.SetCapacity(0)
	next.hook()
	d.mu.next = next
}

// walOp is called before each operation of the WAL's file system.
func (d *disks) walOp(op waltest.Op) error {
	if op.Verb == waltest.Read || op.Verb == waltest.List || op.Verb == waltest.Open {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.walIn == 0 {
		d.dieLocked()
	}
	d.mu.walIn--
	if d.mu.fail != nil {
		return d.mu.fail(op)
	}
	return nil
}

// metaOp is called before each operation of Pebble's, from any of its goroutines. The old file system
// goes on after the instant: an error would only make Pebble end the process.
func (d *disks) metaOp(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.metaIn == 0 {
		d.dieLocked()
	}
	d.mu.metaIn--
	if d.mu.failMeta != nil {
		return d.mu.failMeta(op)
	}
	return nil
}

// metaFS is what Pebble gets.
func (d *disks) metaFS() vfs.FS { return errorfs.Wrap(d.meta, errorfs.InjectorFunc(d.metaOp)) }

// breakWAL lets the n-th change of the WAL's file system fail, and then every one.
func (d *disks) breakWAL(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.walIn, d.mu.metaIn = -1, -1
	d.mu.fail = func(waltest.Op) error {
		d.mu.tries++
		if n--; n < 0 {
			return syscall.EIO
		}
		return nil
	}
}

// tries counts the changes that were asked for since breakWAL.
func (d *disks) tries() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.tries
}

// breakMeta lets the n-th write or sync of Pebble's log fail, once: a sync that comes after it would
// succeed, and must not be believed.
func (d *disks) breakMeta(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.walIn, d.mu.metaIn = -1, -1
	d.mu.failMeta = func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		default:
			return nil
		}
		if !strings.HasSuffix(op.Path, ".log") {
			return nil
		}
		if n--; n == -1 {
			return errMeta
		}
		return nil
	}
}

var errMeta = errors.New("input/output error of the metadata disk")

// misplace lets the n-th write of a group go amiss.
func (d *disks) misplace(random *rand.Rand, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.fail = func(op waltest.Op) error {
		if op.Verb != waltest.Write || op.Offset == 0 || !strings.HasSuffix(op.Name, ".wal") {
			return nil
		}
		if n--; n != -1 {
			return nil
		}
		if amiss := d.wal.Misdirect(random, op, ".wal"); amiss != nil && random.IntN(2) == 0 {
			return amiss
		}
		return waltest.Lose(random, op)
	}
}
