package partition

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

var (
	seedsFlag = flag.Uint64("seeds", 0, "how many seeds the metamorphic test runs, from -seed on")
	bugFlag   = flag.Uint("bug", 0, "put this mutant into the metamorphic test")
	traceFlag = flag.Int("trace", 70, "how many lines the metamorphic test tells of what led to a failure")
)

// Two stores do all that a node does with its logs, one thing after the other, in an order of a seed's choice, and
// through it all tell what a list of batches tells:
//
//	producers, leaders elsewhere ──> site 0 ──> partition.Store ──> WAL, packs, catalog on a disk that fails
//	                                   │ ^                                         │
//	                       copies: moves and repairs                               │
//	                                   v │                                         │
//	producers, leaders elsewhere ──> site 1 ──> (the same)                         │
//	                                   │                                           v
//	                                   └──> model: modelLog, played from the records <── compare after every step
//
// What a compaction may take is marked record by record before it runs, and nothing else may be missing. What a crash
// may take is what was not reported durable: what is found must be what some front of the records makes. What was
// damaged may be refused where it lies, never read as something else, must be found by a scrub, and must be whole
// again once the other site has filled it up.
//
// That it finds what it is to find is shown by TestBugsOfStorageAreFound.
//
// It runs a few dozen seeds; OUTRIGGER_LONG=1 runs a thousand, -seeds as many as it says, and -seed one.
func TestStoreStaysTheModelThroughEverything(t *testing.T) {
	first, count := uint64(1), uint64(metaSeeds)
	switch {
	case *seedFlag != 0 && *seedsFlag == 0:
		first, count = *seedFlag, 1
	case *seedsFlag != 0:
		first, count = max(1, *seedFlag), *seedsFlag
	case os.Getenv("OUTRIGGER_LONG") != "":
		count = 1000
	case testing.Short():
		count = metaSeeds / 4
	}
	counts := map[string]int{}
	for seed := first; seed < first+count && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runTwins(t, seed, Mutant(*bugFlag), counts) })
	}
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%-24s%d", key, counts[key])
	}
	if count < metaSeeds || t.Failed() {
		return
	}
	for _, met := range metaMet {
		if counts[met] == 0 {
			t.Errorf("%q was never met", met)
		}
	}
}

const (
	metaSeeds = 36
	// metaSteps is how long each seed lives.
	metaSteps = 1200
	// metaPartitions are those of each site; the second half of them is compacted.
	metaPartitions = 4
	// metaTombstones is delete.retention.ms of those.
	metaTombstones = 300 * time.Millisecond
)

// metaMet are what a run of all seeds must have met to prove anything.
var metaMet = []string{
	"append", "append duplicate", "append refused", "append marker", "append transactional", "replicate", "replicate marker",
	"truncate", "truncate committed", "delete records", "move start", "retention by size", "retention by time", "drained",
	"adopted", "adopted meanwhile", "headed", "left unread", "held", "rewritten", "merged", "compacted", "removed", "flipped", "unreadable", "found by scrub",
	"repaired", "disk full", "space again", "refused reads", "reads again", "write failed", "copied", "copy reset", "moved",
	"stopped", "crashed", "killed", "crashed within a step", "records lost", "quarantined", "verified", "verified damage",
	"aborted transactions read", "time looked up", "horizon set", "tombstone gone", "spilled", "no room to spill", "damaged at a start",
	"kept for a replica", "too young",
}

// fate is what becomes of a batch, wherever it is copied to.
type fate struct {
	records []batch.Record
	marker  *batch.Marker
	at      time.Duration
	// gone are the records that a compaction may have taken, by site and record.
	gone [2][]bool
	// before are those that may have been gone of it before it was copied there again: a crash may bring that back.
	before [2][]bool
	// horizons are those that a compaction of a site may have given it, in milliseconds.
	horizons [2][]int64
	// spoilt: what lies of it on the disk of a site is damaged.
	spoilt [2]bool
}

