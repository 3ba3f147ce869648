package partition

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// decided is what the model knows of transactions.
type decided struct {
	// aborted are the numbers of the batches that a reader of committed records is not to have.
	aborted map[int]bool
	// open are those of transactions that may yet go either way.
	open   map[int]bool
	stable topic.Offset
}

// decide derives the transactions from a list of batches; those that skip says are not there.
func (m *modelLog) decide(batches []modelBatch, skip func(modelBatch) bool) decided {
	d := decided{aborted: map[int]bool{}, open: map[int]bool{}, stable: m.highWatermark}
	running := map[int64][]modelBatch{}
	for _, b := range batches {
		id := b.header.ProducerID
		switch {
		case b.fate.marker != nil:
			if b.end() > m.highWatermark { // It may yet be cut.
				d.keepOpen(running[id])
			} else if !b.fate.marker.Commit {
				for _, one := range running[id] {
					d.aborted[one.number] = true
				}
			}
			delete(running, id)
		case b.header.Transactional() && !skip(b):
			running[id] = append(running[id], b)
		}
	}
	for _, open := range running {
		d.keepOpen(open)
	}
	d.stable = max(d.stable, m.start)
	return d
}

func (d *decided) keepOpen(transaction []modelBatch) {
	for _, b := range transaction {
		d.open[b.number] = true
		d.stable = min(d.stable, b.base)
	}
}

// transactions are those of the model; the last stable offset is at most that of most.
func (s *site) transactions(m *modelLog) (least, most decided) {
	least = m.decide(slices.Concat(m.forgotten, m.dropped, m.batches), func(modelBatch) bool { return false })
	most = m.decide(m.batches, func(b modelBatch) bool { return b.fate.vanished(s.id) })
	return least, most
}

// mark marks what a compaction may take now.
func (s *site) mark() {
	now := s.millis()
	if s.store.drainer.compaction != nil {
		now = s.looked
	} else {
		for i := range int32(metaPartitions) {
			s.away[topic.Partition{Topic: p0.Topic, Index: i}] = s.rand().IntN(3) == 0
		}
	}
	for p, m := range s.live.logs {
		if !keyedPartition(p) || len(m.batches) == 0 {
			continue
		}
		s.compacted[p] = true
		least, most := s.transactions(m)
		limit := s.aged(m, most.stable, now)
		newest := map[string]int64{}
		for _, b := range m.batches {
			if b.end() > limit || b.fate.marker != nil || least.aborted[b.number] {
				continue
			}
			for _, r := range b.fate.records {
				newest[string(r.Key)] = r.Offset
			}
		}
		for _, b := range m.batches {
			if b.end() > limit {
				break
			}
			old := b.fate.passed(s.id, now)
			if old && s.away[p] {
				s.counts["kept for a replica"]++
				old = false
			}
			if b.fate.tombstones() {
				b.fate.gives(s.id, now+metaTombstones.Milliseconds())
			}
			for i, r := range b.fate.records {
				switch {
				case b.fate.marker != nil:
					b.fate.gone[s.id][i] = b.fate.gone[s.id][i] || old
				case least.aborted[b.number], newest[string(r.Key)] > r.Offset, r.Value == nil && old:
					b.fate.gone[s.id][i] = true
				}
			}
		}
	}
}

// aged is up to where a log is old enough to be compacted.
func (s *site) aged(m *modelLog, limit topic.Offset, now int64) topic.Offset {
	for _, b := range m.batches {
		// Of one that was compacted the young records may be gone: it was old enough before.
		if s.twins.rules.LagMin > 0 && b.base < limit && b.header.MaxTimestamp > now-s.twins.rules.LagMin.Milliseconds() && !b.fate.touched(s.id) {
			s.counts["too young"]++
			return b.base
		}
	}
	return limit
}

