package waltest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
	"syscall"
	"unsafe"

	"outrigger/broker/wal"
)

const (
	sectorBytes = 512
	blockBytes  = 4096
)

// inode is a file's content, current and durable. FS.mu guards it.
type inode struct {
	// name that the file has now, whatever it was opened as.
	name             string
	current, durable []byte
	// dirty sectors differ between the two, as far as the device knows.
	dirty map[int64]bool
}

func (n *inode) clone() *inode {
	c := &inode{
		name:    n.name,
		current: append([]byte(nil), n.current...),
		durable: append([]byte(nil), n.durable...),
		dirty:   make(map[int64]bool),
	}
	for sector := range n.dirty {
		c.dirty[sector] = true
	}
	return c
}

// crash returns an inode with a random choice of the dirty sectors, or of whole blocks.
func (n *inode) crash(random *rand.Rand) *inode {
	keep := survivors(random)
	content := append([]byte(nil), n.durable...)
	if random.IntN(2) == 0 && len(n.current) > len(content) {
		content = append(content, make([]byte, len(n.current)-len(content))...)
	}
	var sectors []int64
	for sector := range n.dirty {
		sectors = append(sectors, sector)
	}
	sort.Slice(sectors, func(i, k int) bool { return sectors[i] < sectors[k] })
	whole := random.IntN(2) == 0
	block, kept := int64(-1), false
	for _, sector := range sectors {
		if at := sector * sectorBytes / blockBytes; !whole || at != block {
			block, kept = at, keep()
		}
		if kept {
			from := sector * sectorBytes
			to := min(from+sectorBytes, int64(len(n.current)), int64(len(content)))
			if from < to {
				copy(content[from:to], n.current[from:to])
			}
		}
	}
	return &inode{
		name:    n.name,
		current: content,
		durable: append([]byte(nil), content...),
		dirty:   make(map[int64]bool),
	}
}

func (n *inode) sync() {
	if grown := len(n.current) - len(n.durable); grown > 0 {
		n.durable = append(n.durable, make([]byte, grown)...)
	}
	for sector := range n.dirty {
		from := sector * sectorBytes
		to := min(from+sectorBytes, int64(len(n.current)))
		copy(n.durable[from:to], n.current[from:to])
	}
	clear(n.dirty)
}

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
	return int64(len(f.node.current)), f.usableLocked()
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
	if offset >= int64(len(f.node.current)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.current[offset:])
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
	if err != nil {
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
	copy(f.node.current[offset:], b)
	for at := offset / sectorBytes; at*sectorBytes < offset+int64(len(b)); at++ {
		f.node.dirty[at] = true
	}
	if last {
		return 0, ErrCrashed
	}
	return len(b), nil
}

func (f *file) growLocked(size int64) error {
	grown := size - int64(len(f.node.current))
	if grown <= 0 {
		return nil
	}
	var total int64
	for _, node := range f.fs.names {
		total += int64(len(node.current))
	}
	if f.fs.capacity > 0 && total+grown > f.fs.capacity {
		return fmt.Errorf("%s: %w", f.node.name, wal.ErrNoSpace)
	}
	f.node.current = append(f.node.current, make([]byte, grown)...)
	return nil
}

func (f *file) Allocate(bytes int64) error {
	last, err := f.fs.begin(Op{Verb: Allocate, Name: f.name(), Bytes: bytes})
	if err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if last {
		return ErrCrashed
	}
	return f.growLocked(bytes)
}

func (f *file) Sync() error {
	last, err := f.fs.begin(Op{Verb: Sync, Name: f.name()})
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err != nil {
		if !errors.Is(err, ErrCrashed) {
			clear(f.node.dirty)
		}
		return err
	}
	if last {
		return ErrCrashed
	}
	f.node.sync()
	return f.usableLocked()
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
