package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/node"
	"outrigger/sidecar/replica"
)

// record is what is known to be committed at one offset.
type record struct {
	value uint64 // 0 while unknown
	epoch int32  // -1 while unknown
}

// place is where a value stands.
type place struct {
	partition topic.Partition
	offset    topic.Offset
}

// records is the checker's half for data: what was committed, promised, acknowledged and refused.
type records struct {
	// image is the newest published by anybody.
	image *cluster.Image
	canon map[topic.Partition][]record
	// promisedEnd is the end of what is promised to producers with acks=all.
	promisedEnd map[topic.Partition]topic.Offset
	at          map[uint64]place
	refused     map[uint64]bool
	ackedValues map[uint64]place
	// members are the producers of the values that are part of transactions, and of their markers.
	members map[uint64]int64
	// promisedAt is promisedEnd when an epoch was first seen elected.
	promisedAt map[grant]topic.Offset
	deletions  deletions
	// movedAt is when an epoch was first seen, in virtual time.
	movedAt map[grant]int64
}

// grant is one leader epoch of one partition.
type grant struct {
	partition topic.Partition
	epoch     topic.Epoch
}

func newRecords() records {
	return records{
		canon: map[topic.Partition][]record{}, promisedEnd: map[topic.Partition]topic.Offset{},
		at: map[uint64]place{}, refused: map[uint64]bool{}, ackedValues: map[uint64]place{}, members: map[uint64]int64{},
		promisedAt: map[grant]topic.Offset{}, movedAt: map[grant]int64{}, deletions: newDeletions(),
	}
}

// published looks at an image that a host shows: the same at the same index everywhere, possible, and a
// possible successor of what was before.
func (c *checker) published(b *broker, v node.View) {
	if v.Image == b.view.Image {
		return
	}
	sum := fnv.New64a()
	_, _ = sum.Write(v.Image.Encode())
	c.applied(b.h, v.Image.AppliedIndex(), sum.Sum64())
	if err := v.Image.CheckAfter(b.view.Image); err != nil && b.view.Image.AppliedIndex() > 0 {
		c.fail("%s goes from image %d to %d: %v", b.h, b.view.Image.AppliedIndex(), v.Image.AppliedIndex(), err)
	}
	if c.image != nil && v.Image.AppliedIndex() <= c.image.AppliedIndex() {
		return
	}
	if err := v.Image.Check(); err != nil {
		c.fail("image %d: %v", v.Image.AppliedIndex(), err)
	}
	if v.Image.ClusterID() != "" && v.Image.Level() < cluster.Level {
		c.fail("the cluster was founded at level %d, and everybody speaks %d", v.Image.Level(), cluster.Level)
	}
	before := c.image
	if before == nil {
		before = cluster.Empty()
	}
	for change := range cluster.Changes(before, v.Image) {
		if change.After == nil {
			continue
		}
		c.w.count.placement(change.Before, change.After, v.Image.MinInSync(change.Topic, change.After))
		c.undone(change.Before, change.After, change.Partition)
		c.entitled(change.Partition, change.After)
		c.entered(change.Before, change.After, change.Partition)
		e := grant{change.Partition, change.After.LeaderEpoch}
		if _, known := c.promisedAt[e]; !known {
			c.promisedAt[e], c.movedAt[e] = c.promisedEnd[change.Partition], c.w.now
			c.deletions.doneAt[e] = c.deletions.done[change.Partition]
		}
	}
	c.image = v.Image
}

// entitled requires that whoever may lead, in sync or eligible, has all that was promised.
func (c *checker) entitled(p topic.Partition, placement *topic.Placement) {
	for _, m := range slices.Concat(placement.ISR, placement.Eligible) {
		h := c.w.hosts[m.Node-1]
		if end, known := h.durableEnd(p, m.Session); known && end < c.promisedEnd[p] {
			c.fail("%s may lead %v with %d on disk, but %d was promised: %+v", h, p, end, c.promisedEnd[p], *placement)
		}
		if start, known := h.durableStart(p, m.Session); known && start < c.deletions.done[p] {
			c.fail("%s may lead %v from %d on, but what lies below %d was deleted: %+v", h, p, start, c.deletions.done[p], *placement)
		}
	}
}

// gone reports whether the partition's topic was deleted.
func (c *checker) gone(p topic.Partition) bool {
	if c.image == nil {
		return false
	}
	_, ok := c.image.TopicByID(p.Topic)
	return !ok
}

// logs looks at every log of a host after its replication has turned.
func (c *checker) logs(b *broker) {
	for p := range b.judged {
		if b.store.Log(p) == nil {
			delete(b.judged, p) // another log may come in its place
		}
	}
	for _, p := range b.store.Partitions() {
		log := b.store.Log(p)
		state := log.State()
		b.epochs[p] = len(log.Epochs())
		c.starts(b, p, state)
		c.watermark(b, p, log, state)
		if state.Role.Leading {
			c.leadsPartition(b, p, state)
		}
	}
}

