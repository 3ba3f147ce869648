package partition

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// OpenSpill makes a Spill whose file lies in dir, for as long as the process runs. The error is
// errors.ErrUnsupported if the file system knows no files without a name.
func OpenSpill(dir string, logger *slog.Logger) (*Spill, error) {
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("make a file without a name in %s: %w", dir, errors.ErrUnsupported)
	}
	if err != nil {
		return nil, fmt.Errorf("make a file without a name: %w", err)
	}
	size := int64(0)
	return newSpill(logger, func(bytes int) ([]byte, error) {
		// Space is taken first: a page that finds none when it is written would end the process.
		if err := unix.Fallocate(int(f.Fd()), 0, size, int64(bytes)); err != nil {
			return nil, fmt.Errorf("extend the file of indexes: %w", err)
		}
		segment, err := unix.Mmap(int(f.Fd()), size, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("map the file of indexes: %w", err)
		}
		size += int64(bytes)
		return segment, nil
	}), nil
}
