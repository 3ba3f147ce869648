package node

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"testing"
)

func TestNewestBatchesHaveAShareOfTheMemory(t *testing.T) {
	for _, c := range []struct {
		configured int64
		memory     uint64
		want       int64
	}{
		{-1, 1 << 30, 64 << 20},
		{-1, 16 << 30, 256 << 20},
		{-1, 1 << 40, 512 << 20},
		{1 << 20, 16 << 30, 1 << 20},
		{0, 16 << 30, 1},
	} {
		if got := tailOf(c.configured, c.memory); got != c.want {
			t.Errorf("wal.tail.bytes=%d has %d bytes of %d, want %d", c.configured, got, c.memory, c.want)
		}
	}
}

// Failure mode: the kernel ends a broker whose collector thought that there was more memory.
func TestHeapHasALimitBelowTheMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for _, name := range []string{"GOMEMLIMIT", "AUTOMEMLIMIT"} {
		t.Setenv(name, "") // which puts it back
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	tail, err := limitMemory(-1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := memory()
	if err != nil {
		t.Fatal(err)
	}
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 || uint64(limit) >= bytes || uint64(limit) < bytes/2 {
		t.Errorf("the heap may have %d of %d bytes", limit, bytes)
	}
	if tail < tailLeast || tail > tailMost {
		t.Errorf("the newest batches have %d bytes", tail)
	}
}
