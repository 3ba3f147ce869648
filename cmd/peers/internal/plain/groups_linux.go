package plain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	hugeBytes = 2 << 20
	// ringFiles of fileBytes are written in turn, as a log does that uses its files again.
	ringFiles = 4
	fileBytes = 64 << 20
)

// Groups writes groups of these sizes, one after the other and over again for so long: each by one
// write of aligned memory, on huge pages, past the page cache, and one fdatasync. The blocks have been written before,
// so that no sync has to wait for metadata.
func Groups(ctx context.Context, dir string, groups []int64, window time.Duration) (r Rate, err error) {
	if len(groups) == 0 {
		return Rate{}, errors.New("no groups to write")
	}
	var largest int64
	for _, size := range groups {
		largest = max(largest, size)
	}
	if largest > fileBytes {
		return Rate{}, fmt.Errorf("a group of %d bytes is larger than a file of %d", largest, fileBytes)
	}
	buffer, giveBack, err := onHugePages(max(largest, fillChunkBytes))
	if err != nil {
		return Rate{}, err
	}
	defer func() { err = errors.Join(err, giveBack()) }()
	var files []*os.File
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	for i := range ringFiles {
		f, err := prepared(filepath.Join(dir, fmt.Sprintf("plain-%d", i)), buffer[:fillChunkBytes])
		if err != nil {
			return Rate{}, err
		}
		files = append(files, f)
	}
	began := time.Now()
	at, offset := 0, int64(0)
	for i := 0; time.Since(began) < window && ctx.Err() == nil; i++ {
		size := groups[i%len(groups)]
		if offset+size > fileBytes {
			at, offset = (at+1)%len(files), 0
		}
		if _, err := files[at].WriteAt(buffer[:size], offset); err != nil {
			return Rate{}, fmt.Errorf("write a group: %w", err)
		}
		if err := unix.Fdatasync(int(files[at].Fd())); err != nil {
			return Rate{}, fmt.Errorf("sync a group: %w", err)
		}
		offset += size
		r.Bytes += size
	}
	r.Took = time.Since(began)
	return r, ctx.Err()
}

// onHugePages is memory that direct I/O takes, and takes best: there is little for it to pin, and the device is told of
// few pieces.
func onHugePages(bytes int64) (memory []byte, giveBack func() error, err error) {
	rounded := (bytes + hugeBytes - 1) / hugeBytes * hugeBytes
	whole, err := unix.Mmap(-1, 0, int(rounded+hugeBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, fmt.Errorf("take memory: %w", err)
	}
	shift := (hugeBytes - int64(uintptr(unsafe.Pointer(&whole[0]))%hugeBytes)) % hugeBytes
	// Where the kernel has none to spare, others do.
	_ = unix.Madvise(whole[shift:shift+rounded], unix.MADV_HUGEPAGE)
	memory = whole[shift : shift+bytes]
	for i := range memory {
		memory[i] = byte(i * 31)
	}
	return memory, func() error { return unix.Munmap(whole) }, nil
}

// prepared is a file whose blocks have all been written, and will be written past the page cache
// where the file system allows it.
func prepared(path string, chunk []byte) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("make a file: %w", err)
	}
	for offset := int64(0); offset < fileBytes; offset += int64(len(chunk)) {
		if _, err := f.WriteAt(chunk, offset); err != nil {
			return nil, errors.Join(fmt.Errorf("fill a file: %w", err), f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("sync a file: %w", err), f.Close())
	}
	return f, nil
}