// vanished reports whether nothing of the batch need be left at a site.
func (f *fate) vanished(site int) bool { return !slices.Contains(f.gone[site], false) }

// touched reports whether something of it may be gone.
func (f *fate) touched(site int) bool { return slices.Contains(f.gone[site], true) }

// copied notes that a site has it anew, from another.
func (f *fate) copied(site, from int) {
	f.spoilt[site] = false
	for i := range f.records {
		f.before[site][i] = f.before[site][i] || f.gone[site][i]
		f.gone[site][i] = f.gone[from][i]
	}
	for _, horizon := range f.horizons[from] {
		f.gives(site, horizon)
	}
}

// reverts notes that a site may have it as it was before.
func (f *fate) reverts(site int) {
	for i := range f.records {
		f.gone[site][i] = f.gone[site][i] || f.before[site][i]
	}
}

// gives notes a horizon that a compaction may give the batch.
func (f *fate) gives(site int, horizon int64) {
	if !slices.Contains(f.horizons[site], horizon) {
		f.horizons[site] = append(f.horizons[site], horizon)
	}
}

// passed reports whether a horizon of it may have passed.
func (f *fate) passed(site int, now int64) bool {
	return slices.ContainsFunc(f.horizons[site], func(horizon int64) bool { return horizon <= now })
}

// tombstones reports whether something in it has to stay until a horizon.
func (f *fate) tombstones() bool {
	return f.marker != nil || slices.ContainsFunc(f.records, func(r batch.Record) bool { return r.Value == nil })
}

// twins are the two sites.
type twins struct {
	t      testing.TB
	bug    Mutant
	random *rand.Rand
	clock  *clock
	sites  [2]*site
	epoch  topic.Epoch
	number int
	trace  []string
	counts map[string]int
	// tail is Config.TailBytesMax, portion Config.portionBytes, keys how many a compaction remembers.
	tail, portion, keys int64
	// chunk is Config.ChunkBatches, and so many of the spill's segments there are.
	chunk, segments int
	rules           Compaction
}

// site is a store with its disk, and the model of it.
type site struct {
	*twins
	*hand
	id      int
	session uint64
	disk    *waltest.FS
	table   *catalogtest.Catalog
	// live is the model, written are the records that make it, and of them so many are promised.
	live     *replayed
	written  []written
	promised int
	// fresh are the records that the store has handed to its WAL since the model took some, next the batches that one
	// of them is to hold.
	fresh []wal.Record
	next  []modelBatch
	// mine: nobody else writes in the epoch of this role.
	mine map[topic.Partition]bool
	// doomed: the disk is about to fail. full and refusing: it is full, or refuses reads.
	doomed, full, refusing bool
	// wanting: an append has found no room, which is there once a file is made.
	wanting bool
	// looked is the time that the compaction under way goes by.
	looked int64
	// away are the logs of which a replica is away from when a compaction begins until another one does.
	away map[topic.Partition]bool
	// busy: something may not be durable that was handed to the WAL.
	busy bool
	// chainBad: something is damaged in a file of the WAL. forgiven are batches that were refused once.
	chainBad bool
	forgiven map[*fate]bool
	// spoilt is all that was ever damaged.
	spoilt []place
	// compacted: the log was compacted, and may know more of its high watermark after a crash than it was told.
	compacted map[topic.Partition]bool
}

