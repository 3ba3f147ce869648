package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
	"outrigger/broker/txn"
	"outrigger/broker/wire"
)

const (
	// markersMax is how many partitions share one request for markers.
	markersMax = 2000
	// markersWait bounds one request, markersRetry is the pause before what failed is tried again.
	markersWait  = 3 * time.Second
	markersRetry = 50 * time.Millisecond
	// markersVersion is the first that tells the transaction version.
	markersVersion = 2
)

// markerJob is a decided transaction whose markers are to be sent. Only the decision's shard may ask for
// it; one that has ended has a successor that asks again.
type markerJob struct {
	shard *txnShard
	id    string
	txn.Markers
}

// markerItem is one partition of a job.
type markerItem struct {
	job       *markerJob
	partition txn.Partition
}

// markerSender sends the markers of all shards of this node, in one request at a time to each leader.
// What is not confirmed is sent again, for as long as its shard lives: to whoever leads then.
//
// It holds one item for each partition of a decided transaction: as many as the machines of the shards.
type markerSender struct {
	broker *Broker
	// cue says that there are new jobs; one token.
	cue chan struct{}
	mu  struct {
		sync.Mutex
		fresh []*markerJob
	}
}

// markerRound is a request that is over: the items it was for, and those of them that are to be tried
// again.
type markerRound struct {
	to     topic.NodeID
	failed []markerItem
}

func newMarkerSender(b *Broker) *markerSender {
	return &markerSender{broker: b, cue: make(chan struct{}, 1)}
}

// send takes a job. It never waits.
func (m *markerSender) send(job *markerJob) {
	m.mu.Lock()
	m.mu.fresh = append(m.mu.fresh, job)
	m.mu.Unlock()
	select {
	case m.cue <- struct{}{}:
	default:
	}
}

// take returns the new jobs' items.
func (m *markerSender) take() []markerItem {
	m.mu.Lock()
	fresh := m.mu.fresh
	m.mu.fresh = nil
	m.mu.Unlock()
	var items []markerItem
	for _, job := range fresh {
		for _, p := range job.Partitions {
			items = append(items, markerItem{job, p})
		}
	}
	return items
}

