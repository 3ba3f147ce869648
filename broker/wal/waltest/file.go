package waltest

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"unsafe"

	"outrigger/broker/wal"
)

// file is an open inode.
type file struct {
	fs     *FS
	node   *inode
	direct bool
	closed bool
}

func (f *file) Direct() bool { return f.direct }

func (f *file) name() string {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.name
}

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.size, f.usableLocked()
}

func (f *file) usableLocked() error {
	switch {
	case f.closed:
		return fmt.Errorf("%s: file is closed", f.node.name)
	case f.fs.dead:
		return ErrCrashed
	default:
		return nil
	}
}

// aligned refuses what a device would refuse.
func (f *file) aligned(b []byte, offset int64) error {
	address := int64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	if f.direct && (address|offset|int64(len(b)))%blockBytes != 0 {
		return fmt.Errorf("%s: direct I/O of %d bytes at byte %d: %w",
			f.name(), len(b), offset, syscall.EINVAL)
	}
	return nil
}

func (f *file) ReadAt(b []byte, offset int64) (int, error) {
	if err := f.aligned(b, offset); err != nil {
		return 0, err
	}
	op := Op{Verb: Read, Name: f.name(), Offset: offset, Bytes: int64(len(b))}
	if _, err := f.fs.begin(op); err != nil {
		return 0, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usableLocked(); err != nil {
		return 0, err
	}
	if !f.node.gives(offset, int64(len(b))) {
		return 0, fmt.Errorf("read %s: %w", f.node.name, syscall.EIO)
	}
	n := f.node.read(b, offset)
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.aligned(b, offset); err != nil {
		return 0, err
	}
	op := Op{Verb: Write, Name: f.name(), Offset: offset, Bytes: int64(len(b))}
	last, err := f.fs.begin(op)
	var amiss *Amiss
	if err != nil && !errors.As(err, &amiss) {
		return 0, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, fmt.Errorf("%s: file is closed", f.node.name)
	}
	if err := f.growLocked(offset + int64(len(b))); err != nil {
		return 0, err
	}
	if amiss != nil {
		f.fs.writeAmissLocked(f.node, amiss, b, offset)
	} else {
		f.node.write(b, offset)
	}
	if last {
		return 0, ErrCrashed
	}
	return len(b), nil
}

func (f *file) growLocked(size int64) error {
	grown := size - f.node.size
	if grown <= 0 {
		return nil
	}
	if f.fs.capacity > 0 && f.fs.totalLocked()+grown > f.fs.capacity {
		return fmt.Errorf("%s: %w", f.node.name, wal.ErrNoSpace)
	}
	f.node.grow(size)
	return nil
}

func (f *file) Allocate(bytes int64) (taken bool, err error) {
	last, err := f.fs.begin(Op{Verb: Allocate, Name: f.name(), Bytes: bytes})
	if err != nil {
		return false, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if last {
		return false, ErrCrashed
	}
	return true, f.growLocked(bytes)
}

func (f *file) Sync() error { return f.sync((*inode).sync) }

// sync fails, dies, or does what makes something durable.
func (f *file) sync(durable func(*inode)) error {
	last, err := f.fs.begin(Op{Verb: Sync, Name: f.name()})
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err != nil {
		if !errors.Is(err, ErrCrashed) {
			f.node.forget()
		}
		return err
	}
	if last {
		return ErrCrashed
	}
	durable(f.node)
	return f.usableLocked()
}

// WriteDurable is two operations, so that either may fail, and power be lost between them. What was written before
// stays as it was.
func (f *file) WriteDurable(b []byte, offset int64) (waited bool, err error) {
	if _, err := f.WriteAt(b, offset); err != nil {
		return false, err
	}
	return false, f.sync(func(n *inode) { n.syncRange(offset, int64(len(b))) })
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fmt.Errorf("%s: closed twice", f.node.name)
	}
	f.closed = true
	return nil
}
