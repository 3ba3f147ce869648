package partition

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"outrigger/broker/catalog"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// unread is where the batches of a chunk are told that a start has not read: in the catalog as it was then, for what has been drained
// or written anew since then is known to the index. Each such chunk has its own.
type unread struct {
	from      *bodies
	partition topic.Partition
	// packs is what the chunk has in each pack.
	packs tally
}

// bodies is the catalog as it was at a start. Its methods may be called concurrently.
type bodies struct {
	mu struct {
		sync.Mutex
		// view is nil once it is closed.
		view catalog.View
	}
}

func newBodies(of Catalog) (*bodies, error) {
	view, err := of.View()
	if err != nil {
		return nil, err
	}
	b := &bodies{}
	b.mu.view = view
	return b, nil
}

// close lets go of the catalog. Chunks that nobody has read are of no use from then on, so that it is for when there are none, or the
// store has ended. A nil one keeps nothing.
func (b *bodies) close() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.view == nil {
		return nil
	}
	err := b.mu.view.Close()
	b.mu.view = nil
	return err
}

// errClosed: the store has ended.
var errClosed = errors.New("catalog is closed")

// load reads the batches of an unread chunk.
func (u *unread) load(c *chunk, into []extent) ([]extent, error) {
	u.from.mu.Lock()
	defer u.from.mu.Unlock()
	if u.from.mu.view == nil {
		return nil, errClosed
	}
	err := u.from.mu.view.Range(runKey(u.partition, c.base), runKey(u.partition, c.end), func(key, value []byte) error {
		_, base, err := parseRunKey(key)
		if err != nil {
			return err
		}
		return decodeRun(base, value, func(e extent) {
			if len(into) > 0 {
				e.latest = max(e.newest, into[len(into)-1].latest)
			}
			into = append(into, e)
		})
	})
	if err != nil {
		return nil, err
	}
	if len(into) != int(c.batches) || into[0].base != c.base || summaryOf(into) != c.summary {
		return nil, fmt.Errorf("%w: the head at %d of %v says of %d batches what is not so of the %d that are there",
			errCatalog, c.base, u.partition, c.batches, len(into))
	}
	return into, nil
}

// read is load for who holds the lock of a log, and cannot go on without the batches: a catalog that does not give them back ends the
// process, as a failed sync does. Who still reads from a store that has ended looks for such a batch in the wrong place: it is not
// found there, and counts as damaged for nobody.
func (u *unread) read(c *chunk, into []extent) []extent {
	loaded, err := u.load(c, into)
	if errors.Is(err, errClosed) {
		return c.placeholders(into)
	}
	if err != nil {
		panic(fmt.Sprintf("read batches of %v from the catalog: %v", u.partition, err))
	}
	return loaded
}

// placeholders are as many extents as the chunk has, with its offsets.
func (c *chunk) placeholders(into []extent) []extent {
	for i := range c.batches {
		e := extent{base: c.base + topic.Offset(i), count: 1, at: c.at, latest: c.own, newest: c.own}
		if i == c.batches-1 {
			e.count = int32(c.end - e.base)
		}
		into = append(into, e)
	}
	return into
}

// addUnread adds what a head tells of the batches behind the last one.
func (x *index) addUnread(h *head, from *bodies, p topic.Partition) {
	place := x.lastPlace()
	x.unordered = x.unordered || place != (wal.Position{}) && h.first.Compare(place) <= 0
	if x.length == 0 {
		x.front, x.fronted = h.base, true
	}
	of := &unread{from: from, partition: p, packs: h.packs}
	x.add(chunk{unread: of, base: h.base, batches: h.batches, summary: h.summary})
	x.length += int(h.batches)
	x.packs.join(h.packs)
}

