package partition

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog/catalogtest"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

func (s *site) config() Config {
	logger := slog.New(slog.DiscardHandler)
	return Config{
		WAL: wal.Config{FS: s.disk, Dir: "wal", Session: topic.Session(2*s.session + uint64(s.id)), FileBytes: 64 << 10,
			GroupBytesMax: 8 << 10, SparesMax: 2, Cache: wal.Cache{BytesMax: 64 << 10, ChunkBytes: 4 << 10}},
		TailBytesMax:            s.tail,
		HighWatermarkCheckpoint: time.Second,
		ProducerIDExpiration:    1000 * time.Hour,
		CompactBytesMax:         s.keys * 56,
		RollBackoff:             Forever, // files are sealed by step alone
		Catalog:                 s.table,
		Observer:                s,
		Now:                     s.twins.clock.now,
		Logger:                  logger,
		portionBytes:            s.portion,
		dueBatch:                1,
		mutant:                  s.bug,
		ChunkBatches:            s.chunk,
		portionBatches:          2 * s.chunk,
		Spill:                   s.spill(),
	}
}

// metaSegment is by how much the spill grows: a chunk takes one or two slots.
const metaSegment = 4 * spillUnit

// spill is one of a process: nothing of it is there after the next start.
func (s *site) spill() *Spill {
	if s.chunk == 0 {
		return nil
	}
	segments := s.segments
	return newSpill(slog.New(slog.DiscardHandler), func(int) ([]byte, error) {
		if segments--; segments < 0 {
			return nil, syscall.ENOSPC
		}
		return make([]byte, metaSegment), nil
	})
}

// wantSpilled wants what the spill says is in use to be what the logs, and a compaction, have there.
func (s *site) wantSpilled() {
	to := s.store.cfg.Spill
	if to == nil {
		return
	}
	want := int64(0)
	count := func(x *index) {
		for _, c := range x.chunks {
			if c.spilled {
				want += int64(cap(c.frozen))
				s.counts["spilled"]++
			}
		}
	}
	for _, l := range s.store.snapshot() {
		count(&l.mu.index)
	}
	if c := s.store.drainer.compaction; c != nil {
		s.counts["spilled while compacting"]++
		lists := map[*index]bool{}
		for _, one := range append(slices.Clone(c.done), c.now, c.rest) {
			if one != nil {
				lists[one.was.x], lists[one.out] = true, true
			}
		}
		for x := range lists {
			count(x)
		}
	}
	if got, _ := to.Bytes(); got != want {
		s.fatal("%d bytes of the spill are in use, want %d", got, want)
	}
	if to.mu.full {
		s.counts["no room to spill"]++
	}
}

