package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

const (
	// shareAcquireExactly is the mode in which no more records are given than were asked for.
	shareAcquireExactly = 1
	// shareReadBytes is how much of a log is read at a time: far less than clients allow for is acquired.
	shareReadBytes = 1 << 20
)

// errShareAcksFirst: a request that opens a session cannot have anything to say of records.
var errShareAcksFirst = fmt.Errorf("%w: the first request of a share session has acknowledgements", errInvalidRequest)

// shareFetch takes what a member says of its records, and gives it others to use for some time. It waits
// until there are some, if the client asks for that.
func (b *Broker) shareFetch(ctx context.Context, r *request, q *kmsg.ShareFetchRequest) kmsg.Response {
	response := kmsg.NewPtrShareFetchResponse()
	visit, err := b.visitShares(r, q)
	if response.ErrorCode, response.ErrorMessage = b.outcome("ShareFetch", err); err != nil {
		return response
	}
	f := newShareFetch(b, q, visit)
	response.AcquisitionLockTimeoutMillis = int32(f.settings.limits.LockMillis)
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			p := &q.Topics[i].Partitions[j]
			var acks []share.Ack
			for _, said := range p.AcknowledgementBatches {
				acks = append(acks, ackOf(said.FirstOffset, said.LastOffset, said.AcknowledgeTypes))
			}
			if len(acks) > 0 {
				f.said.take(share.Slot{Topic: q.Topics[i].TopicID, Partition: p.Partition}, acks)
			}
		}
	}
	f.run(ctx, r)
	f.said.await(ctx)
	if visit.closes {
		b.shares.close(visit.member)
	}
	f.answer(response, &hints{broker: b, view: b.cluster.View(), listener: r.listener})
	return response
}

// visitShares finds or opens the session of a fetch.
func (b *Broker) visitShares(r *request, q *kmsg.ShareFetchRequest) (shareVisit, error) {
	if err := b.finalized(featureShare); err != nil {
		return shareVisit{}, err
	}
	member, err := shareMember(q.GroupID, q.MemberID)
	if err != nil {
		return shareVisit{}, err
	}
	var named, forgotten []share.Slot
	says := false
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			p := &q.Topics[i].Partitions[j]
			named = append(named, share.Slot{Topic: q.Topics[i].TopicID, Partition: p.Partition})
			says = says || len(p.AcknowledgementBatches) > 0
		}
	}
	for _, t := range q.ForgottenTopicsData {
		for _, index := range t.Partitions {
			forgotten = append(forgotten, share.Slot{Topic: t.TopicID, Partition: index})
		}
	}
	if q.ShareSessionEpoch != share.SessionOpens {
		return b.shares.goOn(member, q.ShareSessionEpoch, named, forgotten)
	}
	if says {
		return shareVisit{}, errShareAcksFirst
	}
	return b.shares.open(member, r.connection, named)
}

// shareFetching is one ShareFetch on its way.
type shareFetching struct {
	broker   *Broker
	settings shareSettings
	visit    shareVisit
	said     *shareAcks
	slots    []*shareFetchSlot
	// records and bytes are how much more may be given.
	records int64
	bytes   int
	exactly bool
	// idle: only what is said of records counts.
	idle bool
	wait time.Duration
	wake chan struct{}
}

// shareFetchSlot is one partition of a fetch.
type shareFetchSlot struct {
	share.Slot
	err error
	// hopeless: there is nothing to wait for in this fetch.
	hopeless bool
	given    []share.Batch
	records  []byte
	high     topic.Offset
	log      *partition.Log
	p        *sharePartition
}

func newShareFetch(b *Broker, q *kmsg.ShareFetchRequest, visit shareVisit) *shareFetching {
	settings := b.shareSettings(visit.member.Group)
	f := &shareFetching{
		broker: b, settings: settings, visit: visit, said: newShareAcks(b, settings, visit.member, q.IsRenewAck),
		records: int64(q.MaxRecords), bytes: max(0, min(int(q.MaxBytes), int(b.config.Requests.FetchBytesMax))),
		exactly: q.ShareAcquireMode == shareAcquireExactly, wait: time.Duration(q.MaxWaitMillis) * time.Millisecond,
		idle: visit.closes || q.MaxRecords <= 0 || q.MaxBytes <= 0 || q.IsRenewAck, wake: make(chan struct{}, 1),
	}
	for _, slot := range visit.fetches {
		f.slots = append(f.slots, &shareFetchSlot{Slot: slot, high: topic.NoOffset})
	}
	return f
}