func runTwins(t testing.TB, seed uint64, bug Mutant, counts map[string]int) {
	random := rand.New(rand.NewPCG(seed, 23))
	w := &twins{t: t, bug: bug, random: random, clock: &clock{at: 100 * time.Second}, counts: counts,
		tail:    []int64{1, 2 << 10, 1 << 20}[random.IntN(3)],
		portion: []int64{1, 6 << 10, 1 << 30}[random.IntN(3)],
		keys:    2 + random.Int64N(9),
		chunk:   []int{0, 3, 8}[random.IntN(3)], segments: []int{1, 1 << 20}[random.IntN(2)],
		rules: Compaction{DirtyRatio: float64(random.IntN(3)) * 0.25, LagMax: maxAge, DeleteRetention: metaTombstones}}
	w.rules.LagMin = []time.Duration{0, 500 * time.Millisecond, 3 * time.Second}[random.IntN(3)]
	defer func() {
		if !t.Failed() {
			return
		}
		for _, line := range w.trace[max(0, len(w.trace)-*traceFlag):] {
			t.Log(line)
		}
		t.Logf("again: go test -run %s ./broker/partition -seed %d", "TestStoreStaysTheModelThroughEverything", seed)
	}()
	for i := range w.sites {
		s := &site{twins: w, id: i, disk: waltest.New(), forgiven: map[*fate]bool{}, compacted: map[topic.Partition]bool{}, away: map[topic.Partition]bool{}}
		w.sites[i] = s
		s.open(&catalogtest.Catalog{})
	}
	for range metaSteps {
		s := w.sites[random.IntN(2)]
		s.step()
		s.heal()
		s.look()
	}
	w.finish()
}

func (w *twins) say(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *twins) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf(format, args...)
}

func (s *site) note(format string, args ...any) {
	s.say("%d: %s", s.id, fmt.Sprintf(format, args...))
}

func (s *site) fatal(format string, args ...any) {
	s.twins.t.Helper()
	s.fail("site %d: %s", s.id, fmt.Sprintf(format, args...))
}

func (s *site) rand() *rand.Rand { return s.twins.random }

func keyedPartition(p topic.Partition) bool { return p.Index >= metaPartitions/2 }

func (s *site) pick() topic.Partition {
	return topic.Partition{Topic: p0.Topic, Index: s.rand().Int32N(metaPartitions)}
}

func (s *site) both(p topic.Partition) (*modelLog, *Log) { return s.live.model(p), s.store.Create(p) }

func (s *site) millis() int64 { return s.twins.clock.now().Milliseconds() }

// tap tells a site what its store hands to the WAL.
type tap struct {
	appender
	site *site
}

func (a tap) Append(b wal.Budget, r wal.Record) {
	a.site.fresh, a.site.busy = append(a.site.fresh, r), true
	a.appender.Append(b, r)
}

// Sealed implements Observer.
func (s *site) Sealed([]Entry) {}

// Durable implements Observer: what is told here is promised.
func (s *site) Durable(ends []DurableEnd) {
	for _, e := range ends {
		l := s.store.Log(e.Partition)
		if l == nil || l.State().Cuts != e.Cuts {
			continue
		}
		for i := len(s.written) - 1; i >= s.promised; i-- {
			r := s.written[i]
			if r.partition != e.Partition || r.kind != wal.Data {
				continue
			}
			last := r.batch
			if n := len(r.rest); n > 0 {
				last = r.rest[n-1]
			}
			if last.end() == e.DurableEnd && l.State().TailEpoch >= last.epoch {
				s.promised = i + 1
				break
			}
		}
	}
}

// take has the model follow the records that the store has written.
func (s *site) take() {
	s.twins.t.Helper()
	for _, r := range s.fresh {
		one := written{kind: r.Kind, partition: r.Partition, base: r.Base, epoch: r.Epoch}
		if r.Kind == wal.Data {
			if len(s.next) == 0 {
				s.fatal("an unexpected batch of %v at %d is written", r.Partition, r.Base)
			}
			one.batch, one.rest, s.next = s.next[0], s.next[1:], nil
			if m := s.live.model(r.Partition); r.Base != m.end() || r.Base != one.batch.base {
				s.fatal("a batch of %v is written at %d, want it at %d", r.Partition, r.Base, m.end())
			}
		}
		if r.Kind == wal.Truncate || r.Kind == wal.Reset || r.Kind == wal.Remove {
			delete(s.mine, r.Partition)
		}
		s.written = append(s.written, one)
		s.live.play(one)
	}
	if len(s.next) > 0 {
		s.fatal("a batch at %d is not written", s.next[0].base)
	}
	s.fresh = nil
}