// open starts the store, and has the model be what some front of the records makes: no shorter than what was promised,
// unless the log was damaged.
func (s *site) open(table *catalogtest.Catalog) {
	s.session++
	disk := s.disk
	table.Durable = func(apply func()) error {
		if _, err := disk.List("wal"); err != nil {
			return err
		}
		apply()
		return nil
	}
	s.table, s.hand = table, &hand{t: s.twins.t, fs: disk, random: s.rand(), clock: s.twins.clock, epoch: 1}
	s.doomed, s.full, s.refusing, s.busy = false, false, false, false
	s.fresh, s.next = nil, nil
	cfg := s.config()
	store, err := Open(cfg)
	if errors.Is(err, wal.ErrDamaged) && s.chainBad {
		s.note("open: %v", err)
		s.counts["quarantined"]++
		if _, err := Quarantine(cfg); err != nil {
			s.fatal("quarantine: %v", err)
		}
		s.session++
		cfg = s.config()
		store, err = Open(cfg)
	}
	if err != nil {
		s.fatal("open: %v", err)
	}
	s.store = store
	for _, l := range store.snapshot() {
		s.counts["left unread"] += unreadIn(l)
	}
	s.store.appender = tap{s.store.appender, s}
	s.store.SetLease(Forever)
	s.store.CompactBy(func(p topic.Partition) (Compaction, bool) {
		rules := s.twins.rules
		rules.Now, rules.Hold = s.millis(), s.away[p]
		s.looked = rules.Now
		return rules, keyedPartition(p)
	})
	if s.driver, err = s.store.Drive(); err != nil {
		s.fatal("drive: %v", err)
	}
	s.found()
	for _, at := range s.spoilt { // Batches may be back that were gone when the place was damaged where they lie.
		s.spoil(at)
	}
	s.wantNoHoles()
	for _, l := range s.store.snapshot() {
		if len(l.mu.damaged) > 0 {
			s.counts["damaged at a start"]++
			s.live.model(l.partition).unread = true
		}
		for _, base := range slices.Clone(l.mu.damaged) {
			if !s.chainBad && !s.legit(s.live.model(l.partition), l, base) {
				s.fatal("a start takes %v for damaged at %d", l.partition, base)
			}
			s.forgive(l, base)
		}
	}
	s.logs = nil
	for i := range int32(metaPartitions) {
		s.logs = append(s.logs, s.store.Create(topic.Partition{Topic: p0.Topic, Index: i}))
	}
	if s.chainBad { // What the start did not need, such as a spare file, is whole from now on.
		for _, name := range s.disk.Names() {
			if !strings.HasSuffix(name, ".pack") {
				s.disk.Damage(name, func(b []byte) []byte { return b })
			}
		}
		s.twins.clock.advance(2 * time.Minute) // It is asked again.
	}
	s.mine, s.chainBad = map[topic.Partition]bool{}, false
}

// wantNoHoles wants no batch to lie in no pack, or before the one that it follows: damage in the WAL can take the
// record that dropped a batch after what held the batch was given up, or after what is left of the log was moved; the
// start settles that.
func (s *site) wantNoHoles() {
	for _, l := range s.store.snapshot() {
		for i := range l.mu.settled {
			e := l.mu.index.at(i)
			_, there := s.store.drainer.packs[e.at.File&^wal.PackBit]
			missing := e.at.File&wal.PackBit != 0 && !there
			if (missing || i > 0 && l.mu.index.at(i-1).at.Compare(e.at) >= 0) && !l.damagedLocked(e.base) {
				s.fatal("%v has its batch at %d in no pack, or out of order, at %v", l.partition, e.base, e.at)
			}
		}
	}
}

// found has the model be what was found.
func (s *site) found() {
	least := s.promised
	if s.chainBad {
		least = 0
	}
	found, rp := -1, newReplayed()
	for i := 0; ; i++ {
		if i >= least && s.agrees(rp) {
			found = i
		}
		if i == len(s.written) {
			break
		}
		rp.play(s.written[i])
	}
	if found < 0 {
		for _, l := range s.store.snapshot() {
			s.note("found %d: %+v", l.partition.Index, l.State())
		}
		for p, m := range rp.logs {
			s.note("all %d: %d to %d, high watermark %d, epoch %d", p.Index, m.start, m.end(), m.highWatermark, m.tailEpoch())
		}
		s.fatal("what was found is nothing that %d records make, of which %d were promised", len(s.written), s.promised)
	}
	s.note("open: %d records of %d, promised %d", found, len(s.written), s.promised)
	if found < len(s.written) {
		s.counts["records lost"]++
	}
	reverted := found < len(s.written)
	s.written, s.promised = s.written[:found:found], found
	s.live = newReplayed()
	for _, r := range s.written {
		s.live.play(r)
	}
	for _, m := range s.live.logs {
		for _, b := range m.batches {
			if reverted {
				b.fate.reverts(s.id)
			}
		}
	}
	s.live.started()
	s.live.stale = map[*modelLog]bool{}
	for p, m := range s.live.logs {
		if l := s.store.Log(p); l != nil {
			m.highWatermark = l.State().HighWatermark
		}
	}
}

