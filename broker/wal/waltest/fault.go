package waltest

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"outrigger/broker/wal"
)

// Amiss is how a write goes wrong without anybody being told: it reports success, as does the sync
// after it. An interceptor returns one as the error of a Write. Only what a caller says is drawn at
// random: the device itself has no luck of its own.
type Amiss struct {
	// Blocks of the write that go amiss, counted in 4 KiB from its start; nil means all.
	Blocks []int
	// Elsewhere is where they land, at Offset of that file; "" means that they are lost. What the
	// right place held before is still there.
	Elsewhere string
	Offset    int64
}

// Error is not seen by who writes.
func (a *Amiss) Error() string {
	if a.Elsewhere == "" {
		return "write is lost"
	}
	return fmt.Sprintf("write goes to %s at byte %d", a.Elsewhere, a.Offset)
}

// Lose returns the loss of a write, or of some of its blocks.
func Lose(random *rand.Rand, op Op) *Amiss { return &Amiss{Blocks: someBlocks(random, op)} }

// Misdirect returns the loss of a write, or of some of its blocks, to another block of any file with
// that suffix in the directory of the right one; nil if there is none.
func (f *FS) Misdirect(random *rand.Rand, op Op, suffix string) *Amiss {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, name := range sortedNames(f.names) {
		if filepath.Dir(name) == filepath.Dir(op.Name) && filepath.Ext(name) == suffix &&
			f.names[name].size >= blockBytes {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	a := &Amiss{Blocks: someBlocks(random, op), Elsewhere: names[random.IntN(len(names))]}
	a.Offset = random.Int64N(f.names[a.Elsewhere].size/blockBytes) * blockBytes
	return a
}

// someBlocks draws all of the blocks of a write, or one.
func someBlocks(random *rand.Rand, op Op) []int {
	if random.IntN(2) == 0 || op.Bytes <= blockBytes {
		return nil
	}
	return []int{random.IntN(int(op.Bytes / blockBytes))}
}

// Flip flips one bit of what is durable, and of what is read, in that part of a file, and says where;
// it does nothing, and says -1, if there is no such part.
func (f *FS) Flip(random *rand.Rand, name string, from, to int64) (offset int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.names[name]
	if node == nil || node.size < to {
		return -1
	}
	offset = from + random.Int64N(to-from)
	mask := byte(1) << random.IntN(8)
	block, at := offset/blockBytes, offset%blockBytes
	for _, pages := range [][]page{node.current, node.durablePages} {
		flipped := pages[block].full()
		flipped[at] ^= mask
		pages[block] = makePage(flipped[:])
	}
	return offset
}

// Unread makes the blocks of 4 KiB unreadable that lie in that part of a file: the device answers EIO for every read that
// touches them, whatever name the file gets, until they are written again.
func (f *FS) Unread(name string, offset, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[name].lose(offset, bytes, true)
}

// writeAmissLocked does what is left of a write that goes wrong.
func (f *FS) writeAmissLocked(node *inode, amiss *Amiss, b []byte, offset int64) {
	wrong := make(map[int]bool)
	for _, block := range amiss.Blocks {
		wrong[block] = true
	}
	for block := 0; block*blockBytes < len(b); block++ {
		part := b[block*blockBytes : min(len(b), (block+1)*blockBytes)]
		at := int64(block * blockBytes)
		target := f.names[amiss.Elsewhere]
		switch {
		case len(wrong) > 0 && !wrong[block]:
			node.write(part, offset+at)
		case target != nil && amiss.Offset+at+int64(len(part)) <= target.size:
			target.write(part, amiss.Offset+at)
		}
	}
}

// Used is the size of all files, as SetCapacity bounds it.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.totalLocked()
}

// totalLocked is the size of all files.
func (f *FS) totalLocked() (total int64) {
	for _, node := range f.names {
		total += node.size
	}
	return total
}

var _ wal.FS = (*FS)(nil)
