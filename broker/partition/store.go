package partition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// Store is the partition logs of one node over its WAL. All methods are safe for concurrent use,
// except that Create and Remove of one partition must come from one caller.
type Store struct {
	cfg Config
	// walLog is run; while it runs it is used through appender and reader alone.
	walLog   *wal.Log
	appender appender
	reader   reader
	// lease is when the node's leadership lease ends, on the clock cfg.Now.
	lease atomic.Int64
	// mandate is when its right to say what does not exist ends, on the same clock.
	mandate atomic.Int64

	mu struct {
		sync.RWMutex
		logs map[topic.Partition]*Log
		// sorted lists the logs by partition; nil when it must be made anew.
		sorted []*Log
		// removing counts the Remove records of a partition that are on their way through the WAL.
		removing map[topic.Partition]removals
		observer Observer
		// passed are the damaged places that a scan has passed over.
		passed map[wal.Position]bool
		// failed is why the store takes nothing any more.
		failed error
	}

	// roles, if set, is told that the role of some log has changed.
	roles atomic.Pointer[func()]

	// damageFound tells of damage that nobody knew of; one token.
	damageFound chan struct{}

	// savedAt and expiredAt are when high watermarks were last checkpointed and producers expired.
	// They belong to the goroutine that calls Tick.
	savedAt, expiredAt time.Duration

	// drainer belongs to whoever drains: Run, or a Driver. dropped counts the times that batches became
	// superfluous, drained what was done.
	drainer drainer
	digests digests
	// bodies is the catalog of the start, nil if nothing is left there to read.
	bodies  *bodies
	dropped atomic.Uint64
	// swept is dropped as of the last look at the packs.
	swept atomic.Uint64
	// doomed: packs wait for a sync before they go.
	doomed atomic.Bool
	// pace belongs to the goroutine that calls Tick; found is what it found. served counts bytes read.
	pace drainPace
	// wasScarce belongs to it, too: space was when it looked last.
	wasScarce bool
	found     atomic.Int32
	served    atomic.Int64
	// owed is up to which file the WAL is to be drained whatever is appended, as of rolledAt. That and openedAt,
	// when the store was opened, belong to the goroutine that calls Tick.
	owed               atomic.Uint64
	rolledAt, openedAt time.Duration
	// unsorted: packs wait to be written anew. crowded: more of all packs is dead than is needed.
	unsorted, crowded atomic.Bool
	// headless: batches wait for heads.
	headless atomic.Bool
	// spilledAt is when the drainer last looked for what can be moved out of memory.
	spilledAt time.Duration
	// sortAfter is until when that has had its share of the time, badAfter when a pack is to be tried again that could
	// not be written anew, zero for none.
	sortAfter, badAfter atomic.Int64
	drained             struct {
		files, adopted, bytes, packs, packBytes, repacked, merged, badPacks, rolled, stuck, heads atomic.Int64
	}
	// rules say how partitions are compacted, compactions what was done.
	rules       atomic.Pointer[func(topic.Partition) (Compaction, bool)]
	compactions struct {
		logs, read, saved, uncleanable atomic.Int64
		now                            atomic.Pointer[Compacting]
	}
	// drainDue and compactDue say what for, compacting that a compaction is under way, and compactedAt is
	// when the last look for one was. That belongs to the goroutine that calls Tick.
	drainDue, compactDue, compacting atomic.Bool
	compactedAt                      time.Duration
	// drainNow tells Run's drainer to look; one token.
	drainNow chan struct{}

	// tail belongs to the goroutine that calls Sealed and Durable.
	tail tailQueue
}

// appender is what the logs write to: the node WAL. Append is called under a log's mutex and must
// not block; Reserve may wait.
type appender interface {
	Reserve(ctx context.Context, b wal.Budget, bytes int64) error
	TryReserve(b wal.Budget, bytes int64) bool
	Release(b wal.Budget, bytes int64)
	Append(b wal.Budget, r wal.Record)
}

// reader reads durable records back. Its methods may be called concurrently.
type reader interface {
	ReadRecord(at wal.Position, encodedLen int64) (wal.Record, error)
	Scan(from wal.Position, bytesMax int) ([]wal.Placed, wal.Position, error)
	// Lend begins a loan; nil lends nothing.
	Lend() *wal.Loan
	// Prefetch must not wait.
	Prefetch(at wal.Position)
	ChunkBytes() int64
}

// removals counts the Remove records of a partition that a pass has not met yet.
type removals [passes]int

