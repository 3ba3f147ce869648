package waltest

import (
	"bytes"
	"maps"
	"math/rand/v2"
)

const (
	sectorBytes = 512
	blockBytes  = 4096
)

// page is a block of a file without the sectors of zeros at its end: most groups of a simulation are
// small. It is never changed once it is in an inode, so that what is current and what is durable, and
// a file and its copies, share it.
type page []byte

var zeroPage [blockBytes]byte

// makePage copies a block, or the front of one.
func makePage(b []byte) page {
	for len(b) > 0 {
		last := (len(b) - 1) / sectorBytes * sectorBytes
		if !bytes.Equal(b[last:], zeroPage[:len(b)-last]) {
			return append(page(nil), b...)
		}
		b = b[:last]
	}
	return nil
}

// full returns the whole block, to be changed.
func (p page) full() (block [blockBytes]byte) {
	copy(block[:], p)
	return block
}

// inode is a file's content, current and durable. FS.mu guards it.
type inode struct {
	// name that the file has now, whatever it was opened as.
	name string
	// durableSize is above size once the file was made shorter, until a sync.
	size, durableSize     int64
	current, durablePages []page
	// dirty holds a bit for each sector of each block that differs between the two, as far as the
	// device knows.
	dirty []uint8
	// dirtyFrom and dirtyTo bound the blocks that are dirty.
	dirtyFrom, dirtyTo int
	// lost are the blocks that the device does not give back, until they are written again. It is never changed.
	lost map[int64]bool
}

func (n *inode) clone() *inode {
	return &inode{
		name:         n.name,
		size:         n.size,
		durableSize:  n.durableSize,
		current:      append([]page(nil), n.current...),
		durablePages: append([]page(nil), n.durablePages...),
		dirty:        append([]uint8(nil), n.dirty...),
		dirtyFrom:    n.dirtyFrom,
		dirtyTo:      n.dirtyTo,
		lost:         n.lost,
	}
}

// gives reports whether the device gives back what lies there.
func (n *inode) gives(offset, bytes int64) bool {
	for block := range n.lost {
		if offset < (block+1)*blockBytes && offset+bytes > block*blockBytes {
			return false
		}
	}
	return true
}

// lose makes blocks unreadable, or those that are written anew readable.
func (n *inode) lose(offset, bytes int64, lost bool) {
	if len(n.lost) == 0 && !lost {
		return
	}
	n.lost = maps.Clone(n.lost)
	if n.lost == nil {
		n.lost = make(map[int64]bool)
	}
	for block := offset / blockBytes; block*blockBytes < offset+bytes; block++ {
		if delete(n.lost, block); lost {
			n.lost[block] = true
		}
	}
}

// grow makes the file longer by zeros.
func (n *inode) grow(size int64) {
	n.size = max(n.size, size)
	missing := int((n.size+blockBytes-1)/blockBytes) - len(n.current)
	if missing > 0 {
		n.current = append(n.current, make([]page, missing)...)
		n.durablePages = append(n.durablePages, make([]page, missing)...)
		n.dirty = append(n.dirty, make([]uint8, missing)...)
	}
}

// shrink makes the file shorter, whole blocks long.
func (n *inode) shrink(size int64) {
	if size < n.size {
		n.size = size
		clear(n.current[size/blockBytes:])
	}
}

// read copies what reads see, and returns how much of b is in the file.
func (n *inode) read(b []byte, offset int64) int {
	return readPages(b, n.current, offset, n.size)
}

func readPages(b []byte, pages []page, offset, size int64) int {
	if offset >= size {
		return 0
	}
	b = b[:min(int64(len(b)), size-offset)]
	for done := 0; done < len(b); {
		block, from := (offset+int64(done))/blockBytes, (offset+int64(done))%blockBytes
		part := b[done:min(len(b), done+int(blockBytes-from))]
		p := pages[block]
		clear(part[copy(part, p[min(from, int64(len(p))):]):])
		done += len(part)
	}
	return len(b)
}

// write changes what reads see; the file is long enough.
func (n *inode) write(b []byte, offset int64) {
	n.lose(offset, int64(len(b)), false)
	first, end := int(offset/blockBytes), int((offset+int64(len(b))+blockBytes-1)/blockBytes)
	if n.dirtyFrom == n.dirtyTo {
		n.dirtyFrom, n.dirtyTo = first, end
	}
	n.dirtyFrom, n.dirtyTo = min(n.dirtyFrom, first), max(n.dirtyTo, end)
	for len(b) > 0 {
		block, from := offset/blockBytes, offset%blockBytes
		part := b[:min(int64(len(b)), blockBytes-from)]
		n.current[block] = withPart(n.current[block], part, from)
		for sector := from / sectorBytes; sector*sectorBytes < from+int64(len(part)); sector++ {
			n.dirty[block] |= 1 << sector
		}
		b, offset = b[len(part):], offset+int64(len(part))
	}
}