// restored ends that an index is restored: what is added from now on comes behind extents that are read. So are those from an offset
// on, about which the start has questions: what is wrong with them is an error yet.
func (x *index) restored(from topic.Offset) error {
	if last := len(x.chunks) - 1; last >= 0 && x.chunks[last].unread != nil {
		c := &x.chunks[last]
		open, err := c.unread.load(c, nil)
		if err != nil {
			return err
		}
		c.open, c.unread = open, nil
	}
	x.freeze()
	for k := x.above(from); k < len(x.chunks); k++ {
		if c := &x.chunks[k]; c.unread != nil {
			open, err := c.unread.load(c, nil)
			if err != nil {
				return err
			}
			c.frozen, c.unread = freeze(open), nil
		}
	}
	return nil
}

// above is the first chunk that ends above an offset.
func (x *index) above(offset topic.Offset) (k int) {
	return sort.Search(len(x.chunks), func(k int) bool {
		end, _ := x.chunks[k].last()
		return end > offset
	})
}

// unreadChunk finds an unread chunk from an offset on: after a bounded look, which goes on at next if there is more. Chunks have
// other numbers by then, but those before that offset are read.
func (x *index) unreadChunk(from topic.Offset) (c chunk, next topic.Offset, more bool) {
	all := x.chunks[x.above(from):]
	for k := range all[:min(len(all), spillLooks)] {
		if from, _ = all[k].last(); all[k].unread != nil {
			return all[k], from, true
		}
	}
	return chunk{}, from, len(all) > spillLooks
}

// readAs takes in what an unread chunk has; not ok if it is not that any more.
func (x *index) readAs(c *chunk, frozen []byte, spilled bool) bool {
	k := x.above(c.base)
	if k == len(x.chunks) || x.chunks[k].unread != c.unread {
		return false
	}
	x.chunks[k].frozen, x.chunks[k].spilled, x.chunks[k].unread = frozen, spilled, nil
	return true
}

// readNext reads an unread chunk from an offset on, without the lock of the log, and says of how many batches, and from where on there
// may be another.
func (l *Log) readNext(from topic.Offset) (next topic.Offset, batches int, more bool, err error) {
	l.mu.Lock()
	c, next, more := l.mu.index.unreadChunk(from)
	l.mu.Unlock()
	if c.unread == nil {
		return next, 0, more, nil
	}
	open, err := c.unread.load(&c, nil)
	if err != nil {
		return from, 0, false, fmt.Errorf("read batches of %v from the catalog: %w", l.partition, err)
	}
	frozen := freeze(open)
	slot, spilled := l.store.cfg.Spill.put(frozen)
	if spilled {
		frozen = slot
	}
	l.mu.Lock()
	taken := l.mu.index.readAs(&c, frozen, spilled)
	l.mu.Unlock()
	if !taken && spilled { // Somebody else has read it, or it is gone.
		l.store.cfg.Spill.give(slot)
	}
	return next, len(open), true, nil
}

// How long unread chunks are read at once beside other work, and by how many times that others have the processor then.
const (
	readTurn  = 2 * time.Millisecond
	readRests = 3
)

// readIndexes reads all chunks that a start has left unread, slowly unless the store is idle, so that the catalog of then can be
// given up. An error says that the catalog is damaged.
func (s *Store) readIndexes(ctx context.Context) error {
	if s.bodies == nil {
		return nil
	}
	from, batches := s.cfg.Now(), 0
	for _, l := range s.snapshot() {
		for at, more := topic.Offset(0), true; more; {
			var read int
			var err error
			if at, read, more, err = l.readNext(at); err != nil {
				return err
			}
			batches += read
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the next start reads them
			}
			if worked := s.cfg.Now() - from; worked >= readTurn {
				if s.demand() != idle {
					pause(ctx, readRests*worked)
				}
				from = s.cfg.Now()
			}
		}
	}
	s.cfg.Logger.Info("batches read that the start had not waited for", keyBatches, batches)
	return s.bodies.close()
}

// readOne reads a chunk of some log, for who turns the store by hand.
func (s *Store) readOne() error {
	if s.bodies == nil {
		return nil
	}
	for _, l := range s.snapshot() {
		for at, more := topic.Offset(0), true; more; {
			var read int
			var err error
			if at, read, more, err = l.readNext(at); err != nil || read > 0 {
				return err
			}
		}
	}
	return nil
}