// Open opens the WAL and rebuilds every partition log from its records. No node leads anything yet
// and there is no lease: both must be granted (Log.Assume, SetLease) before an append is taken.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := newStore(cfg)
	if err := s.open(cfg); err != nil {
		for _, l := range s.mu.logs {
			l.mu.index.reset() // The next try has the same Spill.
		}
		return nil, errors.Join(err, s.bodies.close())
	}
	return s, nil
}

func (s *Store) open(cfg Config) error {
	if cfg.WAL.Now == nil {
		cfg.WAL.Now = cfg.Now
	}
	if cfg.Catalog != nil {
		start, packs, err := s.restore()
		if err != nil {
			return fmt.Errorf("restore drained logs: %w", err)
		}
		cfg.WAL.Start, cfg.WAL.Packs = start, packs
	}
	cfg.WAL.Sink = sink{s}
	cfg.WAL.Replay = s.replay
	cfg.WAL.Scrub.Found, cfg.WAL.Scrub.Resume = s.scrubbed, s.behind
	walLog, err := wal.Open(cfg.WAL)
	if err != nil {
		return fmt.Errorf("open node WAL: %w", err)
	}
	s.walLog, s.appender, s.reader = walLog, walLog, walLog
	s.settleHoles()
	if err := s.finishReplay(); err != nil {
		return errors.Join(fmt.Errorf("replay node WAL: %w", err), walLog.Close())
	}
	s.headless.Store(s.drainer.heads.due)
	cfg.Logger.Info("partition logs rebuilt", keyPartitions, len(s.mu.logs), keyBytes, s.size())
	return nil
}

func newStore(cfg Config) *Store {
	s := &Store{cfg: cfg, tail: tailQueue{bytesMax: cfg.TailBytesMax}}
	s.digests.bytesMax, s.digests.burdenMax = digestBytes, burdenBytes
	s.mu.logs = map[topic.Partition]*Log{}
	s.mu.removing = map[topic.Partition]removals{}
	s.mu.passed = map[wal.Position]bool{}
	s.damageFound = make(chan struct{}, 1)
	s.drainNow = make(chan struct{}, 1)
	s.drainer = drainer{store: s, nextPack: wal.PackStep, packs: map[uint64]wal.Pack{}, bad: map[uint64]respite{}, due: map[uint64]time.Duration{},
		spent: map[uint64]bool{}, heads: heads{of: map[topic.Partition]*headed{}}, removeTurn: removeTurn, hoardMost: hoardMax}
	s.mu.observer = cfg.Observer
	s.savedAt, s.expiredAt, s.openedAt = cfg.Now(), cfg.Now(), cfg.Now()
	s.rolledAt = s.openedAt
	s.lease.Store(math.MinInt64)
	s.mandate.Store(math.MinInt64)
	return s
}

// SetObserver sets who is told what is sealed and durable. It must be called before Run.
func (s *Store) SetObserver(o Observer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.observer = o
}

// WatchRoles sets who is told that the leadership of some log here was gained, lost or granted in a
// new epoch, or that a log was removed: whoever leads looks at Log.State then. No lock is held; fn
// must only enqueue.
func (s *Store) WatchRoles(fn func()) { s.roles.Store(&fn) }

func (s *Store) roleChanged() {
	if fn := s.roles.Load(); fn != nil {
		(*fn)()
	}
}

// SetLease sets until when this node may act as leader of anything, on the clock Config.Now; Forever
// never ends. At or after it appends are refused before they happen, while committed data is still
// served. Before the first call there is no lease.
func (s *Store) SetLease(until time.Duration) { s.lease.Store(int64(until)) }

// Leased reports whether the lease holds now.
func (s *Store) Leased() bool { return int64(s.cfg.Now()) < s.lease.Load() }

// SetMandate sets until when this node may say what does not exist, on the clock Config.Now. A deposed
// leader may still have enough members around it to append, and yet another may have gone beyond its
// log end: what is committed here is true for ever, but what is out of range is not its to say.
func (s *Store) SetMandate(until time.Duration) { s.mandate.Store(int64(until)) }

// Mandated reports whether the mandate holds now.
func (s *Store) Mandated() bool { return int64(s.cfg.Now()) < s.mandate.Load() }

// Log returns the log of p, nil if this node has none.
func (s *Store) Log(p topic.Partition) *Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.logs[p]
}

