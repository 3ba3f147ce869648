//go:build !linux

package partition

import (
	"errors"
	"fmt"
	"log/slog"
)

// OpenSpill makes a Spill, on Linux; elsewhere the error is errors.ErrUnsupported.
func OpenSpill(dir string, _ *slog.Logger) (*Spill, error) {
	return nil, fmt.Errorf("make a file without a name in %s: %w", dir, errors.ErrUnsupported)
}