// withPart is the page p with other bytes from that place on.
func withPart(p page, part []byte, from int64) page {
	if len(part) == blockBytes {
		return makePage(part)
	}
	changed := p.full()
	copy(changed[from:], part)
	return makePage(changed[:])
}

// sync makes durable what is current.
func (n *inode) sync() {
	if n.size < n.durableSize {
		clear(n.durablePages[n.size/blockBytes:])
	}
	n.durableSize = n.size
	for block := n.dirtyFrom; block < n.dirtyTo; block++ {
		n.durablePages[block] = mix(n.durablePages[block], n.current[block], n.dirty[block])
	}
	n.forget()
}

// syncRange makes durable what is current there, and nothing else; it is whole blocks.
func (n *inode) syncRange(offset, bytes int64) {
	n.durableSize = max(n.durableSize, offset+bytes)
	for block := offset / blockBytes; block*blockBytes < offset+bytes; block++ {
		n.durablePages[block] = mix(n.durablePages[block], n.current[block], n.dirty[block])
		n.dirty[block] = 0
	}
	if int64(n.dirtyFrom)*blockBytes >= offset && int64(n.dirtyTo)*blockBytes <= offset+bytes {
		n.dirtyFrom, n.dirtyTo = 0, 0
	}
}

// forget makes the dirty pages clean without a write, as a kernel does whose sync has failed.
func (n *inode) forget() {
	clear(n.dirty[n.dirtyFrom:n.dirtyTo])
	n.dirtyFrom, n.dirtyTo = 0, 0
}

// revert makes what a failed sync forgot unread as well: without the page cache that shows it.
func (n *inode) revert() {
	for block, sectors := range n.dirty {
		n.current[block] = mix(n.durablePages[block], n.current[block], sectors)
	}
}

// mix is the page base with the chosen sectors of another.
func mix(base, over page, sectors uint8) page {
	switch sectors {
	case 0:
		return base
	case 1<<(blockBytes/sectorBytes) - 1:
		return over
	}
	mixed, other := base.full(), over.full()
	for sector := range blockBytes / sectorBytes {
		if from := sector * sectorBytes; sectors&(1<<sector) != 0 {
			copy(mixed[from:from+sectorBytes], other[from:])
		}
	}
	return makePage(mixed[:])
}

// crash returns an inode with a random choice of the dirty sectors, or of whole blocks.
func (n *inode) crash(random *rand.Rand) *inode {
	keep := survivors(random)
	c := &inode{name: n.name, size: n.durableSize, lost: n.lost}
	if random.IntN(2) == 0 {
		c.size = n.size
	}
	c.grow(c.size)
	copy(c.current, n.durablePages)
	whole := random.IntN(2) == 0
	for block, sectors := range n.dirty {
		if sectors == 0 {
			continue
		}
		kept := keptSectors(sectors, whole, keep)
		if block < len(c.current) {
			c.current[block] = mix(c.current[block], n.current[block], kept)
		}
	}
	c.trim()
	c.durableSize = c.size
	copy(c.durablePages, c.current)
	return c
}

// keptSectors draws which of the sectors survive, all alike or each for itself.
func keptSectors(sectors uint8, whole bool, keep func() bool) (kept uint8) {
	if whole {
		if keep() {
			return sectors
		}
		return 0
	}
	for sector := range blockBytes / sectorBytes {
		if sectors&(1<<sector) != 0 && keep() {
			kept |= 1 << sector
		}
	}
	return kept
}

// trim clears what the last block holds beyond the end of the file.
func (n *inode) trim() {
	if rest := n.size % blockBytes; rest != 0 {
		last := &n.current[n.size/blockBytes]
		*last = withPart(*last, zeroPage[:blockBytes-rest], rest)
	}
}

func (n *inode) content() []byte {
	b := make([]byte, n.size)
	n.read(b, 0)
	return b
}

// replace makes b the content, current and durable.
func (n *inode) replace(b []byte) {
	*n = inode{name: n.name}
	n.grow(int64(len(b)))
	n.write(b, 0)
	n.sync()
}
