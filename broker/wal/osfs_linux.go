package wal

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const directFlag = unix.O_DIRECT

// What the block layer says, beside EIO, of a sector that the medium has lost, and of one whose protection information
// does not match it. Direct reads hand both through.
const (
	errMedium     = unix.ENODATA
	errProtection = unix.EILSEQ
)

// allocate takes space for the file without writing it, where the file system can.
func allocate(f *os.File, bytes int64) (taken bool, err error) {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, bytes)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP):
			return false, f.Truncate(bytes)
		default:
			return err == nil, err
		}
	}
}

func dataSync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// dropCache makes a buffered file be read from the device: after a failed sync of an earlier process
// the page cache can hold clean pages that never reached it, and recovery would believe them.
func dropCache(f *os.File) {
	// Advice only: where it is refused, the cache is all there is.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// takeMemory returns whole blocks outside of the heap: the collector lets a heap grow to twice what it
// holds, and a cache would count twice. Only giveMemory frees them.
func takeMemory(bytes int64) ([]byte, error) {
	return unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

// takeHuge is takeMemory on huge pages where the kernel has them to spare, and on others where not. It is whole that is
// given back.
func takeHuge(bytes int64) (b, whole []byte, err error) {
	rounded := (bytes + hugePageBytes - 1) &^ (hugePageBytes - 1)
	if whole, err = takeMemory(rounded + hugePageBytes); err != nil {
		return nil, nil, err
	}
	skip := -int64(uintptr(unsafe.Pointer(unsafe.SliceData(whole)))) & (hugePageBytes - 1)
	// Advice only. What lies around the huge pages is never touched, so it takes no memory.
	_ = unix.Madvise(whole[skip:skip+rounded], unix.MADV_HUGEPAGE)
	return whole[skip : skip+bytes : skip+bytes], whole, nil
}

func giveMemory(b []byte) error { return unix.Munmap(b) }