// run acquires, and waits for something to acquire until the client's time is up. What was said of records
// before is answered no later for it: a client that has something to say should not have to wait.
func (f *shareFetching) run(ctx context.Context, r *request) {
	if f.idle {
		return
	}
	timer := time.NewTimer(time.Until(r.arrived) + f.wait)
	defer timer.Stop()
	for {
		f.acquireAll()
		if f.satisfied() {
			return
		}
		cancel := f.watch()
		// What came between the look and the watch is seen here.
		f.acquireAll()
		more := !f.satisfied()
		if more {
			more = woken(ctx, f.wake, timer)
		}
		cancel()
		if !more {
			return
		}
	}
}

// satisfied says whether to answer now.
func (f *shareFetching) satisfied() bool {
	for _, s := range f.slots {
		if s.err != nil || len(s.given) > 0 {
			return true
		}
	}
	return len(f.slots) == 0 || len(f.said.waits) > 0
}

// watch has the fetch woken when there may be something to acquire.
func (f *shareFetching) watch() (cancel func()) {
	var cancels []func()
	for _, s := range f.slots {
		if s.p != nil && !s.hopeless {
			s.p.watch(f.wake)
			cancels = append(cancels, func() { s.p.unwatch(f.wake) })
		}
		if s.log != nil {
			cancels = append(cancels, s.log.AwaitHighWatermark(s.high, f.signal))
		}
	}
	return func() {
		for _, c := range cancels {
			c()
		}
	}
}

func (f *shareFetching) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *shareFetching) acquireAll() {
	for _, s := range f.slots {
		for more := true; more && f.records > 0 && f.bytes > 0 && s.err == nil && !s.hopeless && len(s.given) == 0; {
			more = f.acquire(s)
		}
	}
}

// acquire tries to get something of one partition, and reports whether to try at once again.
func (f *shareFetching) acquire(s *shareFetchSlot) bool {
	state, ok := f.locate(s)
	if !ok {
		return false
	}
	if s.p != nil && errors.Is(s.p.why(), share.ErrUninitialized) {
		s.hopeless = true // the group's coordinator is still at it, or the group is gone
		return false
	}
	key := share.Key{Group: f.visit.member.Group, Topic: s.Topic, Partition: s.Partition}
	s.p = f.broker.shares.of(key, s.log, state.Role.Epoch)
	from, ok, err := s.p.begin(f.settings.limits, state.LogStart)
	if err != nil || !ok {
		f.refused(s, err)
		return false
	}
	reads := s.log.Read
	if f.settings.committed {
		reads = s.log.ReadCommitted
	}
	read, readErr := reads(from, min(f.bytes, shareReadBytes), true)
	if errors.Is(readErr, partition.ErrOffsetOutOfRange) {
		// The log has begun to end elsewhere since; or the group begins where the log has not come to yet.
		readErr = nil
	}
	a := share.Acquire{
		Member: f.visit.member.ID, From: int64(from), Max: f.records, Whole: !f.exactly,
		Spans: spansOf(read, f.settings.committed),
	}
	given, more, err := s.p.acquire(f.settings.limits, a)
	if err = errors.Join(readErr, err); err != nil {
		f.refused(s, err)
		return false
	}
	f.take(s, given, read)
	return more
}

// locate finds the log of a partition that this node leads.
func (f *shareFetching) locate(s *shareFetchSlot) (state partition.State, ok bool) {
	t, unknown := topicOf(f.broker.cluster.View(), "", topic.ID(s.Topic), true)
	if unknown != codeNone {
		s.err = errUnknownTopicID
		return state, false
	}
	to := f.broker.resolve(t, s.Partition)
	switch {
	case to.code == codeUnknownTopicOrPartition:
		s.err = topic.ErrUnknown
	case to.code != codeNone:
		s.err = partition.ErrNotLeader
	default:
		s.log, state = to.log, to.log.State()
		if s.high = state.HighWatermark; !state.Role.Leading {
			s.err = partition.ErrNotLeader
		}
	}
	return state, s.err == nil
}

// refused is when nothing can be acquired for the time being. That a state is still to be read, or to be
// initialized, passes: the client comes again.
func (f *shareFetching) refused(s *shareFetchSlot, err error) {
	switch {
	case err == nil, errors.Is(err, errCoordinatorLoading):
	case errors.Is(err, share.ErrUninitialized), errors.Is(err, share.ErrFencedState):
		s.hopeless = s.hopeless || errors.Is(err, share.ErrUninitialized)
	default:
		s.err = err
	}
}