// look compares what the stores tell with the models: something after each step, all of it now and then.
func (s *site) look() {
	s.take()
	if s.dead() {
		return
	}
	all := s.rand().IntN(50) == 0
	for i := range int32(metaPartitions) {
		p := topic.Partition{Topic: p0.Topic, Index: i}
		m, l := s.both(p)
		s.checkState(p, m, l)
		if all || s.rand().IntN(metaPartitions) == 0 {
			s.checkStable(m, l)
			s.checkDamaged(m, l)
			s.checkRead(m, l)
			s.checkTime(m, l)
			s.checkEpoch(m, l)
		}
	}
	if !all {
		return
	}
	s.wantNoHoles()
	s.wantTallied()
	for i := range int32(metaPartitions) {
		p := topic.Partition{Topic: p0.Topic, Index: i}
		m, l := s.both(p)
		s.checkAll(m, l)
		s.wantCounted(l)
	}
	s.checkScan()
	s.wantSpilled()
}

func (s *site) checkState(p topic.Partition, m *modelLog, l *Log) {
	got := l.State()
	want := got
	want.HighWatermark, want.LogEnd, want.LogStart, want.TailEpoch, want.Role = m.highWatermark, m.end(), m.start, m.tailEpoch(), m.role
	if !keyedPartition(p) {
		want.First, want.Size, want.Unacked, want.Dropped, want.Dropping = m.first(), 0, 0, 0, 0
		for _, b := range m.batches {
			want.Size += int64(len(b.payload))
			if b.end() > m.highWatermark {
				want.Unacked += int64(len(b.payload))
			}
		}
	}
	if got != want {
		s.fatal("partition %d is\n %+v, want\n %+v", p.Index, got, want)
	}
	if got.DurableEnd > got.LogEnd || got.StartDurable > got.LogStart || got.First > m.first() {
		s.fatal("partition %d is %+v, with a first batch at %d", p.Index, got, m.first())
	}
}

func (s *site) checkStable(m *modelLog, l *Log) {
	least, most := s.transactions(m)
	if m.unread || s.hurt(m) { // A start could not read what it rebuilds the transactions from.
		least.stable = m.start
	}
	if s.hurt(m) {
		most = m.decide(m.batches, func(b modelBatch) bool { return s.forgiven[b.fate] || b.fate.vanished(s.id) })
		if s.refusing {
			most.stable = m.highWatermark
		}
	}
	if got := l.State().LastStable; got < least.stable || got > most.stable {
		s.fatal("%v is stable up to %d, want %d to %d", l.partition, got, least.stable, most.stable)
	}
}

// checkDamaged wants nothing to be taken for damaged that was not.
func (s *site) checkDamaged(m *modelLog, l *Log) {
	l.mu.Lock()
	damaged := slices.Clone(l.mu.damaged)
	l.mu.Unlock()
	for _, base := range damaged {
		if !s.legit(m, l, base) {
			s.fatal("%v is taken for damaged at %d", l.partition, base)
		}
		s.forgive(l, base)
	}
}

// refused passes over an error of a read that damage explains.
func (s *site) refused(m *modelLog, l *Log, at topic.Offset, err error) bool {
	if err == nil {
		return false
	}
	var damage *wal.Damage
	if !errors.Is(err, wal.ErrDamaged) || !s.legit(m, l, at) {
		s.fatal("read %v at %d: %v", l.partition, at, err)
	}
	if errors.As(err, &damage) && damage.File == "" {
		s.fatal("read %v at %d: damage without a place: %v", l.partition, at, err)
	}
	s.forgive(l, at)
	return true
}

// checkRead reads somewhere.
func (s *site) checkRead(m *modelLog, l *Log) {
	random := s.rand()
	q := Query{From: topic.Offset(random.IntN(int(m.end()) + 2)), BytesMax: random.IntN(6000), MinOne: random.IntN(4) > 0,
		Decided: random.IntN(2) == 0}
	got, release, err := s.read(l, q)
	defer release()
	if q.From < m.start || q.From > m.end() {
		if !errors.Is(err, ErrOffsetOutOfRange) {
			s.fatal("read %v at %d of %d to %d gave %v", l.partition, q.From, m.start, m.end(), err)
		}
		return
	}
	if s.refused(m, l, q.From, err) {
		return
	}
	s.wantRead(m, l, q, got)
}