// run sends until ctx ends, and returns when no request is under way any more.
func (m *markerSender) run(ctx context.Context) {
	var requests sync.WaitGroup
	defer requests.Wait()
	over := make(chan markerRound)
	busy := map[topic.NodeID]bool{}
	var waiting, failed []markerItem
	retry := time.NewTimer(markersRetry)
	retry.Stop()
	for {
		waiting = append(waiting, m.take()...)
		for node, items := range m.place(&waiting, busy) {
			busy[node] = true
			requests.Go(func() {
				round := markerRound{node, m.request(ctx, node, items)}
				select {
				case over <- round:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-m.cue:
		case round := <-over:
			delete(busy, round.to)
			if len(failed) == 0 && len(round.failed) > 0 {
				retry.Reset(markersRetry)
			}
			failed = append(failed, round.failed...)
		case <-retry.C:
			waiting, failed = append(waiting, failed...), nil
		case <-ctx.Done():
			return
		}
	}
}

// place takes from the waiting items those whose leaders have no request under way, at most a request's
// worth for each. Items of shards that have ended are dropped. Those of partitions without a leader, or
// of none that exists, go to topic.NoNode.
func (m *markerSender) place(waiting *[]markerItem, busy map[topic.NodeID]bool) map[topic.NodeID][]markerItem {
	view := m.broker.cluster.View()
	placed := map[topic.NodeID][]markerItem{}
	*waiting = slices.DeleteFunc(*waiting, func(item markerItem) bool {
		if item.job.shard.over() {
			return true
		}
		node := markerLeader(view, item.partition)
		if busy[node] || len(placed[node]) >= markersMax {
			return false
		}
		placed[node] = append(placed[node], item)
		return true
	})
	return placed
}

func markerLeader(view View, p txn.Partition) topic.NodeID {
	t, ok := view.TopicByName(p.Topic)
	if !ok || int(p.Index) >= len(t.Partitions) {
		return topic.NoNode
	}
	leader := t.Partitions[p.Index].Leader
	if known, ok := view.Broker(leader); !ok || known.Fenced {
		return topic.NoNode
	}
	return leader
}

// request sends one request, tells the shards what it has confirmed, and returns what it has not.
func (m *markerSender) request(ctx context.Context, node topic.NodeID, items []markerItem) (failed []markerItem) {
	ctx, cancel := context.WithTimeout(ctx, markersWait)
	defer cancel()
	var done func(markerItem) bool
	if node == topic.NoNode {
		done = m.gone(ctx)
	} else {
		done = m.sendTo(ctx, node, items)
	}
	confirmed := map[*markerJob][]txn.Partition{}
	for _, item := range items {
		if done(item) {
			confirmed[item.job] = append(confirmed[item.job], item.partition)
		} else {
			failed = append(failed, item)
		}
	}
	for job, partitions := range confirmed {
		job.shard.marked(job.id, txn.Marked{ID: job.ID, Epoch: job.Epoch, Partitions: partitions})
	}
	return failed
}

// gone finds the partitions that do not exist any more: they need no marker. This node may merely not
// have heard of them yet, so it asks first.
func (m *markerSender) gone(ctx context.Context) func(markerItem) bool {
	if err := m.broker.cluster.Fresh(ctx); err != nil {
		return func(markerItem) bool { return false }
	}
	view := m.broker.cluster.View()
	return func(item markerItem) bool {
		t, ok := view.TopicByName(item.partition.Topic)
		return !ok || int(item.partition.Index) >= len(t.Partitions)
	}
}

// markerKey finds the answer for an item: a producer has one decided transaction at a time.
type markerKey struct {
	producer  int64
	partition txn.Partition
}

// sendTo asks a leader to write markers, and tells of each item whether it has.
func (m *markerSender) sendTo(ctx context.Context, node topic.NodeID, items []markerItem) func(markerItem) bool {
	q := markersRequest(items)
	response, err := m.broker.askNode(ctx, node, q)
	if err != nil {
		m.broker.troubles.report("WriteTxnMarkers", codeCoordinatorNotAvailable, err)
		return func(markerItem) bool { return false }
	}
	written := map[markerKey]bool{}
	for _, marker := range response.(*kmsg.WriteTxnMarkersResponse).Markers {
		for _, t := range marker.Topics {
			for _, p := range t.Partitions {
				why := code(p.ErrorCode)
				if why == codeInvalidProducerEpoch {
					// A newer epoch has written there, so this transaction was ended there before.
					m.broker.logger.Warn("marker is older than its partition", keyProducer, marker.ProducerID,
						keyTopic, t.Topic, keyPartition, p.Partition)
				}
				written[markerKey{marker.ProducerID, txn.Partition{Topic: t.Topic, Index: p.Partition}}] =
					why == codeNone || why == codeInvalidProducerEpoch
			}
		}
	}
	return func(item markerItem) bool { return written[markerKey{item.job.ID, item.partition}] }
}

func markersRequest(items []markerItem) *kmsg.WriteTxnMarkersRequest {
	q := kmsg.NewPtrWriteTxnMarkersRequest()
	q.Version = markersVersion
	at := map[*markerJob]int{}
	for _, item := range items {
		i, ok := at[item.job]
		if !ok {
			i = len(q.Markers)
			at[item.job] = i
			marker := kmsg.NewWriteTxnMarkersRequestMarker()
			marker.ProducerID, marker.ProducerEpoch, marker.Committed = item.job.ID, item.job.Epoch, item.job.Commit
			marker.CoordinatorEpoch = int32(item.job.shard.epoch)
			if item.job.Strict {
				marker.TransactionVersion = txn.BumpsEpochs
			}
			q.Markers = append(q.Markers, marker)
		}
		marker := &q.Markers[i]
		if n := len(marker.Topics); n == 0 || marker.Topics[n-1].Topic != item.partition.Topic {
			marker.Topics = append(marker.Topics, kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: item.partition.Topic})
		}
		last := &marker.Topics[len(marker.Topics)-1]
		last.Partitions = append(last.Partitions, item.partition.Index)
	}
	return q
}

// askNode has another broker, or this one, take a request between brokers.
func (b *Broker) askNode(ctx context.Context, node topic.NodeID, q kmsg.Request) (kmsg.Response, error) {
	if node != b.config.Node {
		return b.peers.ask(ctx, node, q)
	}
	switch q := q.(type) {
	case *kmsg.WriteTxnMarkersRequest:
		return b.writeTxnMarkers(ctx, nil, q), nil
	case *kmsg.AddPartitionsToTxnRequest:
		return b.addPartitionsToTxns(ctx, q), nil
	case *kmsg.InitializeShareGroupStateRequest:
		return b.initializeShareGroupState(ctx, nil, q), nil
	case *kmsg.ReadShareGroupStateRequest:
		return b.readShareGroupState(ctx, nil, q), nil
	case *kmsg.WriteShareGroupStateRequest:
		return b.writeShareGroupState(ctx, nil, q), nil
	case *kmsg.DeleteShareGroupStateRequest:
		return b.deleteShareGroupState(ctx, nil, q), nil
	case *kmsg.ReadShareGroupStateSummaryRequest:
		return b.readShareGroupStateSummary(ctx, nil, q), nil
	case *kmsg.ListOffsetsRequest:
		return b.listOffsets(ctx, &request{Header: wire.Header{Version: q.Version}}, q), nil
	default:
		panic("a request that brokers do not make")
	}
}
