//go:build !linux

package wal

import (
	"os"
	"runtime"
	"syscall"
)

// Elsewhere than on Linux the log works through the page cache: good enough to develop on.
const directFlag = 0

// Nothing but EIO is known to be said of an unreadable block.
const (
	errMedium     = syscall.EIO
	errProtection = syscall.EIO
)

func allocate(f *os.File, bytes int64) (taken bool, err error) { return false, f.Truncate(bytes) }

func dataSync(f *os.File) error { return f.Sync() }

func dropCache(*os.File) {}

func takeMemory(bytes int64) ([]byte, error) { return alignedBytes(bytes), nil }

func takeHuge(bytes int64) (b, whole []byte, err error) {
	b = alignedBytes(bytes)
	return b, b, nil
}

func giveMemory([]byte) error { return nil }

func syncsAsync(*os.File) bool { return false }

func (f *osFile) WriteDurable(b []byte, offset int64) (waited bool, err error) {
	return true, f.writeAndSync(b, offset)
}

func (f *osFile) waits(bool) (reason, fileSystem string) {
	return "asynchronous writes are for Linux", runtime.GOOS
}