// read reads into memory that may be kept, or by loan.
func (s *site) read(l *Log, q Query) (got ReadResult, release func(), err error) {
	if s.rand().IntN(2) == 0 {
		got, err = l.readOwned(q)
		return got, func() {}, err
	}
	var reader Reader
	got, err = reader.Read(l, q)
	got.Batches = whole(got.Batches)
	return got, reader.Release, err
}

// wantRead wants batches to be those of the model, one behind the other, and of records nothing missing but what a
// compaction may have taken.
func (s *site) wantRead(m *modelLog, l *Log, q Query, got ReadResult) topic.Offset {
	limit := m.highWatermark
	if q.Decided {
		limit = got.LastStable
	}
	next, size := q.From, 0
	for i, b := range got.Batches {
		h, err := batch.ParseHeader(b)
		if err != nil {
			s.fatal("read %v at %d: %v", l.partition, next, err)
		}
		base, end := topic.Offset(h.BaseOffset), topic.Offset(h.LastOffset())+1
		if base > next || i > 0 && base != next || end <= next || end > limit && !keyedPartition(l.partition) || end > m.highWatermark {
			s.fatal("read %v at %d up to %d: got a batch from %d to %d", l.partition, next, limit, base, end)
		}
		next = end
		if size += len(b); size > q.BytesMax && (i > 0 || !q.MinOne) {
			s.fatal("read %v at %d: got %d bytes, want at most %d", l.partition, q.From, size, q.BytesMax)
		}
		s.wantBatch(m, l, h, b)
	}
	// Without a reason to be short it is as long as it may be.
	if len(got.Batches) == 0 && q.MinOne && q.From < limit && !s.refusing {
		if i := slices.IndexFunc(m.batches, func(b modelBatch) bool { return b.end() > q.From }); m.batches[i].end() <= limit && !keyedPartition(l.partition) {
			s.fatal("read %v at %d up to %d: got nothing", l.partition, q.From, limit)
		}
	}
	if q.Decided {
		s.wantDecided(m, l, got)
	}
	return next
}

// wantBatch compares a batch with what the model has in its place.
func (s *site) wantBatch(m *modelLog, l *Log, h batch.Header, b []byte) {
	base, end := topic.Offset(h.BaseOffset), topic.Offset(h.LastOffset())+1
	had := m.within(max(base, m.first()), end)
	if !keyedPartition(l.partition) {
		if len(had) != 1 || !bytes.Equal(b, placedAs(had[0])) {
			s.fatal("%v has other bytes from %d to %d", l.partition, base, end)
		}
		return
	}
	if horizon, has := h.DeleteHorizon(); has && len(had) == 1 {
		if !slices.Contains(had[0].fate.horizons[s.id], horizon) {
			s.fatal("what goes from the batch of %v at %d stays until %d, want one of %v", l.partition, base, horizon, had[0].fate.horizons[s.id])
		}
		s.counts["horizon set"]++
	}
	there := map[int64]batch.Record{}
	for r, err := range batch.Records(b) {
		if err != nil {
			s.fatal("records of %v at %d: %v", l.partition, base, err)
		}
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		there[r.Offset] = r
	}
	for _, one := range had {
		for i, want := range one.fate.records {
			r, found := there[want.Offset]
			delete(there, want.Offset)
			if !found && want.Value == nil && one.fate.marker == nil {
				s.counts["tombstone gone"]++
			}
			if !found && !one.fate.gone[s.id][i] {
				s.fatal("the record of %v at %d is gone", l.partition, want.Offset)
			}
			if found && (!bytes.Equal(r.Key, want.Key) || !bytes.Equal(r.Value, want.Value) || (r.Value == nil) != (want.Value == nil) ||
				r.Timestamp != want.Timestamp || h.ProducerID != one.header.ProducerID || topic.Epoch(h.PartitionLeaderEpoch) != one.epoch) {
				s.fatal("the record of %v at %d is %+v of %+v, want %+v", l.partition, want.Offset, r, h, want)
			}
		}
	}
	for offset := range there {
		if topic.Offset(offset) >= m.first() {
			s.fatal("%v has a record at %d that nobody wrote", l.partition, offset)
		}
	}
}

