package broker

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// shareAcknowledge takes what a member says of its records, and answers when it is kept.
func (b *Broker) shareAcknowledge(
	ctx context.Context, r *request, q *kmsg.ShareAcknowledgeRequest,
) kmsg.Response {
	response := kmsg.NewPtrShareAcknowledgeResponse()
	member, err := shareMember(q.GroupID, q.MemberID)
	if err == nil && q.ShareSessionEpoch == share.SessionOpens {
		err = share.ErrSessionEpoch // only a fetch opens one
	}
	var visit shareVisit
	if err == nil {
		visit, err = b.shares.goOn(member, q.ShareSessionEpoch, nil, nil)
	}
	if response.ErrorCode, response.ErrorMessage = b.outcome("ShareAcknowledge", err); err != nil {
		return response
	}
	settings := b.shareSettings(member.Group)
	response.AcquisitionLockTimeoutMillis = int32(settings.limits.LockMillis)
	said := newShareAcks(b, settings, member, q.IsRenewAck)
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			p := &q.Topics[i].Partitions[j]
			var acks []share.Ack
			for _, batch := range p.AcknowledgementBatches {
				acks = append(acks, ackOf(batch.FirstOffset, batch.LastOffset, batch.AcknowledgeTypes))
			}
			said.take(share.Slot{Topic: q.Topics[i].TopicID, Partition: p.Partition}, acks)
		}
	}
	said.await(ctx)
	if visit.closes {
		b.shares.close(member)
	}
	found := hints{broker: b, view: b.cluster.View(), listener: r.listener}
	response.Topics = make([]kmsg.ShareAcknowledgeResponseTopic, len(q.Topics))
	for i := range q.Topics {
		response.Topics[i].TopicID = q.Topics[i].TopicID
		response.Topics[i].Partitions = make([]kmsg.ShareAcknowledgeResponseTopicPartition, len(q.Topics[i].Partitions))
		for j := range q.Topics[i].Partitions {
			slot := &response.Topics[i].Partitions[j]
			slot.Partition = q.Topics[i].Partitions[j].Partition
			slot.ErrorCode, slot.ErrorMessage = said.outcome(share.Slot{Topic: q.Topics[i].TopicID, Partition: slot.Partition})
			slot.CurrentLeader.LeaderID, slot.CurrentLeader.LeaderEpoch = b.shareLeader(
				&found, q.Topics[i].TopicID, slot.Partition, code(slot.ErrorCode))
		}
	}
	found.each(func(id int32, host string, port int32, rack *string) {
		response.NodeEndpoints = append(response.NodeEndpoints,
			kmsg.ShareAcknowledgeResponseNodeEndpoint{NodeID: id, Host: host, Port: port, Rack: rack})
	})
	return response
}

func ackOf(first, last int64, types []int8) share.Ack {
	a := share.Ack{First: first, Last: last}
	for _, t := range types {
		a.Types = append(a.Types, share.AckType(t))
	}
	return a
}

// shareLeader is who leads a partition, for a client that asked the wrong broker.
func (b *Broker) shareLeader(found *hints, id [16]byte, index int32, why code) (node, epoch int32) {
	if t, ok := found.view.TopicByID(topic.ID(id)); ok && why == codeNotLeaderOrFollower && int(index) < len(t.Partitions) {
		if hint, ok := found.leader(t.Partitions[index]); ok {
			return int32(hint.node), int32(hint.epoch)
		}
	}
	return int32(topic.NoNode), int32(topic.NoEpoch)
}

// shareAcks are the acknowledgements of one request.
type shareAcks struct {
	broker   *Broker
	settings shareSettings
	member   share.Member
	renews   bool
	waits    map[share.Slot]chan error
	errs     map[share.Slot]error
}

func newShareAcks(b *Broker, settings shareSettings, m share.Member, renews bool) *shareAcks {
	return &shareAcks{
		broker: b, settings: settings, member: m, renews: renews && settings.renews,
		waits: map[share.Slot]chan error{}, errs: map[share.Slot]error{},
	}
}

// take has a share-partition take the acknowledgements, all or none.
func (a *shareAcks) take(slot share.Slot, acks []share.Ack) {
	told := make(chan error, 1)
	a.errs[slot] = a.hand(slot, acks, told)
	if a.errs[slot] == nil && len(acks) > 0 {
		a.waits[slot] = told
	}
}

func (a *shareAcks) hand(slot share.Slot, acks []share.Ack, told chan<- error) error {
	if len(acks) == 0 {
		return nil
	}
	if err := share.Judge(acks, a.renews); err != nil {
		return err
	}
	t, unknown := topicOf(a.broker.cluster.View(), "", topic.ID(slot.Topic), true)
	if unknown != codeNone {
		return errUnknownTopicID
	}
	to := a.broker.resolve(t, slot.Partition)
	switch {
	case to.code == codeUnknownTopicOrPartition:
		return topic.ErrUnknown
	case to.code != codeNone || !to.log.State().Role.Leading:
		return partition.ErrNotLeader
	}
	p := a.broker.shares.find(share.Key{Group: a.member.Group, Topic: slot.Topic, Partition: slot.Partition})
	if p == nil {
		return share.ErrRecordState // whoever has it knows nothing of these records
	}
	err := p.acknowledge(a.settings.limits, a.member.ID, acks, told)
	if errors.Is(err, errCoordinatorLoading) {
		return share.ErrRecordState
	}
	return err
}

// await waits until everything is kept, or for as long as the coordinator of states may take. What is not
// kept by then may be yet.
func (a *shareAcks) await(ctx context.Context) {
	timer := time.NewTimer(a.broker.config.Shares.WriteTimeout)
	defer timer.Stop()
	late := false
	for slot, told := range a.waits {
		if late {
			select {
			case a.errs[slot] = <-told:
			default:
				a.errs[slot] = context.DeadlineExceeded
			}
			continue
		}
		select {
		case a.errs[slot] = <-told:
		case <-timer.C:
			a.errs[slot], late = context.DeadlineExceeded, true
		case <-ctx.Done():
			a.errs[slot], late = ctx.Err(), true
		}
	}
}

// outcome is what to tell of a partition.
func (a *shareAcks) outcome(slot share.Slot) (int16, *string) {
	return a.broker.outcome("ShareAcknowledge", a.errs[slot])
}
