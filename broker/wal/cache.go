package wal

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Cache says how much memory there is for reads by Loan. It is apart from whatever memory the callers
// keep: a reader that is far behind takes the place of others that are far behind, and of nobody else.
type Cache struct {
	// BytesMax bounds the chunks that are cached, being read or lent, 32 MiB unless set. Memory is taken
	// as it is needed and given back some time after it was.
	BytesMax int64
	// ChunkBytes is how much is read at once, 512 KiB unless set, a multiple of 4 KiB.
	ChunkBytes int64
}

const (
	defaultCacheBytes = 32 << 20
	defaultChunkBytes = 512 << 10
	// loanShare is the part of the cache that one Loan may have: a client that takes nothing of what was
	// written to it holds its loan for as long as it is borne with.
	loanShare = 4
	// aheadMax bounds the chunks that wait to be read ahead; what finds no place is not read ahead.
	aheadMax = 64
	// aheadReaders is how many chunks are read ahead at a time.
	aheadReaders = 2
	// cacheRound is how often the cache gives memory back: chunks that nobody used for one to two rounds.
	cacheRound = 30 * time.Second
)

// CacheStats are the numbers of a cache.
type CacheStats struct {
	// Bytes is the memory taken, Lent that of chunks that somebody uses now.
	Bytes, Lent int64
	// Hits and Misses count chunks that were there and chunks that were read; Ahead those read ahead;
	// Refused those for which there was no room. They only grow.
	Hits, Misses, Ahead, Refused int64
}

// chunk is a piece of a file, from a multiple of ChunkBytes on. Its bytes do not change once it is ready.
type chunk struct {
	at     Position
	buffer []byte
	// filled is how many of the bytes were durable when the chunk was made: only those may be used.
	filled int64
	seed   uint32
	// ready is closed when the bytes are there, or err says why they are not.
	ready chan struct{}
	err   error

	// What follows is guarded by the cache's mutex. A chunk that is not listed any more goes when its last
	// user does. idle is its place among those without users.
	users  int
	listed bool
	round  uint64
	idle   *list.Element
}

// bytes are those of the chunk that may be used.
func (k *chunk) bytes() []byte { return k.buffer[:k.filled] }

// cache holds chunks of files. Files are read outside of its mutex.
type cache struct {
	cfg   Cache
	ahead chan Position

	mu struct {
		sync.Mutex
		chunks map[Position]*chunk
		// idle lists the chunks without users, the one that was used longest ago first.
		idle list.List
		// free are buffers without a chunk, made counts all buffers, lent the chunks with users.
		free       [][]byte
		made, lent int64
		round      uint64
		stats      CacheStats
		// closed: a buffer that comes back is not kept.
		closed bool
	}
}

func newCache(cfg Cache) *cache {
	c := &cache{cfg: cfg, ahead: make(chan Position, aheadMax)}
	c.mu.chunks = map[Position]*chunk{}
	return c
}

// lookup returns the chunk at that place, in use, if it holds `need` bytes. The log may have grown since
// it was read: then it is not listed any more.
func (c *cache) lookup(at Position, need int64) *chunk {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookupLocked(at, need)
}

func (c *cache) lookupLocked(at Position, need int64) *chunk {
	k := c.mu.chunks[at]
	if k == nil {
		return nil
	}
	if k.filled < need {
		c.unlistLocked(k)
		return nil
	}
	if k.idle != nil {
		c.mu.idle.Remove(k.idle)
		k.idle = nil
		c.mu.lent++
	}
	k.users++
	c.mu.stats.Hits++
	return k
}

// begin lists a new chunk, in use, for the caller to fill; or it returns the one that somebody else has
// listed meanwhile. It is nil if all memory is in use.
func (c *cache) begin(e extent, at Position, need int64) (k *chunk, fill bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.lookupLocked(at, need); k != nil {
		return k, false
	}
	buffer := c.bufferLocked()
	if buffer == nil {
		c.mu.stats.Refused++
		return nil, false
	}
	k = &chunk{
		at: at, buffer: buffer, filled: min(c.cfg.ChunkBytes, e.end-at.Offset),
		seed: e.seed(), ready: make(chan struct{}), users: 1, listed: true,
	}
	c.mu.chunks[at] = k
	c.mu.lent++
	c.mu.stats.Misses++
	return k, true
}

