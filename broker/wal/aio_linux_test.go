package wal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fileOf makes a file of the operating system, for direct I/O where the file system lets us.
func fileOf(t *testing.T, bytes int64) *osFile {
	t.Helper()
	f, err := OS().Create(filepath.Join(t.TempDir(), "file"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Allocate(bytes); err != nil {
		t.Fatal(err)
	}
	return f.(*osFile)
}

// refuse has the kernel's queue refused for good, or not.
func refuse(refused bool) {
	rings.refused.Store(nil)
	if refused {
		rings.refused.Store(&asyncRefusal{errRefused})
	}
}

// Files that are written at the same time hold what was written to each, whether the kernel takes the writes or not.
func TestDurableWritesOfManyFilesAreThere(t *testing.T) {
	defer rings.refused.Store(rings.refused.Load())
	for _, refused := range []bool{false, true} {
		refuse(refused)
		var all sync.WaitGroup
		for i := range 6 {
			f := fileOf(t, 1<<20)
			all.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 1))
				want := make([]byte, 1<<20)
				for range 40 {
					offset := random.Int64N(200) * blockBytes
					b := alignedBytes((1 + random.Int64N(50)) * blockBytes)
					for j := range b {
						b[j] = byte(random.Uint32())
					}
					copy(want[offset:], b)
					if _, err := f.WriteDurable(b, offset); err != nil {
						t.Error(err)
						return
					}
				}
				got := alignedBytes(1 << 20)
				if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
					t.Errorf("file %d does not hold what was written: %v", i, err)
				}
			})
		}
		all.Wait()
		rings.Lock()
		free := len(rings.free)
		rings.Unlock()
		if f := fileOf(t, blockBytes); f.async && !refused && free == 0 && rings.refused.Load() == nil {
			t.Error("no write went by the kernel's queue")
		}
	}
}

// A write that is refused, or that the other way refuses as well, is an error and nothing else.
func TestDurableWriteThatFailsSaysSo(t *testing.T) {
	defer rings.refused.Store(rings.refused.Load())
	f := fileOf(t, 1<<20)
	closed := fileOf(t, 1<<20)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	for name, of := range map[string]*osFile{"closed": closed, "read-only": {File: readOnly, direct: true, async: true}} {
		for _, refused := range []bool{false, true} {
			refuse(refused)
			if _, err := of.WriteDurable(alignedBytes(blockBytes), 0); err == nil {
				t.Errorf("%s, refused %t: no error", name, refused)
			} else if errors.Is(err, errRefused) {
				t.Errorf("%s, refused %t: %v", name, refused, err)
			}
		}
	}
	refuse(false)
	if _, err := f.WriteDurable(alignedBytes(blockBytes), 0); err != nil {
		t.Errorf("after the failures: %v", err)
	}
}

// alone makes a ring the only one, and returns a file that is written by it.
func alone(t *testing.T) (*ring, *osFile) {
	t.Helper()
	r, err := newRing()
	if err != nil {
		t.Skip(err)
	}
	rings.Lock()
	others := rings.free
	rings.free = []*ring{r}
	rings.Unlock()
	refused := rings.refused.Swap(nil)
	t.Cleanup(func() {
		rings.Lock()
		left := rings.free
		rings.free = others
		rings.Unlock()
		rings.refused.Store(refused)
		for _, r := range left {
			r.spent = true
			giveRing(r)
		}
	})
	f := fileOf(t, 1<<20)
	f.async = f.direct
	return r, f
}

// What the kernel has no room for now goes the other way, and the next write may go this way again.
func TestFullQueueIsNoRefusal(t *testing.T) {
	r, f := alone(t)
	filler, zeros := fileOf(t, blockBytes), alignedBytes(blockBytes)
	var err error
	for range 1 << 16 {
		if err = r.submit(filler.File, zeros, 0); err != nil {
			break
		}
	}
	if !errors.Is(err, errBusy) {
		t.Fatalf("a full queue: got %v, want %v", err, errBusy)
	}
	if waited, err := f.WriteDurable(alignedBytes(blockBytes), 0); err != nil || f.async && !waited || rings.refused.Load() != nil {
		t.Errorf("a write beside a full queue: %v, waited: %t, refused for good: %v", err, waited, rings.refused.Load())
	}
}

// A write whose event cannot be waited for in the usual way is durable all the same, and its ring, which would report
// the next write too early, is not used again.
func TestRingThatCannotBeWaitedForIsUsedOnce(t *testing.T) {
	r, f := alone(t)
	event := r.event
	defer event.Close()
	_, closed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	r.event = closed
	b := alignedBytes(blockBytes)
	b[7] = 7
	if _, err := f.WriteDurable(b, 0); err != nil {
		t.Fatal(err)
	}
	got := alignedBytes(blockBytes)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("what was written is not there: %v", err)
	}
	rings.Lock()
	defer rings.Unlock()
	if f.async && len(rings.free) > 0 {
		t.Error("the ring is kept")
	}
}

