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
		if f := fileOf(t, blockBytes); f.direct && !refused && free == 0 && !rings.refused.Load() {
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
	for name, of := range map[string]*osFile{"closed": closed, "read-only": {File: readOnly, direct: true}} {
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