// placedAs is a batch where its leader put it.
func placedAs(b modelBatch) []byte {
	payload := bytes.Clone(b.payload)
	batch.SetBaseOffset(payload, int64(b.base))
	batch.SetLeaderEpoch(payload, int32(b.epoch))
	return payload
}

// wantDecided goes by the aborted transactions as clients do, and wants to be given what was committed and no more.
func (s *site) wantDecided(m *modelLog, l *Log, got ReadResult) {
	least, _ := s.transactions(m)
	aborting, waiting := map[int64]bool{}, got.Aborted
	for _, b := range got.Batches {
		h, err := batch.ParseHeader(b)
		if err != nil {
			s.fatal("%v", err)
		}
		for len(waiting) > 0 && int64(waiting[0].First) <= h.LastOffset() {
			aborting[waiting[0].ProducerID] = true
			waiting = waiting[1:]
		}
		if marker, ok, err := batch.ParseMarker(b); ok && err == nil {
			if !marker.Commit {
				delete(aborting, h.ProducerID)
			}
			continue
		}
		if h.Control() || h.Records == 0 {
			continue
		}
		for _, one := range m.within(max(topic.Offset(h.BaseOffset), m.first()), topic.Offset(h.LastOffset())+1) {
			if want := least.aborted[one.number]; want != (h.Transactional() && aborting[h.ProducerID]) {
				s.fatal("a reader of %v leaves out the batch at %d: %v, want %v, by %+v", l.partition, one.base, !want, want, got.Aborted)
			} else if want {
				s.counts["aborted transactions read"]++
			}
		}
	}
}

func (s *site) checkTime(m *modelLog, l *Log) {
	ts := max(1, s.millis()-s.rand().Int64N(5000))
	offset, found, _, err := l.OffsetForTime(ts)
	wantOffset, wantFound := topic.NoOffset, int64(-1)
	for _, b := range m.batches {
		if b.end() > m.highWatermark {
			break
		}
		if keyedPartition(l.partition) && !slices.Contains(b.fate.gone[s.id], false) || b.header.MaxTimestamp < ts {
			continue
		}
		i := slices.IndexFunc(b.fate.records, func(r batch.Record) bool { return r.Timestamp >= ts })
		if keyedPartition(l.partition) && b.fate.gone[s.id][i] {
			continue
		}
		wantOffset, wantFound = max(m.start, topic.Offset(b.fate.records[i].Offset)), b.fate.records[i].Timestamp
		if errors.Is(err, wal.ErrDamaged) && s.hurt(m) {
			return
		}
		break
	}
	if errors.Is(err, wal.ErrDamaged) && s.hurt(m) {
		return
	}
	s.counts["time looked up"]++
	if !keyedPartition(l.partition) {
		if err != nil || offset != wantOffset || found != wantFound {
			s.fatal("time %d of %v: got %d, %d, %v; want %d, %d", ts, l.partition, offset, found, err, wantOffset, wantFound)
		}
		return
	}
	// What may be gone may be found as well.
	if err != nil || wantOffset != topic.NoOffset && (offset > wantOffset || offset == topic.NoOffset) || found != -1 && found < ts {
		s.fatal("time %d of %v: got %d, %d, %v; want at most %d, %d", ts, l.partition, offset, found, err, wantOffset, wantFound)
	}
}

func (s *site) checkEpoch(m *modelLog, l *Log) {
	if keyedPartition(l.partition) || len(m.batches) == 0 {
		return
	}
	b := m.batches[s.rand().IntN(len(m.batches))]
	end := b.end()
	for _, later := range m.batches {
		if later.epoch == b.epoch {
			end = max(end, later.end())
		}
	}
	if epoch, got := l.EpochEnd(b.epoch); epoch != b.epoch || got != max(end, m.start) {
		s.fatal("epoch %d of %v ends at %d, %d; want %d", b.epoch, l.partition, epoch, got, end)
	}
}

