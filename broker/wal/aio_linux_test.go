package wal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
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

// Files that are written at the same time hold what was written to each, whether the kernel takes the writes or not.
func TestDurableWritesOfManyFilesAreThere(t *testing.T) {
	defer rings.refused.Store(rings.refused.Load())
	for _, refused := range []bool{false, true} {
		rings.refused.Store(refused)
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
					if err := f.WriteDurable(b, offset); err != nil {
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
		if f := fileOf(t, blockBytes); f.async && !refused && free == 0 && !rings.refused.Load() {
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
			rings.refused.Store(refused)
			if err := of.WriteDurable(alignedBytes(blockBytes), 0); err == nil {
				t.Errorf("%s, refused %t: no error", name, refused)
			} else if errors.Is(err, errRefused) {
				t.Errorf("%s, refused %t: %v", name, refused, err)
			}
		}
	}
	rings.refused.Store(false)
	if err := f.WriteDurable(alignedBytes(blockBytes), 0); err != nil {
		t.Errorf("after the failures: %v", err)
	}
}

// alone makes r the only ring, and returns a file that is written by it.
func alone(t *testing.T, r *ring) *osFile {
	t.Helper()
	if r == nil {
		t.Skip("the kernel has no ring for us")
	}
	rings.Lock()
	others := rings.free
	rings.free = []*ring{r}
	rings.Unlock()
	refused := rings.refused.Swap(false)
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
	return f
}

// What the kernel has no room for now goes the other way, and the next write may go this way again.
func TestFullQueueIsNoRefusal(t *testing.T) {
	r := newRing()
	f := alone(t, r)
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
	if err := f.WriteDurable(alignedBytes(blockBytes), 0); err != nil || rings.refused.Load() {
		t.Errorf("a write beside a full queue: %v, refused for good: %t", err, rings.refused.Load())
	}
}

// A write whose event cannot be waited for in the usual way is durable all the same, and its ring, which would report
// the next write too early, is not used again.
func TestRingThatCannotBeWaitedForIsUsedOnce(t *testing.T) {
	r := newRing()
	f := alone(t, r)
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
	if err := f.WriteDurable(b, 0); err != nil {
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
