package datadir

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Space returns the size of the file system under the directory, and what this process may still
// use of it, in bytes.
func (d *Dir) Space() (total, usable int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(d.path, &s); err != nil {
		return 0, 0, fmt.Errorf("look at disk of %s: %w", d.path, err)
	}
	return bytesOf(s.Blocks, s.Bsize), bytesOf(s.Bavail, s.Bsize), nil
}

// bytesOf takes the types that these have on each system.
func bytesOf[N, S ~int64 | ~uint64 | ~uint32](blocks N, size S) int64 {
	return int64(blocks) * int64(size)
}
