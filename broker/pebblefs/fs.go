// Package pebblefs is what every Pebble of a node needs of a file system: an order in which names become
// durable, and patience with a full disk.
package pebblefs

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FullDiskPause is how long a write waits on a full disk before it is tried again. Without it Pebble
// tries a flush again at once, and again: three quarters of a core, and thousands of lines a second.
const FullDiskPause = time.Second

// Wrap makes fs orderly and patient. what names the store in the line that tells of a full disk.
func Wrap(fs vfs.FS, what string, pause time.Duration, logger *slog.Logger) vfs.FS {
	return vfs.OnDiskFull(orderly{fs}, func() {
		logger.Warn("disk is full, "+what+" waits for space", slog.Int64("pause_ms", pause.Milliseconds()))
		<-time.After(pause)
	})
}

// orderly makes durable what a marker names before the marker is made. Pebble syncs a new manifest's
// bytes, then makes a marker that bears its name, then syncs the directory once for both: where a file
// system keeps the second entry of a directory and loses the first, the store cannot be opened again.
type orderly struct{ vfs.FS }

// Create implements vfs.FS.
func (o orderly) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(o.PathBase(name), "marker.") {
		if err := SyncDir(o.FS, o.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return o.FS.Create(name, category)
}

// Unwrap implements vfs.FS.
func (o orderly) Unwrap() vfs.FS { return o.FS }

// MakeDir makes dir, and its name in the directory above durable.
func MakeDir(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	return SyncDir(fs, filepath.Dir(dir))
}

// SyncDir makes the names in a directory durable.
func SyncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