// push has the model expect a batch.
func (s *site) push(m *modelLog, payload []byte, base topic.Offset, epoch topic.Epoch) {
	h, err := batch.ParseHeader(payload)
	if err != nil {
		s.fatal("parse: %v", err)
	}
	f := &fate{at: s.twins.clock.now()}
	for r, err := range batch.Records(payload) {
		if err != nil {
			s.fatal("records: %v", err)
		}
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		r.Offset += int64(base) - h.BaseOffset
		f.records = append(f.records, r)
	}
	if h.Control() {
		if marker, ok, err := batch.ParseMarker(payload); ok && err == nil {
			f.marker = &marker
		}
	}
	for i := range f.gone {
		f.gone[i], f.before[i] = make([]bool, len(f.records)), make([]bool, len(f.records))
	}
	s.number++
	s.next = []modelBatch{{number: s.number, base: base, count: h.LastOffsetDelta + 1, epoch: epoch,
		payload: bytes.Clone(payload), header: h, fate: f}}
}

func (s *site) elect(p topic.Partition) {
	m, l := s.both(p)
	s.twins.epoch++
	m.role = Role{Epoch: s.twins.epoch, Leading: s.rand().IntN(2) == 0, AcceptAll: true, AcceptOne: true, Ready: true}
	s.note("assume %d %+v", p.Index, m.role)
	l.Assume(m.role)
	s.mine[p] = true
}

// follow ends that a site leads.
func (s *site) follow(p topic.Partition) {
	m, l := s.both(p)
	s.twins.epoch++
	m.role = Role{Epoch: s.twins.epoch}
	l.Assume(m.role)
	delete(s.mine, p)
}

// draw makes a batch that continues its producer, or begins or ends a transaction.
func (s *site) draw(p topic.Partition, m *modelLog) spec {
	random := s.rand()
	b := spec{count: 1 + random.Int32N(3), timestamp: max(1, s.millis()-1500+random.Int64N(1800))}
	b.value = make([]byte, []int{100, 700, 3000}[min(2, random.IntN(12)/5)])
	for i := range b.value {
		b.value[i] = byte(random.Uint32())
	}
	b.value = b.value[:random.IntN(len(b.value)+1)]
	if keyedPartition(p) {
		b.key, b.tombstone = []byte{byte(random.IntN(6))}, random.IntN(6) == 0
	}
	switch random.IntN(6) {
	case 0, 1:
		return b
	case 2, 3:
		b.idempotent, b.producer = true, random.Int64N(3)
	default:
		b.idempotent, b.transactional, b.producer = true, true, 10+random.Int64N(3)
		if m.opened(b.producer) && random.IntN(2) == 0 {
			b.marker, b.count = &batch.Marker{Commit: random.IntN(2) == 0, CoordinatorEpoch: 1}, 1
			return b
		}
	}
	for _, old := range slices.Backward(slices.Concat(m.dropped, m.batches)) {
		if h := old.header; h.ProducerID == b.producer && !h.Control() {
			b.epoch, b.sequence = h.ProducerEpoch, h.BaseSequence+h.LastOffsetDelta+1
			switch again := random.IntN(16); {
			case b.transactional:
			case again == 0: // a retry
				b.sequence, b.count = h.BaseSequence, h.LastOffsetDelta+1
			case again == 1:
				b.sequence++ // something is missing before it
			case again == 2:
				b.epoch, b.sequence = b.epoch+1, 0
			}
			break
		}
	}
	return b
}

// opened reports whether a producer is in a transaction.
func (m *modelLog) opened(producer int64) bool {
	for _, b := range slices.Backward(m.batches) {
		if b.header.ProducerID == producer {
			return !b.header.Control()
		}
	}
	return false
}

