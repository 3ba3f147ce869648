package wal

import (
	"errors"
	"io"
	"os"
)

// errReadOnly: something was to be changed through a file system that changes nothing. A bug of the caller.
var errReadOnly = errors.New("file system is read-only")

// ReadOnly is the operating system's file system for somebody who only looks: files are opened for
// reading, everything else is refused.
func ReadOnly() FS { return readOnlyFS{} }

type readOnlyFS struct{}

func (readOnlyFS) Open(name string, direct bool) (File, error) {
	f, err := openOS(name, os.O_RDONLY, direct)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f}, nil
}

func (readOnlyFS) List(dir string) ([]string, error) { return osFS{}.List(dir) }

func (readOnlyFS) MakeDir(string) error              { return errReadOnly }
func (readOnlyFS) Create(string, bool) (File, error) { return nil, errReadOnly }
func (readOnlyFS) Rename(string, string) error       { return errReadOnly }
func (readOnlyFS) Remove(string) error               { return errReadOnly }
func (readOnlyFS) SyncDir(string) error              { return errReadOnly }
func (readOnlyFS) Lock(string) (io.Closer, error)    { return nil, errReadOnly }

// readOnlyFile is a file of a readOnlyFS.
type readOnlyFile struct{ File }

func (readOnlyFile) WriteAt([]byte, int64) (int, error)       { return 0, errReadOnly }
func (readOnlyFile) Allocate(int64) (bool, error)             { return false, errReadOnly }
func (readOnlyFile) Sync() error                              { return errReadOnly }
func (readOnlyFile) WriteDurable([]byte, int64) (bool, error) { return false, errReadOnly }
