package nemesis

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// smallDiskBytes is memory once it is used.
	smallDiskBytes = 3 << 30
	// diskFullBytes: a directory on the small disk that has grown to this is wiped, which is a fault
	// like another; nothing is retained or recycled yet, and a long run would fill it for good.
	diskFullBytes = smallDiskBytes * 2 / 3
	// fillTries is how often a broker may write between our look and our change.
	fillTries = 20
	pageBytes = 4 << 10
)

// smallDisk is a file system in memory whose size we choose. A size below what is used is refused, so
// a full disk is one that is exactly as large as what is on it.
type smallDisk struct{ dir string }

func smallDiskDir(dir string) string { return filepath.Join(dir, "small") }

// mount puts it at its directory. The mount is seen in this process's mount namespace only, which
// `ip netns exec` made, and ends with it.
func (d smallDisk) mount(ctx context.Context) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("mount small disk: %w", err)
	}
	_, err := command(ctx, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", int64(smallDiskBytes)), "tmpfs", d.dir)
	return err
}

// fill leaves room for so many bytes.
func (d smallDisk) fill(ctx context.Context, room int64) error {
	var err error
	for try := range int64(fillTries) {
		var used int64
		if used, err = d.used(); err != nil {
			return err
		}
		size := (used/pageBytes + 1 + try) * pageBytes
		if err = d.resize(ctx, size+room); err == nil {
			return nil
		}
	}
	return err
}

// widen gives the room back.
func (d smallDisk) widen(ctx context.Context) error { return d.resize(ctx, smallDiskBytes) }

func (d smallDisk) resize(ctx context.Context, size int64) error {
	_, err := command(ctx, "mount", "-o", fmt.Sprintf("remount,size=%d", size), d.dir)
	return err
}

func (d smallDisk) used() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		return 0, fmt.Errorf("look at small disk: %w", err)
	}
	return bytesOf(s.Blocks-s.Bfree, s.Bsize), nil
}

// freeBytes is what a directory's file system has left.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("look at disk: %w", err)
	}
	return bytesOf(s.Bavail, s.Bsize), nil
}

// bytesOf takes the types that these have on each system.
func bytesOf[N, S ~int64 | ~uint64 | ~uint32](blocks N, size S) int64 {
	return int64(blocks) * int64(size)
}
