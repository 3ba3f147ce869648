package wal

import (
	"context"
	"slices"
	"sync"
)

const (
	// regionBytes is what the read cache holds and reads at once. Files are cut into regions; the last
	// one of a file may be shorter.
	regionBytes = 1 << 20
	// regionsAhead is how many regions are read ahead of who reads in order, by regionReaders at a time.
	regionsAhead  = 4
	regionReaders = 2
	// regionsNoted is how many regions are remembered that were touched once.
	regionsNoted = 256
)

// regions is the cache of cold reads: of what lies far behind the tail that is kept in memory. Records of
// all partitions are mixed in a file, so consumers that lag in the same place want the same regions; each
// is read once, and those that follow are read before anybody asks.
//
// Only durable bytes that will never change are kept: regions wholly below the durable end. Checksums
// are verified by whoever decodes, each time; bytes that fail are read again past the cache, so that
// damage is what the device says and not what memory does.
type regions struct {
	// max is how many regions are kept, 0 for no cache.
	max int
	// ahead are regions to read before they are asked for. A full queue drops: nobody waits for it.
	ahead chan extentRegion

	mu struct {
		sync.Mutex
		all map[regionKey]*region
		// noted were touched once, oldest first: one read by itself is not worth a region.
		noted []regionKey
		clock uint64
	}
}

type regionKey struct {
	file  uint64
	index int64
}

// extentRegion is a region and the extent that it is part of.
type extentRegion struct {
	regionKey
	extent extent
}

// region is in the cache from when its reading begins. ready is closed at the end of that; bytes and err
// are written before.
type region struct {
	ready   chan struct{}
	bytes   []byte
	err     error
	lastUse uint64
}

func newRegions(bytesMax int64) *regions {
	r := &regions{max: int(bytesMax / regionBytes), ahead: make(chan extentRegion, 4*regionsAhead)}
	r.mu.all = map[regionKey]*region{}
	return r
}

// runRegions reads ahead until ctx ends.
func (l *Log) runRegions(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-l.regions.ahead:
			if r, mine := l.regions.claim(k.regionKey); mine {
				l.loadRegion(k, r)
			}
		}
	}
}

// read fills b, which lies in the durable part of e, from the cache if it can and is worth it.
func (l *Log) read(b []byte, e extent, offset int64) error {
	for l.regions.max > 0 && len(b) > 0 {
		k := extentRegion{regionKey{e.number, offset / regionBytes}, e}
		r := l.region(k)
		if r == nil {
			break
		}
		n := copy(b, r.bytes[offset-k.index*regionBytes:])
		b, offset = b[n:], offset+int64(n)
	}
	if len(b) == 0 {
		return nil
	}
	return l.readBlocks(b, e.number, offset)
}

// region returns a region of the cache, nil if it is to be read past it.
func (l *Log) region(k extentRegion) *region {
	if !l.regions.wanted(k.regionKey) || l.regionLen(k) == 0 {
		return nil
	}
	r, mine := l.regions.claim(k.regionKey)
	l.readAhead(k)
	if mine {
		l.loadRegion(k, r)
	}
	<-r.ready
	if r.err != nil {
		return nil
	}
	return r
}

// regionLen is how many bytes a region has, 0 if some of them are not durable yet.
func (l *Log) regionLen(k extentRegion) int64 {
	start := k.index * regionBytes
	if k.extent.end-start >= regionBytes {
		return regionBytes
	}
	// The end that the caller knows may be one of before the file was left.
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := slices.BinarySearchFunc(l.mu.extents, k.file, byNumber)
	if !ok || i+1 == len(l.mu.extents) {
		return 0
	}
	return min(max(0, l.mu.extents[i].end-start), regionBytes)
}

// loadRegion reads a region. One that cannot be read does not stay: whoever wants its records reads them
// one by one and learns what is wrong.
func (l *Log) loadRegion(k extentRegion, r *region) {
	if n := l.regionLen(k); n > 0 {
		r.bytes = alignedBytes(n)
		r.err = l.readBlocks(r.bytes, k.file, k.index*regionBytes)
	} else {
		r.err = ErrNotDurable
	}
	close(r.ready)
	if r.err != nil {
		l.regions.forget(k.regionKey)
	}
}

// readAhead asks for the regions behind k.
func (l *Log) readAhead(k extentRegion) {
	for range regionsAhead {
		next, ok := l.regionAfter(k)
		if !ok {
			return
		}
		k = next
		if l.regions.has(k.regionKey) {
			continue
		}
		select {
		case l.regions.ahead <- k:
		default:
			return
		}
	}
}

// regionAfter is the region behind k, in this file or the next.
func (l *Log) regionAfter(k extentRegion) (extentRegion, bool) {
	k.index++
	if k.index*regionBytes < k.extent.end {
		return k, l.regionLen(k) > 0
	}
	l.mu.Lock()
	i, ok := slices.BinarySearchFunc(l.mu.extents, k.file, byNumber)
	if !ok || i+1 == len(l.mu.extents) {
		l.mu.Unlock()
		return k, false
	}
	e := l.mu.extents[i+1]
	l.mu.Unlock()
	k = extentRegion{regionKey{file: e.number}, e}
	return k, l.regionLen(k) > 0
}

// wanted reports whether a region is worth reading whole: it is there, it was touched before, or the one
// before it is there.
func (r *regions) wanted(k regionKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.all[k] != nil || r.mu.all[regionKey{k.file, k.index - 1}] != nil || slices.Contains(r.mu.noted, k) {
		return true
	}
	if len(r.mu.noted) == regionsNoted {
		r.mu.noted = slices.Delete(r.mu.noted, 0, 1)
	}
	r.mu.noted = append(r.mu.noted, k)
	return false
}

func (r *regions) has(k regionKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.all[k] != nil
}

// claim returns the region, and whether it is the caller who must load it. The one that nobody has used
// for longest makes room.
func (r *regions) claim(k regionKey) (found *region, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.clock++
	if found = r.mu.all[k]; found == nil {
		found, mine = &region{ready: make(chan struct{})}, true
		r.mu.all[k] = found
		r.evictLocked()
	}
	found.lastUse = r.mu.clock
	return found, mine
}

func (r *regions) evictLocked() {
	if len(r.mu.all) <= r.max {
		return
	}
	var victim regionKey
	oldest := r.mu.clock + 1
	for k, candidate := range r.mu.all {
		if candidate.lastUse != 0 && candidate.lastUse < oldest {
			victim, oldest = k, candidate.lastUse
		}
	}
	delete(r.mu.all, victim)
}

func (r *regions) forget(k regionKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mu.all, k)
}

// forgetFile lets go of all regions of a file.
func (r *regions) forgetFile(number uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.mu.all {
		if k.file == number {
			delete(r.mu.all, k)
		}
	}
}