// watermark follows a high watermark: it never falls, unless a log begins anew on which nobody relies, the
// in-sync set holds everything below it, and below it every log holds the same.
func (c *checker) watermark(b *broker, p topic.Partition, log *partition.Log, state partition.State) {
	judged := b.judged[p]
	if state.HighWatermark < judged && b.h.disk.rotten && !state.Role.Leading {
		// Cut before its damage, and filled again. From here on it counts anew: should this replica be made
		// leader now, it learns what is committed from the others before it calls itself ready.
		judged = state.HighWatermark
		b.judged[p] = judged
	}
	if state.HighWatermark < judged {
		c.fail("%s moves the high watermark of %v from %d back to %d", b.h, p, judged, state.HighWatermark)
	}
	if state.HighWatermark == judged {
		return
	}
	if state.Role.Leading {
		c.covered(b, p, state)
	}
	judged = max(judged, state.LogStart)
	for judged < state.HighWatermark {
		result, err := log.Read(judged, 1<<20, true)
		if errors.Is(err, waltest.ErrCrashed) || b.h.disk.rotten && errors.Is(err, wal.ErrDamaged) {
			b.judged[p] = judged
			return // it is about to find out, or has
		}
		if err != nil {
			c.fail("%s does not read %v at %d: %v", b.h, p, judged, err)
			return
		}
		before := judged
		for _, bytes := range result.Batches {
			_, end := c.readBatch(b.h, p, bytes)
			judged = max(judged, end)
		}
		if judged == before {
			break // the batch reaches beyond the high watermark
		}
	}
	b.judged[p] = judged
}

// counts reports whether the newest image has a broker among those who hold everything committed.
func (c *checker) counts(b *broker, p topic.Partition) bool {
	if c.image == nil {
		return false
	}
	placement, ok := c.image.Partition(p)
	self := topic.Member{Node: b.h.id, Session: b.session}
	return ok && (placement.InSync(self) || slices.Contains(placement.Eligible, self))
}

// covered requires that every member of the committed in-sync set has what a leader calls committed.
func (c *checker) covered(b *broker, p topic.Partition, state partition.State) {
	if c.image == nil {
		return
	}
	placement, ok := c.image.Partition(p)
	if !ok || placement.LeaderEpoch != state.Role.Epoch {
		return
	}
	for _, member := range placement.ISR {
		h := c.w.hosts[member.Node-1]
		if end, known := h.durableEnd(p, member.Session); known && end < state.HighWatermark {
			c.fail("%s moves the high watermark of %v to %d, but %s, in sync, has %d on disk",
				b.h, p, state.HighWatermark, h, end)
		}
	}
}

// durableEnd is how far a host's log reaches on its disk; unknown if the disk was lost since.
func (h *host) durableEnd(p topic.Partition, session topic.Session) (topic.Offset, bool) {
	if h.lost || uint64(session) < h.disk.since {
		return 0, false
	}
	if !h.up() {
		end, known := h.disk.kept[p]
		return end, known
	}
	log := h.broker.store.Log(p)
	if log == nil {
		return 0, h.broker.session == session
	}
	if h.broker.session == session {
		return log.State().DurableEnd, true
	}
	return log.State().LogEnd, true
}

// leadsPartition looks at a leader: it has everything that was promised before its election, and is
// not ready before it knows that to be committed.
func (c *checker) leadsPartition(b *broker, p topic.Partition, state partition.State) {
	epoch := state.Role.Epoch
	promised, known := c.promisedAt[grant{p, epoch}]
	if !known {
		return
	}
	if b.leads[p] != epoch+1 {
		b.leads[p] = epoch + 1
		c.w.count.partitionLeaders++
		if state.LogEnd < promised {
			c.fail("%s leads %v in epoch %d with log end %d, but %d was promised", b.h, p, epoch, state.LogEnd, promised)
		}
	}
	if done := c.deletions.doneAt[grant{p, epoch}]; state.LogStart < done {
		c.fail("%s leads %v in epoch %d from %d on, but what lies below %d was deleted", b.h, p, epoch, state.LogStart, done)
	}
	if state.Role.Ready && state.HighWatermark < promised {
		c.fail("%s calls itself ready for %v in epoch %d at high watermark %d, but %d was promised",
			b.h, p, epoch, state.HighWatermark, promised)
	}
}

