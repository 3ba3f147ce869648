package waltest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// A durable write is there after any loss of power; one before it that nobody synced need not be.
func TestDurableWriteSyncsNothingElse(t *testing.T) {
	lost := false
	for seed := range uint64(40) {
		fs := New()
		f, err := fs.Create("d/f", false)
		if err != nil {
			t.Fatal(err)
		}
		if err := fs.SyncDir("d"); err != nil {
			t.Fatal(err)
		}
		before, durable := bytes.Repeat([]byte{1}, blockBytes), bytes.Repeat([]byte{2}, blockBytes)
		if _, err := f.WriteAt(before, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteDurable(durable, blockBytes); err != nil {
			t.Fatal(err)
		}
		f, err = fs.Crash(rand.New(rand.NewPCG(seed, 1))).Open("d/f", false)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2*blockBytes)
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got[blockBytes:], durable) {
			t.Fatalf("seed %d: the durable write is lost: %v", seed, err)
		}
		lost = lost || !bytes.Equal(got[:blockBytes], before)
	}
	if !lost {
		t.Error("what was not synced was never lost")
	}
}

// A loss of power before a sync leaves a file that was made shorter as it was, or as it is; after one as it is.
func TestShrunkFileIsLongOrShortAfterACrash(t *testing.T) {
	for _, synced := range []bool{false, true} {
		sizes := map[int]bool{}
		for seed := range uint64(20) {
			f := New()
			open, err := f.Create("d/f", false)
			if err == nil {
				_, err = open.WriteAt(bytes.Repeat([]byte{7}, 4*blockBytes), 0)
			}
			err = errors.Join(err, open.Sync(), f.SyncDir("d"), f.Shrink("d/f", blockBytes))
			if synced {
				err = errors.Join(err, open.Sync())
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := len(f.Content("d/f")); n != blockBytes {
				t.Fatalf("got %d bytes, want %d", n, blockBytes)
			}
			left := f.Crash(rand.New(rand.NewPCG(seed, 1))).Content("d/f")
			sizes[len(left)] = true
			if !bytes.Equal(left, bytes.Repeat([]byte{7}, len(left))) {
				t.Errorf("seed %d: what is left of the file is not what was written", seed)
			}
		}
		if !sizes[blockBytes] || sizes[4*blockBytes] == synced || len(sizes) > 2 {
			t.Errorf("synced %t: got sizes %v, want %d, and %d only before the sync", synced, sizes, blockBytes, 4*blockBytes)
		}
	}
}
