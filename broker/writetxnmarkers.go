package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/group"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/txn"
)

// writeTxnMarkers ends transactions in the partitions that this node leads, for their coordinator. It
// answers when the markers are on the in-sync replicas. A marker in a partition of the offsets topic
// goes by way of the groups, whose offsets it decides.
func (b *Broker) writeTxnMarkers(
	ctx context.Context, _ *request, q *kmsg.WriteTxnMarkersRequest,
) kmsg.Response {
	ctx, cancel := context.WithTimeout(ctx, markersWait)
	defer cancel()
	view := b.cluster.View()
	response := kmsg.NewPtrWriteTxnMarkersResponse()
	var waits []func()
	response.Markers = make([]kmsg.WriteTxnMarkersResponseMarker, len(q.Markers))
	for i := range q.Markers {
		asked, answered := &q.Markers[i], &response.Markers[i]
		answered.ProducerID = asked.ProducerID
		answered.Topics = make([]kmsg.WriteTxnMarkersResponseMarkerTopic, len(asked.Topics))
		end := partition.EndTransaction{
			ProducerID: asked.ProducerID, ProducerEpoch: asked.ProducerEpoch,
			Marker: batch.Marker{Commit: asked.Committed, CoordinatorEpoch: asked.CoordinatorEpoch},
			Strict: asked.TransactionVersion >= txn.BumpsEpochs, Timestamp: time.Now().UnixMilli(),
		}
		for j := range asked.Topics {
			t, unknown := topicOf(view, asked.Topics[j].Topic, topic.ID{}, false)
			answered.Topics[j].Topic = asked.Topics[j].Topic
			answered.Topics[j].Partitions = make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(asked.Topics[j].Partitions))
			for k, index := range asked.Topics[j].Partitions {
				slot := &answered.Topics[j].Partitions[k]
				slot.Partition, slot.ErrorCode = index, int16(unknown)
				if unknown == codeNone {
					waits = append(waits, b.writeMarker(ctx, b.resolve(t, index), end, &slot.ErrorCode))
				}
			}
		}
	}
	for _, wait := range waits {
		wait()
	}
	return response
}

// writeMarker begins to write one marker; the wait fills in what becomes of it.
func (b *Broker) writeMarker(ctx context.Context, to target, e partition.EndTransaction, slot *int16) (wait func()) {
	told := make(chan error, 1)
	switch {
	case to.code != codeNone:
		*slot = int16(to.code)
		return func() {}
	case to.topic.Name == offsetsTopic:
		b.groups.writeMarker(to.log.Partition().Index, e, told)
	default:
		appended, err := to.log.AppendMarker(ctx, e, partition.AppendOptions{Acks: partition.AcksAll})
		if err != nil {
			*slot = int16(b.judge("WriteTxnMarkers", err))
			return func() {}
		}
		to.log.AwaitCommit(appended.Epoch, appended.End, func(err error) { told <- err })
	}
	return func() {
		select {
		case err := <-told:
			*slot = int16(markerCode(err))
		case <-ctx.Done():
			*slot = int16(codeRequestTimedOut)
		}
		b.meters.failure("WriteTxnMarkers", code(*slot))
	}
}

// markerCode is what the coordinator hears. A group coordinator that is not there is a leader that is not.
func markerCode(err error) code {
	switch why := codeAfter(err); why {
	case codeNotCoordinator, codeCoordinatorLoading, codeCoordinatorNotAvailable:
		return codeNotLeaderOrFollower
	default:
		if before := codeBefore(err); before == codeInvalidProducerEpoch || before == codeTxnCoordinatorFenced {
			return before // refused before anything was appended
		}
		return why
	}
}

// writeMarker has a shard of groups write a marker; told hears what became of it.
func (c *coordinator) writeMarker(index int32, e partition.EndTransaction, told chan<- error) {
	table := c.table.Load()
	var shard *groupShard
	if int(index) < len(table.shards) {
		shard = table.shards[index]
	}
	if shard == nil || !shard.loaded.Load() {
		told <- errNotCoordinator
		return
	}
	select {
	case shard.mailbox <- &groupCall{marker: &e, told: told}:
	default:
		told <- errCoordinatorBusy
	}
}

// mark writes a marker in its place among the records of the groups, and has those decide that have
// offsets of the transaction. Whoever asks for them from now on waits for the marker.
func (s *groupShard) mark(call *groupCall, now group.Time, open bool) {
	if !open {
		call.told <- errCoordinatorShut
		return
	}
	if err := s.log.JudgeMarker(*call.marker); err != nil {
		call.told <- err
		return
	}
	s.entries = append(s.entries, entry{marker: call.marker})
	f := s.board()
	for _, g := range s.undecided.of(s.groups, call.marker.ProducerID) {
		g.Step(group.Decide{ProducerID: call.marker.ProducerID, Commit: call.marker.Commit}, now, &s.fx)
		g.last = f
	}
	until := now.Mono + s.broker.config.Groups.CommitTimeout.Milliseconds()
	f.parked = append(f.parked, parked{func(err error) { call.told <- err }, until})
}

// undecidedGroups finds the groups that have offsets of a producer's open transaction, by producer.
type undecidedGroups map[int64]map[string]bool

func (u undecidedGroups) note(producer int64, name string) {
	if u[producer] == nil {
		u[producer] = map[string]bool{}
	}
	u[producer][name] = true
}

// of takes the groups of a producer out.
func (u undecidedGroups) of(groups shownGroups, producer int64) (found []*shownGroup) {
	for name := range u[producer] {
		if g := groups[name]; g != nil {
			found = append(found, g)
		}
	}
	delete(u, producer)
	return found
}