func (s *site) append() {
	p := s.pick()
	if !s.mine[p] {
		s.elect(p)
	}
	m, l := s.both(p)
	b := s.draw(p, m)
	if m.role.Leading {
		s.produce(p, m, l, b)
		return
	}
	base, epoch := m.end(), m.role.Epoch
	payload, prev := placed(b, base, epoch), m.tailEpoch()
	var want error
	switch s.rand().IntN(16) {
	case 0:
		base, want = base+1, ErrGap
		payload = placed(b, base, epoch)
	case 1:
		prev, want = prev+1, ErrDiverged
	}
	err := l.AppendReplica(Entry{Partition: p, Epoch: epoch, PrevEpoch: prev, Base: base, Count: b.length(), Payload: payload})
	s.note("replicate %d at %d epoch %d: %v", p.Index, base, epoch, err)
	switch {
	case s.passes(err):
	case !errors.Is(err, want):
		s.fatal("replicate: got %v, want %v", err, want)
	case err == nil:
		s.met("replicate", b)
		s.push(m, payload, base, epoch)
	}
	s.take()
}

func (s *site) met(what string, b spec) {
	s.counts[what]++
	if b.marker != nil {
		s.counts[what+" marker"]++
	} else if b.transactional {
		s.counts[what+" transactional"]++
	}
}

// produce appends as a leader does.
func (s *site) produce(p topic.Partition, m *modelLog, l *Log, b spec) {
	payload := build(b)
	h, err := batch.ParseHeader(payload)
	if err != nil {
		s.fatal("parse: %v", err)
	}
	var got Appended
	if b.marker != nil {
		got, err = l.AppendMarker(expired(), EndTransaction{ProducerID: b.producer, ProducerEpoch: b.epoch,
			Marker: *b.marker, Timestamp: b.timestamp}, AppendOptions{Acks: 1})
	} else {
		g, _ := l.GuardTransaction(b.producer, b.epoch)
		got, err = l.Append(expired(), payload, AppendOptions{Acks: 1, Guard: g})
		l.DropGuard(g)
	}
	s.note("append %d: %+v %v, producer %d epoch %d sequence %d", p.Index, got, err, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	if s.passes(err) {
		s.take()
		return
	}
	s.judged(m, h, got, err)
	switch {
	case err != nil:
		s.counts["append refused"]++
	case got.Duplicate:
		s.counts["append duplicate"]++
	default:
		s.met("append", b)
		if got.Base != m.end() {
			s.fatal("base offset %d, want %d", got.Base, m.end())
		}
		if b.marker != nil && len(s.fresh) > 0 {
			payload = s.fresh[len(s.fresh)-1].Payload
		}
		s.push(m, payload, got.Base, m.role.Epoch)
	}
	s.take()
}

// judged wants the answer to an append that the model gives, with what lies below the log start or without: a start may
// have forgotten that. Where a compaction has been what is left of a producer's batches may say less.
func (s *site) judged(m *modelLog, h batch.Header, got Appended, err error) {
	if h.Control() {
		if err != nil {
			s.fatal("append a marker: %v", err)
		}
		return
	}
	kept := *m
	kept.dropped = nil
	for _, model := range []*modelLog{m, &kept} {
		original, duplicate, want := model.judge(h)
		if errors.Is(err, want) && got.Duplicate == duplicate && (!duplicate || got.Base == original.base && got.End == original.end()) {
			return
		}
	}
	hurt := s.hurt(m) || m.unread // What a start rebuilds the producers from may have been refused.
	for _, b := range slices.Concat(m.forgotten, m.dropped, m.batches) {
		same := b.header.ProducerID == h.ProducerID && b.header.ProducerEpoch == h.ProducerEpoch &&
			b.header.BaseSequence == h.BaseSequence && b.count == h.LastOffsetDelta+1
		if got.Duplicate && same && b.base == got.Base || !got.Duplicate && hurt ||
			!got.Duplicate && b.header.ProducerID == h.ProducerID && b.fate.touched(s.id) {
			return
		}
	}
	_, duplicate, want := m.judge(h)
	s.fatal("append of producer %d, epoch %d, sequence %d: got %+v, %v; want duplicate %v, %v", h.ProducerID,
		h.ProducerEpoch, h.BaseSequence, got, err, duplicate, want)
}

// passes reports whether an error is one that the disk brings about now: no room, or its end.
func (s *site) passes(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, wal.ErrFull) || errors.Is(err, wal.ErrNoSpace) {
		if s.counts["no room"]++; !s.full && !s.doomed && s.driver.Wanted() {
			s.wanting = true
		}
		return true
	}
	return s.doomed && (errors.Is(err, wal.ErrFailed) || errors.Is(err, waltest.ErrCrashed) || errors.Is(err, ErrStopped))
}