// agrees reports whether the logs are those of the model, as far as their ends and epochs tell.
func (s *site) agrees(rp *replayed) bool {
	for i := range int32(metaPartitions) {
		p := topic.Partition{Topic: p0.Topic, Index: i}
		m, l := rp.logs[p], s.store.Log(p)
		if m == nil {
			m = emptyModel()
		}
		state := State{TailEpoch: topic.NoEpoch}
		if l != nil {
			state = l.State()
		}
		if state.LogEnd != m.end() || state.LogStart != m.start || state.TailEpoch != m.tailEpoch() {
			return false
		}
		if state.HighWatermark != m.highWatermark && (state.HighWatermark < m.highWatermark || !s.compacted[p]) {
			return false
		}
	}
	return true
}

// dead reports whether the store has ended.
func (s *site) dead() bool {
	if s.store.mu.failed != nil {
		return true
	}
	_, err := s.disk.List("wal")
	return errors.Is(err, waltest.ErrCrashed)
}

// heal starts a store again that has ended.
func (s *site) heal() {
	for _, one := range s.sites {
		if !one.dead() {
			continue
		}
		if !one.doomed {
			one.fatal("the store has ended: %v", one.store.mu.failed)
		}
		if one.store.mu.failed == nil || errors.Is(one.store.mu.failed, waltest.ErrCrashed) {
			one.counts["crashed within a step"]++
			one.crash(false)
		} else {
			one.counts["write failed"]++
			one.crash(one.rand().IntN(2) == 0)
		}
	}
}

// crash is a loss of power, or the end of the process alone.
func (s *site) crash(kill bool) {
	s.note("crash, kill %v", kill)
	if kill {
		s.counts["killed"]++
		s.disk = s.disk.Restart()
	} else {
		s.counts["crashed"]++
		s.disk = s.disk.Crash(s.rand())
	}
	s.disk.SetCapacity(0)
	s.open(s.table.Clone())
}

// stop ends the store cleanly, and starts it again: nothing is lost.
func (s *site) stop() {
	if s.doomed || s.full || s.refusing {
		return
	}
	if err := errors.Join(s.driver.Close(), s.store.Close()); err != nil {
		s.fatal("close: %v", err)
	}
	s.take()
	s.promised = len(s.written)
	s.counts["stopped"]++
	s.note("stop")
	s.open(s.table)
}

// suffer lets something happen to the disk, or ends that.
func (s *site) suffer() {
	random := s.rand()
	if s.doomed {
		return
	}
	switch random.IntN(20) {
	case 0, 1:
		s.damage()
	case 2, 3, 4:
		if slices.ContainsFunc(s.store.snapshot(), func(l *Log) bool { return s.hurt(s.live.model(l.partition)) }) {
			s.repair()
		}
	case 5, 6, 7, 8:
		switch {
		case s.full:
			s.space()
		case random.IntN(3) == 0:
			s.counts["disk full"]++
			s.full = true
			s.note("disk full")
			s.disk.SetCapacity(s.disk.Used() + 1 + random.Int64N(100<<10))
		}
	case 9, 10, 11, 12:
		switch {
		case s.refusing:
			s.readable()
		case random.IntN(4) == 0:
			s.refuse()
		}
	case 13:
		if random.IntN(2) == 0 {
			s.failWrites(random.IntN(12))
		}
	case 14, 15:
		s.doomed = true
		s.disk.CrashAfter(1 + random.IntN(40))
	case 16:
		s.crash(random.IntN(2) == 0)
	}
}

// failWrites lets the n-th change of the disk fail, and all behind it.
func (s *site) failWrites(n int) {
	s.note("writes fail after %d changes", n)
	s.doomed = true
	s.disk.Intercept(func(op waltest.Op) error {
		if op.Verb == waltest.Read || op.Verb == waltest.List || op.Verb == waltest.Open {
			return nil
		}
		if n--; n < 0 {
			return fmt.Errorf("%s: %w", op.Verb, syscall.EIO)
		}
		return nil
	})
}

