package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

const (
	fetchByID  = 13
	fetchHints = 16

	// readCommitted is the isolation level of those who read decided transactions only.
	readCommitted = 1
)

// fetch answers with committed batches, and waits for enough of them if the client asks for that.
// In a session (see fetchSessions) all its partitions are read, and those that moved are told.
//
// A fetch runs when it has reached the head of its connection's queue. What it found while it waits
// is kept by reference to the log, or lent by it until the answer is written; after a wake only the
// partitions that moved are read again.
func (b *Broker) fetch(ctx context.Context, r *request) answer {
	q := r.body.(*kmsg.FetchRequest)
	session, why := b.sessions.begin(r.Version, q)
	if why != codeNone {
		response := kmsg.NewPtrFetchResponse()
		response.ErrorCode = int16(why)
		b.meters.failure("Fetch", why)
		return answer{response: response, batches: noBatches}
	}
	f := newFetch(b, r, q)
	f.session = session
	f.readAll()
	if !f.satisfied() {
		f.wait(ctx)
	}
	return answer{response: f.response(), batches: f.batches, release: f.reader.Release}
}

func noBatches(int, int) [][]byte { return nil }

// fetch is one Fetch request on its way.
type fetch struct {
	broker  *Broker
	request *request
	body    *kmsg.FetchRequest
	// slots are the partitions in request order; first[i] is the index of topic i's first.
	slots []fetchSlot
	first []int
	// bytesMin is what to wait for, bytesMax what to return at most, bytes what was found.
	bytesMin, bytesMax, bytes int
	failed                    bool
	view                      View
	wake                      chan struct{}
	session                   sessionUse
	// reader holds what was lent for the answer.
	reader partition.Reader
	// told are the slots of the answer's partitions by topic, nil for all of the request.
	told [][]int
}

// fetchSlot is one partition of a fetch.
type fetchSlot struct {
	asked  *kmsg.FetchRequestTopicPartition
	target target
	meter  *topicMeter
	code   code
	// preferred is who is to be asked instead, topic.NoNode for nobody; ahead says that this follower
	// does not know yet whether what is asked for is committed.
	preferred topic.NodeID
	ahead     bool
	role      partition.Role
	read      partition.ReadResult
	bytes     int
}

func newFetch(b *Broker, r *request, q *kmsg.FetchRequest) *fetch {
	f := &fetch{broker: b, request: r, body: q, first: make([]int, len(q.Topics))}
	f.bytesMax = max(0, min(int(q.MaxBytes), int(b.config.Requests.FetchBytesMax)))
	f.bytesMin = min(int(q.MinBytes), f.bytesMax)
	view := b.cluster.View()
	f.view = view
	count := 0
	for i := range q.Topics {
		count += len(q.Topics[i].Partitions)
	}
	f.slots = make([]fetchSlot, 0, count)
	for i := range q.Topics {
		asked := &q.Topics[i]
		f.first[i] = len(f.slots)
		t, unknown := topicOf(view, asked.Topic, asked.TopicID, r.Version >= fetchByID)
		var meter *topicMeter
		if t != nil {
			meter = b.meters.topic(t.Name)
			meter.fetches.Inc()
		}
		for j := range asked.Partitions {
			slot := fetchSlot{asked: &asked.Partitions[j], meter: meter}
			if unknown != codeNone {
				slot.target.code = unknown
			} else {
				slot.target = b.resolve(t, slot.asked.Partition)
			}
			f.slots = append(f.slots, slot)
		}
	}
	return f
}

// readAll reads every partition, in request order, until the answer is full. What comes after that
// is read for zero bytes, which still tells its high watermark.
func (f *fetch) readAll() {
	f.bytes, f.failed = 0, false
	for i := range f.slots {
		f.readSlot(&f.slots[i])
	}
}

func (f *fetch) readSlot(s *fetchSlot) {
	f.bytes -= s.bytes
	s.read, s.bytes = partition.ReadResult{HighWatermark: -1, LogStart: -1, LastStable: -1}, 0
	s.preferred, s.ahead = topic.NoNode, false
	if s.code = s.target.code; s.code == codeNone {
		f.readLog(s)
	}
	f.bytes += s.bytes
	f.failed = f.failed || s.code != codeNone || s.preferred != topic.NoNode
}

func (f *fetch) readLog(s *fetchSlot) {
	state := s.target.log.State()
	s.role = state.Role
	if s.code = f.serves(s, state); s.code != codeNone {
		return
	}
	if f.elsewhere(s, state) {
		s.unread(state)
		return
	}
	limit := max(0, min(int(s.asked.PartitionMaxBytes), f.bytesMax-f.bytes))
	// The first batch of the whole answer is returned however large it is, or its reader would
	// never get past it.
	read, err := f.reader.Read(s.target.log, partition.Query{
		From: topic.Offset(s.asked.FetchOffset), BytesMax: limit, MinOne: f.bytes == 0,
		Decided: f.body.IsolationLevel == readCommitted,
	})
	if err != nil {
		s.code = f.broker.judge("Fetch", err)
		if s.code == codeOffsetOutOfRange && topic.Offset(s.asked.FetchOffset) > read.LogEnd &&
			!f.broker.speaksFor(s.target.log.Partition(), state.Role.Epoch) {
			// Another may lead by now and have gone beyond our end.
			s.code = codeNotLeaderOrFollower
		}
		s.unread(state)
		return
	}
	s.read = read
	for _, b := range read.Batches {
		s.bytes += len(b)
	}
}