func (s *site) truncate() {
	p := s.pick()
	m, l := s.both(p)
	to := m.first() + topic.Offset(s.rand().IntN(int(m.end()-m.first())+3))
	if s.rand().IntN(12) > 0 {
		to = max(to, m.highWatermark)
	}
	want, committed := *m, m.highWatermark
	want.cut(to)
	err := l.Truncate(to)
	s.note("truncate %d to %d: %v", p.Index, to, err)
	switch {
	case m.role.Leading:
		if !errors.Is(err, ErrLeading) {
			s.fatal("truncate by a leader: got %v", err)
		}
	case s.passes(err):
	case errors.Is(err, wal.ErrDamaged) && s.hurt(m):
	case err != nil:
		s.fatal("truncate: %v", err)
	default:
		s.cutAs(m, l, want.end())
		if m.end() < committed {
			s.counts["truncate committed"]++
		}
		s.counts["truncate"]++
	}
	s.take()
}

// cutAs takes a cut, and wants the log to end there, or before batches of which nothing need be left.
func (s *site) cutAs(m *modelLog, l *Log, want topic.Offset) {
	end := l.State().LogEnd
	for _, b := range m.batches {
		if b.base >= end && b.end() <= want && !b.fate.vanished(s.id) {
			s.fatal("%v was cut to %d, want %d", l.partition, end, want)
		}
	}
	if end > want {
		s.fatal("%v was cut to %d, want %d", l.partition, end, want)
	}
	s.take()
}

func (s *site) commit() {
	p := s.pick()
	m, l := s.both(p)
	hw := topic.Offset(s.rand().IntN(int(m.end()) + 3))
	if s.rand().IntN(3) > 0 {
		hw = max(hw, l.State().DurableEnd)
	}
	s.note("high watermark %d to %d", p.Index, hw)
	l.SetHighWatermark(hw)
	m.highWatermark = max(m.highWatermark, min(hw, m.end()))
}

// moveStart moves a log start, as DeleteRecords does at a leader, and as its followers do.
func (s *site) moveStart() {
	p := s.pick()
	m, l := s.both(p)
	certain, known := l.State().DurableEnd, m.highWatermark
	to := m.start + topic.Offset(s.rand().IntN(int(m.end()-m.start)/2+2))
	s.raise(m, l, to, certain, known)
}

// raise moves the start, and wants the answer that belongs to it.
func (s *site) raise(m *modelLog, l *Log, to, certain, known topic.Offset) {
	var err, want error
	if m.role.Leading {
		_, _, err = l.DeleteRecords(expired(), to)
		s.note("delete records of %d below %d: %v", l.partition.Index, to, err)
		switch {
		case to > min(known, certain) && known > certain:
			want = ErrNotReady
		case to > known:
			want = ErrOffsetOutOfRange
		}
		s.counts["delete records"]++
	} else {
		err = l.MoveStart(to)
		s.note("start %d to %d: %v", l.partition.Index, to, err)
		to = min(to, known, certain)
		s.counts["move start"]++
	}
	if s.passes(err) {
		s.take()
		return
	}
	if !errors.Is(err, want) {
		s.fatal("move the start: got %v, want %v", err, want)
	}
	s.take()
	if err == nil && m.start < to {
		s.fatal("%v starts at %d, want %d", l.partition, m.start, to)
	}
}