// refuse has the disk not give back a third of its blocks.
func (s *site) refuse() {
	s.counts["refused reads"]++
	s.note("reads are refused")
	s.refusing = true
	salt := byte(s.rand().Uint32())
	s.disk.Intercept(func(op waltest.Op) error {
		if op.Verb != waltest.Read || op.Bytes == 0 {
			return nil
		}
		for block := op.Offset / 4096; block <= (op.Offset+op.Bytes-1)/4096; block++ {
			sum := fnv.New32a()
			_, _ = sum.Write(append([]byte(op.Name), salt, byte(block), byte(block>>8)))
			if sum.Sum32()%3 == 0 {
				return fmt.Errorf("read: %w", syscall.EIO)
			}
		}
		return nil
	})
}

// readable ends that, and what was refused meanwhile comes from the other site.
func (s *site) readable() {
	s.note("reads again")
	s.disk.Intercept(nil)
	for _, l := range s.store.snapshot() {
		l.mu.Lock()
		damaged := slices.Clone(l.mu.damaged)
		l.mu.Unlock()
		for _, base := range damaged {
			s.forgive(l, base)
		}
	}
	s.refusing = false
	s.twins.clock.advance(2 * time.Minute)
	s.counts["reads again"]++
	s.repair()
}

// forgive passes over what was refused once.
func (s *site) forgive(l *Log, base topic.Offset) {
	l.mu.Lock()
	e := l.mu.index.at(l.mu.index.covering(base))
	l.mu.Unlock()
	for _, b := range s.live.model(l.partition).within(e.base, e.end()) {
		s.forgiven[b.fate] = true
	}
}

// within lists the batches from one offset up to another.
func (m *modelLog) within(from, to topic.Offset) []modelBatch {
	first, _ := slices.BinarySearchFunc(m.batches, from, func(b modelBatch, at topic.Offset) int { return int(b.base - at) })
	last, _ := slices.BinarySearchFunc(m.batches, to, func(b modelBatch, at topic.Offset) int { return int(b.base - at) })
	return m.batches[first:last]
}

// space ends that the disk is full: a leader takes a batch again.
func (s *site) space() {
	s.note("space again")
	s.full = false
	s.disk.SetCapacity(0)
	s.counts["space again"]++
	s.twins.clock.advance(time.Second)
	for range 100 {
		s.settled()
		p := topic.Partition{Topic: p0.Topic}
		m, l := s.both(p)
		if !s.mine[p] || !m.role.Leading {
			s.elect(p)
			continue
		}
		before := len(s.written)
		s.produce(p, m, l, spec{timestamp: s.millis()})
		if len(s.written) > before {
			return
		}
	}
	s.fatal("no append is taken although there is space")
}

// hurt reports whether something of a log may not be read.
func (s *site) hurt(m *modelLog) bool {
	return s.refusing || slices.ContainsFunc(m.batches, func(b modelBatch) bool { return s.forgiven[b.fate] })
}

// legit reports whether the batch at an offset may be refused.
func (s *site) legit(m *modelLog, l *Log, at topic.Offset) bool {
	l.mu.Lock()
	var e extent
	if i := l.mu.index.covering(at); i < l.mu.index.len() {
		e = l.mu.index.at(i)
	}
	l.mu.Unlock()
	return s.refusing || slices.ContainsFunc(m.within(e.base, e.end()), func(b modelBatch) bool { return s.forgiven[b.fate] })
}

