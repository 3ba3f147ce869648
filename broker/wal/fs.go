package wal

import "io"

// FS is what the log needs of a file system. Names are full paths. All methods may be called
// concurrently. An error for want of space wraps ErrNoSpace.
type FS interface {
	// MakeDir makes dir and its parents; one that exists is fine. A new one survives a crash only once
	// SyncDir of the one above has returned.
	MakeDir(dir string) error
	// Create makes a new file for reading and writing; one that exists is an error. direct asks for
	// I/O that bypasses the page cache; File.Direct tells whether it was granted.
	Create(name string, direct bool) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string, direct bool) (File, error)
	// Rename replaces to. It survives a crash only once SyncDir has returned, as do Create and Remove.
	Rename(from, to string) error
	Remove(name string) error
	// List returns the base names of the files in dir.
	List(dir string) ([]string, error)
	SyncDir(dir string) error
	// Lock takes the lock file of that name for this process until it is closed or the process ends.
	// A lock that is held is a *LockedError.
	Lock(name string) (io.Closer, error)
}

// File is one file of an FS. With direct I/O every offset, length and buffer address is a multiple
// of 4 KiB. Methods may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Allocate makes the file that large. If it has taken the space, then writes below cannot want for it.
	Allocate(bytes int64) (taken bool, err error)
	// Sync returns when what was written is on stable storage (fdatasync). After an error nothing is
	// known about what was written since the last success.
	Sync() error
	// WriteDurable is WriteAt, and Sync for what it writes: of what was written before it says nothing. After an
	// error nothing is known about what it was to write. waited tells that a thread had to wait for the device, since
	// the system would not carry the write out by itself: that costs processor time, nothing else.
	WriteDurable(b []byte, offset int64) (waited bool, err error)
	Direct() bool
}