// retain deletes what is too old, or too much.
func (s *site) retain() {
	p := s.pick()
	m, l := s.both(p)
	keep, now := Retention{AgeMax: maxAge, BytesMax: -1}, s.millis()
	state := l.State()
	durable, size := state.DurableEnd, int64(0)
	var old []modelBatch
	for _, b := range m.batches {
		size += int64(len(b.payload))
		if b.end() <= min(durable, m.highWatermark) {
			old = append(old, b)
		}
	}
	bySize := s.rand().IntN(2) == 0
	if bySize {
		keep.BytesMax = s.rand().Int64N(size + 200)
	} else {
		keep.AgeMax = time.Duration(s.rand().Int64N(6000)) * time.Millisecond
	}
	want, latest := m.start, int64(-1)
	for _, b := range old {
		size -= int64(len(b.payload))
		latest = max(latest, b.header.MaxTimestamp)
		if bySize && size < keep.BytesMax || !bySize && latest >= now-keep.AgeMax.Milliseconds() {
			break
		}
		want = max(want, b.end())
	}
	got := l.Expired(keep, now)
	s.note("retention of %d by %+v: %d", p.Index, keep, got)
	if !keyedPartition(p) && got != want {
		s.fatal("retention %+v of %v leaves it from %d on, want %d", keep, p, got, want)
	}
	if keyedPartition(p) {
		for _, b := range old { // Smaller than the model knows, but no younger record goes.
			if !bySize && b.end() <= got && b.header.MaxTimestamp >= now-keep.AgeMax.Milliseconds() && !b.fate.touched(s.id) {
				s.fatal("retention %+v of %v leaves it from %d on, and the record at %d is younger", keep, p, got, b.base)
			}
		}
	}
	s.counts["retention by "+map[bool]string{true: "size", false: "time"}[bySize]]++
	if got > m.start {
		s.raise(m, l, got, durable, m.highWatermark)
	}
}

func (s *site) remove(p topic.Partition) {
	err := s.store.Remove(p)
	s.note("remove %d: %v", p.Index, err)
	if !s.passes(err) {
		if err != nil {
			s.fatal("remove: %v", err)
		}
		s.counts["removed"]++
		if len(s.fresh) == 0 { // It never came to the disk.
			delete(s.live.logs, p)
			delete(s.mine, p)
		}
	}
	s.take()
}

// step does one thing.
func (s *site) step() {
	random := s.rand()
	switch n := random.IntN(100); {
	case n < 30:
		s.append()
	case n < 32:
		s.truncate()
	case n < 40:
		s.commit()
	case n < 42:
		if random.IntN(3) == 0 {
			s.moveStart()
		} else if random.IntN(2) == 0 {
			s.retain()
		}
	case n < 44:
		s.elect(s.pick())
	case n < 48:
		s.twins.clock.advance(time.Duration(random.IntN(700)) * time.Millisecond)
		s.store.Tick()
		s.take()
	case n < 66:
		s.drive()
	case n < 80:
		s.maintain()
	case n < 88:
		s.copyFrom(s.sites[1-s.id], s.pick())
	case n < 96:
		s.suffer()
	case n < 98:
		if random.IntN(4) == 0 {
			s.move()
		} else if random.IntN(6) == 0 {
			s.remove(s.pick())
		}
	default:
		switch random.IntN(3) {
		case 0:
			s.stop()
		case 1:
			s.verify()
		default:
			if !s.doomed && !s.full && !s.refusing {
				s.settled()
				s.scrub()
			}
		}
	}
}

// drive has the WAL get on.
func (s *site) drive() {
	if s.wanting {
		s.wanting = false
		s.settled()
		return
	}
	switch s.rand().IntN(5) {
	case 0:
		s.tolerated("prepare", s.driver.Prepare())
	case 1:
		s.tolerated("turn", s.driver.Turn())
	case 2:
		s.driver.Disk()
	case 3:
		s.tolerated("complete", s.driver.Complete())
	default:
		s.settled()
	}
}

// tolerated wants no error that nothing was done for.
func (s *site) tolerated(what string, err error) {
	if err == nil || s.passes(err) {
		return
	}
	s.fatal("%s: %v", what, err)
}

