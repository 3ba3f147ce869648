package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// The timestamps with a meaning of their own, and the versions that brought them.
const (
	offsetLatest         = -1
	offsetEarliest       = -2
	offsetMaxTimestamp   = -3
	offsetEarliestLocal  = -4
	offsetLatestTiered   = -5
	offsetEarliestUpload = -6
)

var offsetSince = map[int64]int16{
	offsetLatest: 0, offsetEarliest: 0, offsetMaxTimestamp: 7, offsetEarliestLocal: 8,
	offsetLatestTiered: 9, offsetEarliestUpload: 11,
}

// offsetNotAvailableSince: older clients know only LEADER_NOT_AVAILABLE for "not yet".
const offsetNotAvailableSince = 5

// listOffsets finds offsets by time, and the two ends. Only a leader answers, and only with what is
// committed.
func (b *Broker) listOffsets(
	_ context.Context, r *request, q *kmsg.ListOffsetsRequest,
) kmsg.Response {
	view := b.cluster.View()
	response := kmsg.NewPtrListOffsetsResponse()
	twice := repeated(q)
	for i := range q.Topics {
		asked := &q.Topics[i]
		answered := kmsg.NewListOffsetsResponseTopic()
		answered.Topic = asked.Topic
		t, unknown := topicOf(view, asked.Topic, topic.ID{}, false)
		for j := range asked.Partitions {
			p := &asked.Partitions[j]
			found := notFound
			why := unknown
			if twice[partitionName{asked.Topic, p.Partition}] {
				why = codeInvalidRequest
			}
			if why == codeNone {
				found, why = b.listOffset(r.Version, b.resolve(t, p.Partition), p, q.IsolationLevel)
			}
			answered.Partitions = append(answered.Partitions, found.answer(p.Partition, why))
			b.meters.failure("ListOffsets", why)
		}
		response.Topics = append(response.Topics, answered)
	}
	return response
}

// partitionName is a partition as older requests name it.
type partitionName struct {
	topic string
	index int32
}

// repeated finds the partitions that a request names more than once.
func repeated(q *kmsg.ListOffsetsRequest) map[partitionName]bool {
	seen := map[partitionName]bool{}
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			name := partitionName{q.Topics[i].Topic, q.Topics[i].Partitions[j].Partition}
			_, again := seen[name]
			seen[name] = again
		}
	}
	return seen
}

// foundOffset is what a lookup found.
type foundOffset struct {
	offset    topic.Offset
	timestamp int64
	epoch     topic.Epoch
}

var notFound = foundOffset{topic.NoOffset, -1, topic.NoEpoch}

func (f foundOffset) answer(index int32, why code) kmsg.ListOffsetsResponseTopicPartition {
	p := kmsg.NewListOffsetsResponseTopicPartition()
	p.Partition, p.ErrorCode = index, int16(why)
	p.Offset, p.Timestamp, p.LeaderEpoch = int64(f.offset), f.timestamp, int32(f.epoch)
	return p
}

func (b *Broker) listOffset(
	version int16, to target, asked *kmsg.ListOffsetsRequestTopicPartition, isolation int8,
) (foundOffset, code) {
	if since, known := offsetSince[asked.Timestamp]; asked.Timestamp < 0 && (!known || version < since) {
		return notFound, codeUnsupportedVersion
	}
	if to.code != codeNone {
		return notFound, to.code
	}
	state := to.log.State()
	if why := leads(state, asked.CurrentLeaderEpoch); why != codeNone {
		return notFound, why
	}
	found, err := lookUpOffset(to.log, asked.Timestamp, isolation)
	why := b.judge("ListOffsets", err)
	if why == codeOffsetNotAvailable && version < offsetNotAvailableSince {
		why = codeLeaderNotAvailable
	}
	if why != codeNone {
		return notFound, why
	}
	return found, codeNone
}

// lookUpOffset looks in one log. What is not decided does not exist for a reader of committed records.
func lookUpOffset(log *partition.Log, timestamp int64, isolation int8) (foundOffset, error) {
	switch timestamp {
	case offsetEarliest, offsetEarliestLocal: // nothing is tiered, so all is local
		offset, epoch := log.Earliest()
		return foundOffset{offset, -1, epoch}, nil
	case offsetLatestTiered, offsetEarliestUpload: // nothing is tiered
		return notFound, nil
	}
	var found foundOffset
	var err error
	switch timestamp {
	case offsetLatest:
		found.timestamp = -1
		found.offset, found.epoch, err = log.Latest()
		if isolation == readCommitted {
			found.offset, found.epoch, err = log.LatestStable()
		}
		return found, err
	case offsetMaxTimestamp:
		found.offset, found.timestamp, found.epoch, err = log.MaxTimestamp()
	default:
		found.offset, found.timestamp, found.epoch, err = log.OffsetForTime(timestamp)
	}
	if err != nil || isolation == readCommitted && found.offset >= log.State().LastStable {
		return notFound, err
	}
	return found, nil
}