// The kernel is trusted with the sync only where it is known to keep it.
func TestSyncIsLeftToKnownFileSystems(t *testing.T) {
	for magic, want := range map[uint32]bool{
		0xef53: true, 0x58465342: true, // ext4, xfs
		0x9123683e: false, 0x794c7630: false, 0x6969: false, 0x01021994: false, // btrfs, overlayfs, nfs, tmpfs
		0x65735546: false, 0x2fc12fc1: false, 0xf2f52010: false, // fuse, zfs, f2fs
	} {
		if got := trusted(magic); got != want {
			t.Errorf("file system %#x: got %t, want %t", magic, got, want)
		}
	}
}

// told is what a log says at Open about how it will write, and how many of the groups of one record each a thread waited
// for.
func told(t *testing.T, cfg Config, groups int) (said []map[string]any, stats GroupStats) {
	t.Helper()
	var out bytes.Buffer
	cfg.FileBytes, cfg.Logger = 1<<20, slog.New(slog.NewJSONHandler(&out, nil))
	l, d := driven(t, cfg)
	for range groups {
		put(t, l, Record{Kind: Data, Count: 1, Payload: []byte("payload")})
		writeGroup(t, d)
	}
	stats = l.GroupStats()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(out.Bytes()) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Fatal(err)
		}
		if _, ours := fields["file_system"]; ours {
			said = append(said, fields)
		}
	}
	return said, stats
}

// untrusting is the operating system with all files on a file system that is not trusted with the sync.
type untrusting struct{ osFS }

func (u untrusting) Create(name string, direct bool) (File, error) {
	return distrust(u.osFS.Create(name, direct))
}
func (u untrusting) Open(name string, direct bool) (File, error) {
	return distrust(u.osFS.Open(name, direct))
}

func distrust(f File, err error) (File, error) {
	if err == nil {
		f.(*osFile).async = false
	}
	return f, err
}

// That threads wait is said once, with the reason and the file system, and counted; that none does is not said.
func TestLogTellsThatThreadsWaitForTheDevice(t *testing.T) {
	r, f := alone(t)
	if !f.direct || !syncsAsync(f.File) {
		t.Skip("no asynchronous writes here")
	}
	const groups = 3
	if said, stats := told(t, Config{}, groups); len(said) != 0 || stats.Groups != groups || stats.Waited != 0 {
		t.Errorf("asynchronous writes: said %v, counted %+v", said, stats)
	}
	fallenBack := func(name string, cfg Config, reason string) {
		t.Helper()
		said, stats := told(t, cfg, groups)
		if stats.Groups != groups || stats.Waited != groups {
			t.Errorf("%s: counted %+v", name, stats)
		}
		if len(said) != 1 || !strings.Contains(fmt.Sprint(said[0]["reason"]), reason) || said[0]["file_system"] == "" {
			t.Errorf("%s: said %v, want the reason %q once", name, said, reason)
		}
	}
	fallenBack("untrusted", Config{FS: untrusting{}}, "not known to sync")
	// A kernel that refuses, found out by the log itself: it knows of no context of that number.
	sound := r.context
	r.context = 1
	defer func() { r.context = sound }()
	fallenBack("refused", Config{}, "io_submit: "+syscall.EINVAL.Error())
}

// Of a log that syncs at intervals nothing is said: no group waits for that.
func TestLogThatSyncsAtIntervalsSaysNothingOfWaits(t *testing.T) {
	_, f := alone(t)
	if !f.direct || !syncsAsync(f.File) {
		t.Skip("no asynchronous writes here")
	}
	if said, stats := told(t, Config{FS: untrusting{}, Sync: Policy{Interval: time.Hour}}, 2); len(said) != 0 || stats.Waited != 0 {
		t.Errorf("an interval: said %v, counted %+v", said, stats)
	}
}

// What a log costs per group of 1 MiB, without the garbage of its records.
func TestGroupsAreWrittenWithoutGarbage(t *testing.T) {
	_, f := alone(t)
	if !f.direct || !syncsAsync(f.File) {
		t.Skip("no asynchronous writes here")
	}
	l, d := driven(t, Config{})
	for d.Wanted() {
		if err := d.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	r := Record{Kind: Data, Count: 1, Payload: make([]byte, 128<<10)}
	group := func() {
		for range 8 {
			put(t, l, r)
		}
		writeGroup(t, d)
	}
	for range 4 { // Buffers and slices have grown then.
		group()
	}
	if allocs := testing.AllocsPerRun(20, group); allocs > groupAllocs {
		t.Errorf("%v allocations per group, want %d at most", allocs, groupAllocs)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// groupAllocs: the job, the list of files that it syncs, what pins its buffer for the kernel, and one of the race detector.
const groupAllocs = 4