// readBatch takes what was read below a high watermark, and tells which offsets it is about.
func (c *checker) readBatch(h *host, p topic.Partition, bytes []byte) (base, end topic.Offset) {
	header, err := batch.ParseHeader(bytes)
	if err != nil {
		c.fail("%s serves a batch of %v that does not parse: %v", h, p, err)
		return 0, 0
	}
	base, end = topic.Offset(header.BaseOffset), topic.Offset(header.LastOffset())+1
	if int(header.Records) < int(end-base) && !c.w.compacted(p) {
		c.fail("%s serves %d records from %d to %d of %v, which is not compacted", h, header.Records, base, end, p)
	}
	for r, err := range batch.Records(bytes) {
		value, ok := valueOf(r)
		if header.Control() {
			var marker batch.Marker
			marker, ok, err = batch.ParseMarker(bytes)
			value = markerValue(marker)
		}
		if err != nil || !ok {
			c.fail("%s serves a record of %v that does not parse: %v", h, p, err)
			return base, end
		}
		c.learn(h, p, topic.Offset(r.Offset), record{value, header.PartitionLeaderEpoch})
	}
	return base, end
}

// learn compares a committed record with what is known of its offset and of its value.
func (c *checker) learn(h *host, p topic.Partition, offset topic.Offset, r record) {
	known := c.canon[p]
	for len(known) <= int(offset) {
		known = append(known, record{epoch: -1})
	}
	is := &known[offset]
	if is.value != 0 && is.value != r.value || is.epoch >= 0 && r.epoch >= 0 && is.epoch != r.epoch {
		c.fail("%s has value %d of epoch %d at %v offset %d, where value %d of epoch %d is committed",
			h, r.value, r.epoch, p, offset, is.value, is.epoch)
	}
	is.value, is.epoch = r.value, max(is.epoch, r.epoch)
	c.canon[p] = known
	at := place{p, offset}
	if was, ok := c.at[r.value]; ok && was != at && !c.mayBeGone(was) {
		c.fail("value %d is at %v offset %d and at %v offset %d", r.value, was.partition, was.offset, p, offset)
	}
	c.at[r.value] = at
	if c.refused[r.value] {
		c.fail("value %d at %v offset %d was refused for good", r.value, p, offset)
	}
}

// promised notes a batch whose producer is about to be told that it is committed.
func (c *checker) promised(b *broker, s *sending, base topic.Offset) {
	for i, v := range s.values {
		c.learn(b.h, s.partition, base+topic.Offset(i), record{v, -1})
	}
	end := base + topic.Offset(len(s.values))
	c.promisedEnd[s.partition] = max(c.promisedEnd[s.partition], end)
	// A leader that is deposed already must not promise anything: it does not have the in-sync set.
	if log := b.store.Log(s.partition); log != nil && log.State().HighWatermark < end {
		c.fail("%s acknowledges %v up to %d at high watermark %d", b.h, s.partition, end, log.State().HighWatermark)
	}
}

// ackedRecords notes what a producer was told.
func (c *checker) ackedRecords(s *sending, base topic.Offset) {
	for i, v := range s.values {
		at := place{s.partition, base + topic.Offset(i)}
		c.ackedValues[v] = at
		if is, ok := c.at[v]; !ok || is != at {
			c.fail("value %d was acknowledged at %v offset %d and is at %v", v, at.partition, at.offset, is)
		}
	}
}

// failed notes a batch of which every attempt was refused.
func (c *checker) failed(s *sending) {
	for _, v := range s.values {
		c.refused[v] = true
		if at, ok := c.at[v]; ok {
			c.fail("value %d was refused and is at %v offset %d", v, at.partition, at.offset)
		}
	}
}

// refusedAppend: a producer with acks=all and one batch in flight never has a gap in its sequence.
func (c *checker) refusedAppend(b *broker, p *producer, s *sending, err error) {
	known := errors.Is(err, partition.ErrOutOfOrderSequence) || errors.Is(err, partition.ErrInvalidProducerEpoch)
	placement, ok := c.image.Partition(s.partition)
	if known && p.acks == partition.AcksAll && ok && placement.Leader == b.h.id && placement.LeaderSession == b.session {
		c.fail("%s refuses batch %d of producer %d for %v: %v", b.h, s.sequence, p.pid, s.partition, err)
	}
}

// mandateMicros is a leader timeout on the slowest clock.
const mandateMicros = int64(leaderTimeout/time.Microsecond) * 106 / 100

