package system

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// FreeBytes is what the disk under a cluster's data still takes; parent is as in the starters.
func FreeBytes(parent string) (int64, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	var s unix.Statfs_t
	if err := unix.Statfs(parent, &s); err != nil {
		return 0, fmt.Errorf("look at the disk of %s: %w", parent, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // other types on other systems
}