// unread tells the offsets of a partition of which nothing is read.
func (s *fetchSlot) unread(state partition.State) {
	s.read.HighWatermark, s.read.LogStart, s.read.LastStable = state.HighWatermark, state.LogStart, state.LastStable
}

// satisfied says whether to answer now. A failure is told at once.
func (f *fetch) satisfied() bool {
	return f.failed || f.bytes >= f.bytesMin || f.body.MaxWaitMillis <= 0 || len(f.slots) == 0
}

// wait reads again what moves until there is enough, the client's time is up, or ctx ends.
func (f *fetch) wait(ctx context.Context) {
	timer := time.NewTimer(time.Until(f.request.arrived) +
		time.Duration(f.body.MaxWaitMillis)*time.Millisecond)
	defer timer.Stop()
	f.wake = make(chan struct{}, 1)
	for !f.satisfied() {
		cancels, moved := f.watch()
		more := true
		if !moved {
			more = woken(ctx, f.wake, timer)
		}
		for _, cancel := range cancels {
			cancel()
		}
		f.readMoved()
		if !more {
			return
		}
	}
}

// woken waits for something to look at; it is false when the time is over before.
func woken(ctx context.Context, wake <-chan struct{}, timer *time.Timer) bool {
	select {
	case <-wake:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// watch asks every log to signal when it moves. A role that changed between the read and the watch
// is seen here, since it signals no more.
func (f *fetch) watch() (cancels []func(), moved bool) {
	cancels = make([]func(), 0, len(f.slots))
	for i := range f.slots {
		s := &f.slots[i]
		cancels = append(cancels, s.target.log.AwaitHighWatermark(s.read.HighWatermark, f.signal))
		moved = moved || s.target.log.State().Role != s.role
	}
	return cancels, moved
}

func (f *fetch) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// readMoved reads the partitions whose high watermark, log start or role changed.
func (f *fetch) readMoved() {
	for i := range f.slots {
		s := &f.slots[i]
		state := s.target.log.State()
		if state.HighWatermark != s.read.HighWatermark || state.Role != s.role ||
			state.LogStart != s.read.LogStart {
			f.readSlot(s)
		}
	}
}

// batches are the record batches of one partition of the answer, in pieces.
func (f *fetch) batches(topic, partition int) [][]byte {
	if f.told != nil {
		return f.slots[f.told[topic][partition]].read.Batches
	}
	return f.slots[f.first[topic]+partition].read.Batches
}

func (f *fetch) response() *kmsg.FetchResponse {
	response := kmsg.NewPtrFetchResponse()
	found := hints{broker: f.broker, view: f.broker.cluster.View(), listener: f.request.listener}
	response.Topics = make([]kmsg.FetchResponseTopic, len(f.body.Topics))
	for i := range f.body.Topics {
		asked, answered := &f.body.Topics[i], &response.Topics[i]
		answered.Default()
		answered.Topic, answered.TopicID = asked.Topic, asked.TopicID
		answered.Partitions = make([]kmsg.FetchResponseTopicPartition, len(asked.Partitions))
		for j := range asked.Partitions {
			f.describe(&answered.Partitions[j], &f.slots[f.first[i]+j], &found)
		}
	}
	f.told = f.broker.sessions.settle(f.request.Version, f.session, f.body, response,
		func(slot int) int { return f.slots[slot].bytes })
	found.each(func(id int32, host string, port int32, rack *string) {
		n := kmsg.NewFetchResponseBroker()
		n.NodeID, n.Host, n.Port, n.Rack = id, host, port, rack
		response.Brokers = append(response.Brokers, n)
	})
	return response
}

// describe fills in one partition. A reader of committed records learns which transactions to leave
// out; the list of others is null.
func (f *fetch) describe(p *kmsg.FetchResponseTopicPartition, s *fetchSlot, found *hints) {
	p.Default()
	if s.ahead && s.code == codeNone {
		s.code = codeOffsetNotAvailable // it did not come while the fetch waited
	}
	p.Partition, p.ErrorCode = s.asked.Partition, int16(s.code)
	p.HighWatermark = int64(s.read.HighWatermark)
	p.LastStableOffset, p.LogStartOffset = int64(s.read.LastStable), int64(s.read.LogStart)
	p.PreferredReadReplica = int32(s.preferred)
	if f.body.IsolationLevel == readCommitted {
		p.AbortedTransactions = make([]kmsg.FetchResponseTopicPartitionAbortedTransaction, len(s.read.Aborted))
		for i, aborted := range s.read.Aborted {
			p.AbortedTransactions[i].ProducerID, p.AbortedTransactions[i].FirstOffset = aborted.ProducerID, int64(aborted.First)
		}
	}
	if s.meter != nil {
		s.meter.bytesOut.Add(float64(s.bytes))
	}
	if s.code == codeNone {
		return
	}
	if s.code == codeUnknownTopicOrPartition || s.code == codeUnknownTopicID {
		p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{} // as Kafka: of nothing, not none told
	}
	f.broker.meters.failure("Fetch", s.code)
	if s.meter != nil {
		s.meter.failedFetches.Inc()
	}
	misled := s.code == codeNotLeaderOrFollower || s.code == codeFencedLeaderEpoch
	if hint, ok := found.leader(s.target.placement); ok && misled && f.request.Version >= fetchHints {
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(hint.node), int32(hint.epoch)
	}
}