// settled makes durable what is queued.
func (s *site) settled() {
	for s.driver.Wanted() {
		err := s.driver.Prepare()
		s.tolerated("prepare", err)
		if err != nil {
			break
		}
	}
	s.tolerated("turn", s.driver.Turn())
	s.busy = s.busy && (s.driver.Writing() || s.driver.Wanted())
	for s.driver.Writing() {
		s.driver.Disk()
	}
	for s.driver.Written() {
		s.tolerated("complete", s.driver.Complete())
	}
}

// maintain drains, sorts, merges and compacts.
func (s *site) maintain() {
	random := s.rand()
	used := s.store.walLog.End().File
	if _, ok := s.store.walLog.Born(used); ok && random.IntN(4) == 0 {
		s.store.walLog.Seal(used)
	}
	before := s.store.Stats()
	if random.IntN(2) == 0 {
		s.mark()
		more, err := s.driver.Compact(random.Int64N(20 << 10))
		s.note("compact: %v, %v", more, err)
		s.tolerated("compact", err)
	} else {
		drain, what := s.driver.Drain, "drain"
		if random.IntN(2) == 0 {
			drain, what = s.driver.Adopt, "adopt"
			s.store.digests.mu.Lock()
			s.store.digests.bytesMax = random.IntN(16 << 10) // Some files have no digest.
			s.store.digests.mu.Unlock()
		}
		if random.IntN(3) == 0 {
			s.store.drainer.ending = s.meanwhile()
		}
		done, err := drain()
		s.store.drainer.ending = nil
		s.store.digests.burdenMax = burdenBytes
		s.note("%s: %v, %v", what, done, err)
		s.tolerated(what, err)
	}
	s.take()
	now := s.store.Stats()
	s.counts["drained"] += int(now.Drain.Files - before.Drain.Files)
	s.counts["adopted"] += int(now.Drain.Adopted - before.Drain.Adopted)
	s.counts["headed"] += int(now.Drain.Heads - before.Drain.Heads)
	s.counts["held"] += s.store.drainer.waiting()
	s.counts["rewritten"] += int(now.Drain.Repacked - before.Drain.Repacked)
	s.counts["merged"] += int(now.Drain.Merged - before.Drain.Merged)
	s.counts["compacted"] += int(now.Compaction.Logs - before.Compaction.Logs)
}

// meanwhile is what is done to the logs while a drain or a rewrite works: files fill up then, and are adopted in the midst of it.
func (s *site) meanwhile() (between func() bool) {
	within, pieces, adopted := false, s.store.drainer.given, int64(0)
	return func() bool {
		if d := &s.store.drainer; d.given > pieces {
			now := s.store.Stats().Drain.Adopted
			if adopted > 0 && now > adopted {
				s.counts["adopted meanwhile"]++
			}
			pieces, adopted = d.given, now
		}
		if within || s.dead() || s.rand().IntN(4) > 0 {
			return false
		}
		within = true
		switch s.rand().IntN(6) {
		case 0:
			s.moveStart()
		case 1:
			s.truncate()
		case 2:
			s.commit()
		default:
			s.append()
		}
		if used := s.store.walLog.End().File; s.rand().IntN(3) == 0 {
			if _, ok := s.store.walLog.Born(used); ok {
				s.store.walLog.Seal(used)
			}
		}
		s.settled()
		s.store.found.Store(int32(busy))
		s.store.digests.burdenMax = 1 // Each file is due.
		within = false
		return false
	}
}

// move copies a log to the other site, all of it, and gives it up here.
func (s *site) move() {
	p, other := s.pick(), s.sites[1-s.id]
	for range 40 {
		other.copyFrom(s, p)
		other.settled()
		if other.dead() || s.dead() {
			return
		}
		if m := other.live.model(p); m.end() == s.live.model(p).end() && m.tailEpoch() == s.live.model(p).tailEpoch() {
			s.counts["moved"]++
			s.remove(p)
			return
		}
	}
}