// take makes what was given part of the answer. A leader that may have been deposed gives nothing: another
// one may know that the records are done.
func (f *shareFetching) take(s *shareFetchSlot, given []share.Batch, read partition.ReadResult) {
	if len(given) == 0 {
		return
	}
	if !f.broker.speaksFor(s.log.Partition(), s.p.epoch) {
		f.broker.shares.finish(s.p, partition.ErrNotLeader)
		s.err = partition.ErrNotLeader
		return
	}
	s.given = given
	for _, b := range given {
		f.records -= b.Last - b.First + 1
	}
	var kept [][]byte
	for _, raw := range read.Batches {
		h, err := batch.ParseHeader(raw)
		if err == nil && meets(given, h.BaseOffset, h.LastOffset()) {
			kept = append(kept, raw)
		}
	}
	s.records = bytes.Join(kept, nil)
	f.bytes -= len(s.records)
}

// meets reports whether any of the batches lies, in part, between two offsets.
func meets(given []share.Batch, first, last int64) bool {
	for _, b := range given {
		if b.First <= last && first <= b.Last {
			return true
		}
	}
	return false
}

// spansOf tells of the batches that were read. Control batches, and to those who read committed records
// only aborted transactions, are gaps.
func spansOf(read partition.ReadResult, committed bool) []share.Span {
	spans := make([]share.Span, 0, len(read.Batches))
	aborted := map[int64]bool{}
	next := read.Aborted
	for _, raw := range read.Batches {
		h, err := batch.ParseHeader(raw)
		if err != nil {
			break // what lies before a damaged batch is as good as ever
		}
		for len(next) > 0 && int64(next[0].First) <= h.LastOffset() {
			aborted[next[0].ProducerID] = true
			next = next[1:]
		}
		gap := h.Control() || committed && h.Transactional() && aborted[h.ProducerID]
		if h.Control() {
			delete(aborted, h.ProducerID)
		}
		spans = append(spans, share.Span{First: h.BaseOffset, Last: h.LastOffset(), Gap: gap})
	}
	return spans
}

// answer tells of all partitions of which something was given, said or refused.
func (f *shareFetching) answer(response *kmsg.ShareFetchResponse, found *hints) {
	slots := map[share.Slot]*shareFetchSlot{}
	for _, s := range f.slots {
		slots[s.Slot] = s
	}
	for slot := range f.said.errs {
		if slots[slot] == nil {
			slots[slot] = &shareFetchSlot{Slot: slot}
		}
	}
	topics := map[[16]byte]int{}
	for slot, s := range slots {
		_, said := f.said.errs[slot]
		if !said && s.err == nil && len(s.given) == 0 {
			continue
		}
		at, known := topics[slot.Topic]
		if !known {
			at = len(response.Topics)
			topics[slot.Topic] = at
			response.Topics = append(response.Topics, kmsg.ShareFetchResponseTopic{TopicID: slot.Topic})
		}
		response.Topics[at].Partitions = append(response.Topics[at].Partitions, f.describe(s, said, found))
	}
	found.each(func(id int32, host string, port int32, rack *string) {
		response.NodeEndpoints = append(response.NodeEndpoints,
			kmsg.ShareFetchResponseNodeEndpoint{NodeID: id, Host: host, Port: port, Rack: rack})
	})
}

func (f *shareFetching) describe(
	s *shareFetchSlot, said bool, found *hints,
) kmsg.ShareFetchResponseTopicPartition {
	p := kmsg.NewShareFetchResponseTopicPartition()
	p.Partition, p.Records = s.Partition, s.records
	if p.Records == nil {
		p.Records = []byte{} // clients of version 1 on take no null
	}
	p.ErrorCode, p.ErrorMessage = f.broker.outcome("ShareFetch", s.err)
	why := code(p.ErrorCode)
	if said {
		p.AcknowledgeErrorCode, p.AcknowledgeErrorMessage = f.said.outcome(s.Slot)
	}
	if why == codeNone {
		why = code(p.AcknowledgeErrorCode)
	}
	p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = f.broker.shareLeader(found, s.Topic, s.Partition, why)
	for _, b := range s.given {
		p.AcquiredRecords = append(p.AcquiredRecords, kmsg.ShareFetchResponseTopicPartitionAcquiredRecord{
			FirstOffset: b.First, LastOffset: b.Last, DeliveryCount: b.Count,
		})
	}
	return p
}
