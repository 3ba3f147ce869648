package node

import (
	"fmt"
	"log/slog"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// heapShare is how much of the memory the heap grows to before the collector works for every byte: the log's buffers,
	// what is read from disk and the indexes lie outside of it.
	heapShare = 0.75
	// The newest batches have a tailShare of the memory, within bounds. A heap of them takes up to twice as much.
	tailShare = 64
	tailLeast = 64 << 20
	tailMost  = 512 << 20
)

const (
	attrMemory = "memory_bytes"
	attrTail   = "tail_bytes"
)

// memory is how much the process may use: what its cgroup may, or the machine has, whichever is less.
func memory() (bytes uint64, err error) {
	if bytes, err = memlimit.FromSystem(); err != nil {
		return 0, fmt.Errorf("find out how much memory there is: %w", err)
	}
	if limit, err := memlimit.FromCgroup(); err == nil { // Without a cgroup, or a limit of it, there is none.
		bytes = min(bytes, limit)
	}
	return bytes, nil
}

// limitMemory lets the collector work before the kernel ends the process, and returns the bytes of the newest batches
// that are kept. The limit is GOMEMLIMIT's, if that is set.
func limitMemory(tail int64, logger *slog.Logger) (tailBytes int64, err error) {
	bytes, err := memory()
	if err != nil {
		return 0, err
	}
	if _, err := memlimit.Set(memlimit.WithProvider(memlimit.Limit(bytes)), memlimit.WithRatio(heapShare)); err != nil {
		return 0, fmt.Errorf("limit the heap: %w", err)
	}
	tailBytes = tailOf(tail, bytes)
	logger.Info("memory", attrMemory, bytes, attrTail, tailBytes)
	return tailBytes, nil
}

// tailOf is what wal.tail.bytes asks for of so much memory; -1 is what suits it.
func tailOf(configured int64, memory uint64) int64 {
	if configured >= 0 {
		return max(1, configured) // A store without a bound has one of its own.
	}
	return int64(min(max(memory/tailShare, tailLeast), tailMost))
}