// damage spoils a place of the disk: in a batch that is needed, or anywhere.
func (s *site) damage() {
	random := s.rand()
	if s.settled(); s.dead() {
		return
	}
	var names []string
	for _, name := range s.disk.Names() {
		if strings.HasPrefix(name, "wal/") && !strings.Contains(name, "quarantine") && (strings.HasSuffix(name, ".wal") || strings.HasSuffix(name, ".pack")) {
			names = append(names, name)
		}
	}
	name := names[random.IntN(len(names))]
	from, to := int64(4096), int64(len(s.disk.Content(name)))
	if l := s.logs[random.IntN(len(s.logs))]; random.IntN(4) > 0 && l.mu.settled > 0 {
		e := l.mu.index.at(random.IntN(l.mu.settled))
		name, from = "wal/"+e.at.FileName(), e.at.Offset
		to = from + int64(e.encoded)
	}
	if to <= from || !s.disk.Exists(name) {
		return
	}
	if random.IntN(3) > 0 {
		from = s.disk.Flip(random, name, from, to)
		to = from + 1
		s.counts["flipped"]++
	} else {
		from = (from + random.Int64N(to-from)) / 4096 * 4096
		to = from + 4096
		s.disk.Unread(name, from, 1)
		s.counts["unreadable"]++
	}
	s.chainBad = s.chainBad || strings.HasSuffix(name, ".wal")
	at := place{name, from, to}
	s.spoilt = append(s.spoilt, at)
	s.note("damage %s from %d to %d: %d batches", name, from, to, s.spoil(at))
}

// place is a part of a file.
type place struct {
	name     string
	from, to int64
}

// spoil notes which batches lie at a place that is damaged, and says how many.
func (s *site) spoil(at place) (hit int) {
	for _, l := range s.store.snapshot() {
		m := s.live.model(l.partition)
		for i := range l.mu.settled {
			e := l.mu.index.at(i)
			if "wal/"+e.at.FileName() != at.name || e.at.Offset >= at.to || e.at.Offset+int64(e.encoded) <= at.from {
				continue
			}
			for _, b := range m.within(e.base, e.end()) {
				b.fate.spoilt[s.id], s.forgiven[b.fate] = true, true
				hit++
			}
		}
	}
	return hit
}

// scrub reads everything, and wants all that is damaged found, and nothing else.
func (s *site) scrub() {
	for turns := 0; !s.driver.Scrub(); turns++ {
		if turns > 100_000 {
			s.fatal("a pass of the scrub does not end")
		}
	}
	for _, l := range s.store.snapshot() {
		m := s.live.model(l.partition)
		for i := range l.mu.settled {
			e := l.mu.index.at(i)
			spoilt := false
			for _, b := range m.within(e.base, e.end()) {
				spoilt = spoilt || b.fate.spoilt[s.id]
			}
			if !spoilt || l.damagedLocked(e.base) {
				continue
			}
			// It may have been copied elsewhere from memory, before anybody met the damage.
			if _, err := l.load([]piece{{extent: e}}); err != nil {
				s.fatal("the scrub of %v has not found the damaged batch at %d, %v: %v", l.partition, e.base, e.at, err)
			}
			for _, b := range m.within(e.base, e.end()) {
				b.fate.spoilt[s.id] = false
			}
		}
		if len(l.mu.damaged) > 0 {
			s.counts["found by scrub"]++
		}
	}
}

// repair cuts what is damaged, and has it filled from the other site.
func (s *site) repair() {
	other := s.sites[1-s.id]
	if s.doomed || s.full || s.refusing || other.doomed {
		return
	}
	s.settled()
	s.scrub()
	for _, d := range s.store.Damaged() {
		p := d.Partition
		s.follow(p)
		m, l := s.both(p)
		if err := s.store.PrepareCut(p); err != nil {
			s.fatal("prepare the cut of %v: %v", p, err)
		}
		err := l.CutDamage()
		for tries := 0; errors.Is(err, wal.ErrFull) && tries < 5; tries++ {
			s.settled()
			err = l.CutDamage()
		}
		if err != nil {
			s.fatal("cut the damage of %v: %v", p, err)
		}
		end := l.State().LogEnd
		s.note("cut the damage of %d at %d: %d", p.Index, d.Offset, end)
		if end > d.Offset || !slices.ContainsFunc(m.batches, func(b modelBatch) bool { return b.base >= end && s.forgiven[b.fate] }) {
			s.fatal("%v, damaged at %d, was cut to %d", p, d.Offset, end)
		}
		if s.take(); m.end() != end {
			s.fatal("%v was cut to %d, of which the record says %d", p, end, m.end())
		}
		for range 60 {
			s.copyFrom(other, p)
			if s.settled(); m.end() >= other.live.model(p).end() {
				break
			}
			m = s.live.model(p)
		}
		s.counts["repaired"]++
	}
	s.settled()
	if got := s.store.Damaged(); len(got) > 0 && !slices.ContainsFunc(got, func(d DamagedLog) bool { return s.hurt(s.live.model(d.Partition)) }) {
		s.fatal("damage after the repair: %+v", got)
	}
}

