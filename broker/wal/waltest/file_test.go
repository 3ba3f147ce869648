package waltest

import (
	"bytes"
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