// checkAll reads a log from its start on: the newest value of each key is what the model says.
func (s *site) checkAll(m *modelLog, l *Log) {
	known := map[string]newest{}
	for from := m.start; from < m.highWatermark; {
		got, err := l.Read(from, 16<<10, true)
		if s.refused(m, l, from, err) {
			return
		}
		next := s.wantRead(m, l, Query{From: from, BytesMax: 16 << 10, MinOne: true}, got)
		if next == from {
			break // A batch reaches beyond the high watermark, or wantRead tells.
		}
		from = next
		least, _ := s.transactions(m)
		for _, b := range got.Batches {
			h, _ := batch.ParseHeader(b)
			had := m.within(max(topic.Offset(h.BaseOffset), m.first()), topic.Offset(h.LastOffset())+1)
			s.learn(known, b, m.start, len(had) > 0 && least.aborted[had[0].number])
		}
	}
	if !keyedPartition(l.partition) {
		return
	}
	want, unsure := map[string]newest{}, map[string]bool{}
	least, _ := s.transactions(m)
	for _, b := range m.batches {
		if b.end() > m.highWatermark {
			break
		}
		if b.fate.marker != nil || least.aborted[b.number] {
			continue
		}
		for i, r := range b.fate.records {
			if topic.Offset(r.Offset) < m.start {
				continue
			}
			// What had superseded it was cut, or what aborted it lies above a high watermark that was higher once.
			unsure[string(r.Key)] = b.fate.gone[s.id][i] && (r.Value != nil || least.open[b.number])
			s.learn(want, placedAs(b), topic.Offset(r.Offset), false)
		}
	}
	for key := range unsure {
		if unsure[key] {
			delete(known, key)
			delete(want, key)
		}
	}
	if !maps.Equal(known, want) {
		s.fatal("%v tells\n%v\nwant\n%v", l.partition, known, want)
	}
}

// checkScan reads everything that is durable, in the order of the disk.
func (s *site) checkScan() {
	next := map[topic.Partition]topic.Offset{}
	hurt := false
	for p, m := range s.live.logs {
		hurt = hurt || s.hurt(m)
		next[p] = s.store.Create(p).State().First
	}
	if hurt || s.chainBad {
		return
	}
	for at, end := (wal.Position{}), false; !end; {
		var entries []Entry
		var err error
		if entries, at, end, err = s.store.Scan(at, 8<<10); err != nil {
			s.fatal("scan: %v", err)
		}
		for _, e := range entries {
			if e.Base != next[e.Partition] {
				s.fatal("a scan finds %v at %d, want it at %d", e.Partition, e.Base, next[e.Partition])
			}
			next[e.Partition] = e.Base + topic.Offset(e.Count)
		}
	}
	for p, at := range next {
		if state := s.store.Create(p).State(); at != state.DurableEnd && state.DurableEnd >= state.LogStart {
			s.fatal("a scan of %v ends at %d, want %d", p, at, state.DurableEnd)
		}
	}
}

// finish ends all that goes wrong, and wants everything to be there at both sites.
func (w *twins) finish() {
	for _, s := range w.sites {
		if s.doomed {
			s.crash(false)
		}
		if s.refusing {
			s.readable()
		}
		if s.full {
			s.space()
		}
	}
	for _, s := range w.sites {
		s.repair()
	}
	for _, s := range w.sites {
		s.stop()
		s.verify()
		s.take()
		for i := range int32(metaPartitions) {
			p := topic.Partition{Topic: p0.Topic, Index: i}
			m, l := s.both(p)
			s.checkState(p, m, l)
			s.checkAll(m, l)
		}
		s.checkScan()
		if err := errors.Join(s.driver.Close(), s.store.Close()); err != nil {
			s.fatal("close: %v", err)
		}
	}
}