// shared is where the logs of two models part, if they have anything in common.
func shared(a, b *modelLog) (end topic.Offset, some bool) {
	for _, x := range slices.Backward(a.batches) {
		if found := b.within(x.base, x.end()); len(found) > 0 && found[0].number == x.number {
			return x.end(), true
		}
	}
	return 0, false
}

// copyFrom has a log follow that of another site for a while, as a replica does that is new or was cut.
func (s *site) copyFrom(src *site, p topic.Partition) {
	if s.doomed || src.doomed {
		return
	}
	from, source := src.both(p)
	if len(from.batches) == 0 && from.end() == 0 {
		return
	}
	s.follow(p)
	m, l := s.both(p)
	if !s.reconcile(m, l, from, source) {
		return
	}
	for range 1 + s.rand().IntN(4) {
		entries := src.fetch(source, from, m.end())
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if e.Base+topic.Offset(e.Count) <= m.end() {
				continue
			}
			if e.Base > m.end() || !s.fill(m, l, from, src.id, e) {
				return
			}
		}
	}
	l.SetHighWatermark(from.highWatermark)
	m.highWatermark = max(m.highWatermark, min(from.highWatermark, m.end()))
	if from.start > m.start {
		s.raise(m, l, from.start, l.State().DurableEnd, m.highWatermark)
	}
}

// reconcile has a log be a front of its leader's.
func (s *site) reconcile(m *modelLog, l *Log, from *modelLog, source *Log) bool {
	state := source.State()
	end, some := shared(m, from)
	source.mu.Lock()
	epoch := source.mu.epochs.of(state.First - 1)
	source.mu.Unlock()
	empty := len(m.batches) == 0 && m.end() == state.First && m.tailEpoch() == epoch
	// Records below what a compaction has dropped for its age may lack what ends them.
	if some && end >= max(state.Dropped, state.Dropping) || empty {
		if !some || end == m.end() {
			return true
		}
		err := l.Truncate(end)
		s.note("reconcile %d at %d of %d: %v", l.partition.Index, end, m.end(), err)
		if errors.Is(err, wal.ErrDamaged) && s.hurt(m) || s.passes(err) {
			s.take()
			return false
		}
		if err != nil {
			s.fatal("reconcile: %v", err)
		}
		s.cutAs(m, l, end)
		return m.end() >= state.First
	}
	err := l.Reset(state.First, epoch)
	s.note("reset %d to %d, epoch %d: %v", l.partition.Index, state.First, epoch, err)
	if s.passes(err) {
		return false
	}
	if err != nil {
		s.fatal("reset: %v", err)
	}
	s.counts["copy reset"]++
	s.take()
	return true
}

// fetch reads what a follower needs next.
func (s *site) fetch(l *Log, m *modelLog, from topic.Offset) []Entry {
	if entries, ok := l.ReadTail(from, 4<<10); ok {
		return entries
	}
	at, ok := l.Position(from)
	if !ok {
		if !s.hurt(m) && from < l.State().DurableEnd {
			s.fatal("there is no batch of %v at %d", l.partition, from)
		}
		return nil
	}
	var found []Entry
	for turns, end := 0, false; len(found) == 0 && !end && turns < 40; turns++ {
		var entries []Entry
		var err error
		if entries, at, end, err = s.store.Scan(at, 8<<10); err != nil {
			s.fatal("scan: %v", err)
		}
		for _, e := range entries {
			if e.Partition == l.partition && e.Base+topic.Offset(e.Count) > from {
				found = append(found, e)
			}
		}
	}
	return found
}