// Create returns the log of p and makes an empty one if there is none. Nothing is written: a log
// without records need not survive a restart, for the cluster image names its partition.
func (s *Store) Create(p topic.Partition) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.mu.logs[p]; l != nil {
		return l
	}
	l := newLog(s, p)
	l.mu.failed, l.mu.index.spill = s.mu.failed, s.cfg.Spill
	s.mu.logs[p] = l
	s.mu.sorted = nil
	return l
}

// Remove takes the log of p away for good. Only a committed tombstone may cause it, never the mere
// absence of p from some list (failure mode 34). If the WAL is full the error is wal.ErrFull and
// nothing has happened.
//
// A crash before the Remove record is durable leaves the log; whoever applies the tombstone again
// removes it again. After it, a replay drops the log.
func (s *Store) Remove(p topic.Partition) error {
	l := s.Log(p)
	if l == nil {
		return nil
	}
	r := wal.Record{Kind: wal.Remove, Partition: p, Epoch: topic.NoEpoch}
	size := wal.EncodedLen(r)
	if !s.appender.TryReserve(wal.Relief, size) {
		return fmt.Errorf("remove partition %v: %w", p, wal.ErrFull)
	}
	// From here on the sink ignores what it hears of p, until the Remove record has come through:
	// 1. Remove counts, then appends its record. 2. Create makes a new log of p, which appends.
	// 3. The sink hears of old records: without the count it would take them for the new log's.
	if s.cfg.mutant == RemovesStayInMemory {
		s.appender.Release(wal.Relief, size)
	} else {
		s.countRemoval(p)
	}
	l.remove(r)

	s.mu.Lock()
	delete(s.mu.logs, p)
	s.mu.sorted = nil
	s.mu.Unlock()
	return nil
}

// Partitions lists the partitions that have a log here, sorted.
func (s *Store) Partitions() []topic.Partition {
	logs := s.snapshot()
	partitions := make([]topic.Partition, len(logs))
	for i, l := range logs {
		partitions[i] = l.partition
	}
	return partitions
}

// UnsyncedAge tells for how long the oldest record that is not durable has been waiting, zero if
// there is none: a disk that hangs shows here while all else still answers.
func (s *Store) UnsyncedAge() time.Duration { return s.walLog.Age() }

// Stats are the store's numbers for metrics.
type Stats struct {
	Partitions int
	// TailBytes is what is counted against Config.TailBytesMax.
	TailBytes int64
	// Drain is how far the draining of the WAL has come.
	Drain DrainStats
	// Compaction is what was compacted.
	Compaction CompactionStats
	// Groups counts what was written to the WAL.
	Groups wal.GroupStats
	// Scrub is how far the WAL's scrub has come.
	Scrub wal.ScrubStats
	// Cache is what Readers were lent.
	Cache wal.CacheStats
}

// Stats returns the store's numbers.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{Partitions: len(s.mu.logs), TailBytes: s.tail.bytes.Load(), Scrub: s.scrubStats(), Drain: s.drainStats(),
		Compaction: s.compactionStats(), Cache: s.cacheStats(), Groups: s.groupStats()}
}

func (s *Store) groupStats() wal.GroupStats {
	if s.walLog == nil {
		return wal.GroupStats{}
	}
	return s.walLog.GroupStats()
}

func (s *Store) cacheStats() wal.CacheStats {
	if s.walLog == nil {
		return wal.CacheStats{}
	}
	return s.walLog.CacheStats()
}

func (s *Store) scrubStats() wal.ScrubStats {
	if s.walLog == nil {
		return wal.ScrubStats{}
	}
	return s.walLog.ScrubStats()
}

// size is the bytes of all batches of all logs.
func (s *Store) size() (bytes int64) {
	for _, l := range s.snapshot() {
		bytes += l.State().Size
	}
	return bytes
}

// snapshot lists the logs, so that they can be visited without holding the store's mutex. They are
// sorted: what a visit does must not depend on the order of a map, or no run could be repeated. The
// list is shared and never changed.
func (s *Store) snapshot() []*Log {
	s.mu.RLock()
	sorted := s.mu.sorted
	s.mu.RUnlock()
	if sorted != nil {
		return sorted
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sorted = slices.Collect(maps.Values(s.mu.logs))
	slices.SortFunc(sorted, func(a, b *Log) int { return comparePartitions(a.partition, b.partition) })
	s.mu.sorted = sorted
	return sorted
}

func comparePartitions(a, b topic.Partition) int {
	if c := slices.Compare(a.Topic[:], b.Topic[:]); c != 0 {
		return c
	}
	return int(a.Index) - int(b.Index)
}