// outOfRange: what a reader saw does not go away. A reader that knows no epochs and follows old metadata
// may be told otherwise by a deposed leader while its mandate lasts.
func (c *checker) outOfRange(b *broker, r *reader, result partition.ReadResult) {
	mine, _ := b.view.Image.Partition(r.partition)
	newest, _ := c.image.Partition(r.partition)
	if !r.aware && mine != nil && newest != nil && mine.LeaderEpoch < newest.LeaderEpoch {
		moved := c.movedAt[grant{r.partition, newest.LeaderEpoch}]
		for e := newest.LeaderEpoch; e > mine.LeaderEpoch; e-- {
			if at, known := c.movedAt[grant{r.partition, e}]; known {
				moved = at
			}
		}
		if late := c.w.now - moved; late > mandateMicros {
			c.fail("%s tells a reader of %v %d µs after its epoch %d ended that %d does not exist", b.h, r.partition, late,
				mine.LeaderEpoch, r.next)
		}
		return
	}
	c.fail("%s, with a mandate, has %v from %d to %d in epoch %d of image %d, and a reader is at %d, in epoch %d of image %d",
		b.h, r.partition, result.LogStart, result.LogEnd, mine.LeaderEpoch, b.view.Image.AppliedIndex(), r.next,
		newest.LeaderEpoch, c.image.AppliedIndex())
}

// acknowledges requires that a follower's answer counts nothing that is not on its disk.
func (c *checker) acknowledges(b *broker, bytes []byte) {
	_, sections, body, err := frame.ParseHeader(bytes)
	if err == nil {
		err = frame.ParseAcks(body, sections, func(a frame.Ack) {
			log := b.store.Log(a.Partition)
			if log != nil && a.DurableEnd > log.State().DurableEnd {
				c.fail("%s acknowledges %v up to %d, durable is %d", b.h, a.Partition, a.DurableEnd, log.State().DurableEnd)
			}
			if log != nil && a.LogStart > log.State().StartDurable {
				c.fail("%s acknowledges that %v starts at %d, durable is %d", b.h, a.Partition, a.LogStart, log.State().StartDurable)
			}
		})
	}
	if err != nil {
		c.fail("%s sends acknowledgements that do not parse: %v", b.h, err)
	}
}

// replicaEvent counts what machines report. A contradiction between logs is a violation: nothing here
// excuses one.
func (c *checker) replicaEvent(b *broker, e replica.Event) {
	c.w.count.replica(e)
	if e.Kind == replica.EventReset && !c.counts(b, e.Partition) {
		b.judged[e.Partition] = min(b.judged[e.Partition], e.Offset) // nobody relied on what it had
	}
	if log := b.store.Log(e.Partition); e.Kind == replica.EventCut && log != nil && len(log.Epochs()) <= b.epochs[e.Partition]-2 {
		c.w.count.deepCuts++
	}
	// A catch-up read may fail with its disk; the process is about to find out.
	if e.Kind == replica.EventFault && !strings.HasPrefix(e.Detail, "catch-up read") {
		c.fail("%s: %s", b.h, e)
	}
}

// staleFrames feeds what is addressed to another session by itself and requires that it changes nothing.
func (c *checker) staleFrames(b *broker) {
	kept := b.in.Frames[:0]
	for _, data := range b.in.Frames {
		h, _, _, err := frame.ParseHeader(data)
		if err != nil || h.For(topic.Member{Node: b.h.id, Session: b.session}) {
			kept = append(kept, data)
			continue
		}
		c.w.count.staleFrames++
		before := b.fingerprint()
		if _, taken := b.repl.Frame(data); taken || !bytes.Equal(before, b.fingerprint()) {
			c.fail("%s is changed by a frame for sessions %s and %s", b.h, h.ReceiverSession, h.Also.Session)
		}
	}
	b.in.Frames = kept
}

// fingerprint is the state of every log.
func (b *broker) fingerprint() []byte {
	var out bytes.Buffer
	for _, p := range b.store.Partitions() {
		s := b.store.Log(p).State()
		_ = binary.Write(&out, binary.BigEndian, []int64{int64(s.LogEnd), int64(s.HighWatermark), int64(s.LogStart), int64(s.Cuts), int64(s.Role.Epoch)})
	}
	return out.Bytes()
}

// reopened compares what a host finds on its disk with what it had synced.
func (c *checker) reopened(b *broker) {
	for p, end := range b.h.disk.kept {
		log := b.store.Log(p)
		if log == nil && end > 0 && !c.gone(p) && !c.image.Evicts(b.h.id, p) {
			c.fail("%s restarts without its log of %v, synced up to %d", b.h, p, end)
		}
		if log != nil && log.State().LogEnd < end {
			c.fail("%s restarts with %v up to %d, synced were %d", b.h, p, log.State().LogEnd, end)
		}
		if start := b.h.disk.keptStarts[p]; log != nil && log.State().LogStart < start && !b.h.disk.rotten {
			c.fail("%s restarts with %v from %d on, its start was synced at %d", b.h, p, log.State().LogStart, start)
		}
	}
}