// fill appends what another site has sent.
func (s *site) fill(m *modelLog, l *Log, from *modelLog, source int, e Entry) bool {
	e = e.From(m.end())
	end := e.Base + topic.Offset(e.Count)
	batches := slices.Clone(from.within(e.Base, end))
	if len(batches) > 0 && batches[0].base > e.Base && batches[0].base <= from.start {
		batches = slices.Insert(batches, 0, s.gap(e.Base, batches[0]))
	}
	if len(batches) == 0 || batches[0].base != e.Base || batches[len(batches)-1].end() != end {
		s.fatal("got an entry of %v from %d to %d, where no batches end", e.Partition, e.Base, end)
	}
	err := l.AppendReplica(e)
	s.note("fill %d at %d to %d: %v", e.Partition.Index, e.Base, end, err)
	if errors.Is(err, wal.ErrFull) {
		s.settled()
		err = l.AppendReplica(e)
	}
	if s.passes(err) {
		return false
	}
	if err != nil {
		s.fatal("append what another site has sent: %v", err)
	}
	for _, b := range batches {
		b.fate.copied(s.id, source)
	}
	s.next = batches
	s.take()
	s.counts["copied"]++
	return true
}

// gap stands for batches below a log start, without records, that a compaction has made one with the next.
func (s *site) gap(base topic.Offset, next modelBatch) modelBatch {
	payload := batch.Span(int64(base), int64(next.base-1), int32(next.epoch))
	h, err := batch.ParseHeader(payload)
	if err != nil {
		s.fatal("parse: %v", err)
	}
	s.number++
	return modelBatch{number: s.number, base: base, count: int32(next.base - base), epoch: next.epoch, payload: payload,
		header: h, fate: &fate{at: s.twins.clock.now()}}
}

// queued reports whether a log is not on the disk as it is in memory, for want of a file.
func (s *site) queued() bool {
	return slices.ContainsFunc(s.store.snapshot(), func(l *Log) bool {
		return l.mu.durable < l.mu.end || l.mu.startDurable < l.mu.start || l.mu.resets > 0 || l.mu.cuts.pending.len() > 0
	})
}

// verify looks at the directory as a killed process leaves it.
func (s *site) verify() {
	if s.doomed || s.refusing {
		return
	}
	for tries := 0; s.busy || s.queued(); tries++ {
		if s.settled(); s.dead() || tries == 20 { // No room, and the directory holds what the model does not.
			return
		}
	}
	found, err := Verify(Verification{FS: s.disk.Clone(), Dir: "wal", Catalog: s.table.Clone()})
	if err != nil {
		s.fatal("verify: %v", err)
	}
	s.counts["verified"]++
	s.note("verify: %+v", found.Damage)
	var lost []Span
	for _, f := range found.Damage {
		lost = append(lost, f.Lost...)
		legit := s.chainBad
		for _, span := range f.Lost {
			legit = legit || slices.ContainsFunc(s.live.model(span.Partition).batches, func(b modelBatch) bool {
				return b.base < span.To && b.end() > span.From && s.forgiven[b.fate]
			})
		}
		if !legit && (f.Place != InPack || len(f.Lost) > 0) {
			s.fatal("verify found %+v", f)
		}
	}
	if s.chainBad {
		return
	}
	for _, l := range s.store.snapshot() {
		m := s.live.model(l.partition)
		for i := range l.mu.settled {
			e := l.mu.index.at(i)
			for _, b := range m.within(e.base, e.end()) {
				if !b.fate.spoilt[s.id] || e.at.File&wal.PackBit == 0 {
					continue
				}
				s.counts["verified damage"]++
				if _, err := l.load([]piece{{extent: e}}); err != nil && !slices.ContainsFunc(lost, func(span Span) bool {
					return span.Partition == l.partition && span.From <= e.base && e.end() <= span.To
				}) {
					s.fatal("verify has not found the damage of %v at %d, %v: %+v", l.partition, e.base, err, found.Damage)
				}
			}
		}
	}
}