// bufferLocked finds a buffer: a free one, a new one, or that of the chunk that was used longest ago.
func (c *cache) bufferLocked() []byte {
	if len(c.mu.free) == 0 && (c.mu.made+1)*c.cfg.ChunkBytes <= c.cfg.BytesMax && !c.mu.closed {
		if buffer, err := takeMemory(c.cfg.ChunkBytes); err == nil {
			c.mu.made++
			return buffer
		}
		// The system has none: what there is has to do.
	}
	if oldest := c.mu.idle.Front(); len(c.mu.free) == 0 && oldest != nil {
		c.unlistLocked(oldest.Value.(*chunk))
	}
	n := len(c.mu.free)
	if n == 0 {
		return nil
	}
	buffer := c.mu.free[n-1]
	c.mu.free = c.mu.free[:n-1]
	return buffer
}

// done tells those who wait for a chunk that it is there, or why not.
func (c *cache) done(k *chunk, err error) {
	if k.err = err; err != nil {
		c.forget(k)
	}
	close(k.ready)
}

// forget takes a chunk out of the list: nobody finds it any more.
func (c *cache) forget(k *chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unlistLocked(k)
}

func (c *cache) unlistLocked(k *chunk) {
	if !k.listed {
		return
	}
	k.listed = false
	delete(c.mu.chunks, k.at)
	if k.idle != nil {
		c.mu.idle.Remove(k.idle)
		k.idle = nil
		c.freeLocked(k.buffer)
	}
}

// freeLocked takes a buffer back that nobody uses.
func (c *cache) freeLocked(buffer []byte) {
	if c.mu.free = append(c.mu.free, buffer); c.mu.closed {
		c.releaseLocked()
	}
}

// releaseLocked gives the memory of free buffers back to the system.
func (c *cache) releaseLocked() {
	for _, buffer := range c.mu.free {
		if err := giveMemory(buffer); err != nil {
			panicf("give %d bytes back: %v", len(buffer), err) // It was not ours.
		}
	}
	c.mu.made -= int64(len(c.mu.free))
	c.mu.free = nil
}

// giveBack ends a use.
func (c *cache) giveBack(k *chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.users--; k.users > 0 {
		return
	}
	c.mu.lent--
	if !k.listed {
		c.freeLocked(k.buffer)
		return
	}
	k.round = c.mu.round
	k.idle = c.mu.idle.PushBack(k)
}

// drop forgets the chunks of a file that is given up. What is lent of them stays as it is.
func (c *cache) drop(file uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, k := range c.mu.chunks {
		if at.File == file {
			c.unlistLocked(k)
		}
	}
}

// shrink lets go of memory that was not used of late.
func (c *cache) shrink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.round++
	for oldest := c.mu.idle.Front(); oldest != nil; oldest = c.mu.idle.Front() {
		if k := oldest.Value.(*chunk); k.round+1 < c.mu.round {
			c.unlistLocked(k)
			continue
		}
		break
	}
	c.releaseLocked()
}

// close lets go of all memory that is not lent; what is lent goes when it comes back.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.closed = true
	for _, k := range c.mu.chunks {
		c.unlistLocked(k)
	}
	c.releaseLocked()
}

func (c *cache) stats() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.stats
	s.Bytes, s.Lent = c.mu.made*c.cfg.ChunkBytes, c.mu.lent*c.cfg.ChunkBytes
	return s
}

// CacheStats tells how the cache of reads fares.
func (l *Log) CacheStats() CacheStats { return l.cache.stats() }

// ChunkBytes is how much a read by Loan brings into memory at once.
func (l *Log) ChunkBytes() int64 { return l.cache.cfg.ChunkBytes }

// Prefetch says that the chunk of that place will be wanted soon. It never waits; if too much is wanted,
// or nothing runs, nothing happens.
func (l *Log) Prefetch(at Position) {
	at.Offset -= at.Offset % l.cache.cfg.ChunkBytes
	l.cache.mu.Lock()
	known := l.cache.mu.chunks[at] != nil
	l.cache.mu.Unlock()
	if known {
		return
	}
	select {
	case l.cache.ahead <- at:
	default:
	}
}

// readAhead brings what Prefetch was told of into the cache, until ctx ends.
func (l *Log) readAhead(ctx context.Context) {
	for {
		select {
		case at := <-l.cache.ahead:
			l.readAheadOne(at)
		case <-ctx.Done():
			return
		}
	}
}

// readAheadOne ignores what goes wrong: whoever wants the bytes will meet it.
func (l *Log) readAheadOne(at Position) {
	k, err := l.chunk(at, 1, true)
	if err != nil {
		return
	}
	l.cache.giveBack(k)
	l.cache.mu.Lock()
	l.cache.mu.stats.Ahead++
	l.cache.mu.Unlock()
}

// shrinkCache gives memory back now and then, until ctx ends.
func (l *Log) shrinkCache(ctx context.Context) {
	for pause(ctx, cacheRound) {
		l.cache.shrink()
	}
}
