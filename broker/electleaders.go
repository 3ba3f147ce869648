package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const (
	electPreferred = 0
	electUnclean   = 1

	electByType = 1 // before, every election is that of the preferred leader
)

// Outcomes of elections.
var (
	errElectionNotNeeded  = errors.New("election is not needed")
	errPreferredNotInSync = errors.New("preferred leader is not live and in sync")
	errNobodyToElect      = errors.New("no replica is live")
)

// electLeaders elects the preferred leaders, or whoever is there where nobody leads (KIP-460). A request
// for all partitions is told of those only where there was something to do.
func (b *Broker) electLeaders(
	ctx context.Context, r *request, q *kmsg.ElectLeadersRequest,
) kmsg.Response {
	response := kmsg.NewPtrElectLeadersResponse()
	kind := q.ElectionType
	if r.Version < electByType {
		kind = electPreferred
	}
	ctx, cancel := b.within(ctx, q.TimeoutMillis)
	defer cancel()
	err := b.cluster.Fresh(ctx)
	if kind != electPreferred && kind != electUnclean {
		err = fmt.Errorf("%w: election type %d", errInvalidRequest, kind)
	}
	if err != nil {
		response.ErrorCode, _ = b.outcome("ElectLeaders", err)
		return response
	}
	plans := planElections(b.cluster.View(), kind == electUnclean, q)
	b.elect(ctx, kind == electUnclean, plans)
	for _, p := range plans {
		if q.Topics == nil && errors.Is(p.err, errElectionNotNeeded) {
			continue
		}
		answer := kmsg.NewElectLeadersResponseTopicPartition()
		answer.Partition = p.index
		answer.ErrorCode, answer.ErrorMessage = b.outcome("ElectLeaders", p.err)
		if last := len(response.Topics) - 1; last < 0 || response.Topics[last].Topic != p.topic {
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = p.topic
			response.Topics = append(response.Topics, t)
		}
		last := &response.Topics[len(response.Topics)-1]
		last.Partitions = append(last.Partitions, answer)
	}
	return response
}

// electionPlan is one partition of an ElectLeaders request.
type electionPlan struct {
	topic    string
	index    int32
	election topic.Election
	err      error
}

func planElections(view View, unclean bool, q *kmsg.ElectLeadersRequest) []*electionPlan {
	var plans []*electionPlan
	add := func(name string, t *topic.Topic, index int32) {
		plan := &electionPlan{topic: name, index: index}
		plan.err = plan.judge(view, unclean, t)
		plans = append(plans, plan)
	}
	if q.Topics == nil {
		for _, t := range view.Topics() {
			for index := range t.Partitions {
				add(t.Name, t, int32(index))
			}
		}
	}
	for i := range q.Topics {
		t, _ := view.TopicByName(q.Topics[i].Topic)
		for _, index := range q.Topics[i].Partitions {
			add(q.Topics[i].Topic, t, index)
		}
	}
	return plans
}

// judge refuses what cannot be, by the image as it is.
func (e *electionPlan) judge(view View, unclean bool, t *topic.Topic) error {
	if t == nil || e.index < 0 || int(e.index) >= len(t.Partitions) {
		return fmt.Errorf("%w: %s-%d", topic.ErrUnknown, e.topic, e.index)
	}
	p := t.Partitions[e.index]
	e.election = topic.Election{
		Partition: topic.Partition{Topic: t.ID, Index: e.index}, PartitionEpoch: p.PartitionEpoch,
	}
	preferred, _ := view.Broker(p.Replicas[0])
	switch {
	case unclean && p.Leader != topic.NoNode, !unclean && p.Leader == p.Replicas[0]:
		return fmt.Errorf("%w: broker %d leads", errElectionNotNeeded, p.Leader)
	case !unclean && (preferred.Fenced || !p.InSync(topic.Member{Node: preferred.ID, Session: preferred.Session})):
		return fmt.Errorf("%w: broker %d", errPreferredNotInSync, p.Replicas[0])
	case unclean && !anyLive(view, p.Replicas):
		return fmt.Errorf("%w: of brokers %v", errNobodyToElect, p.Replicas)
	}
	return nil
}

func anyLive(view View, replicas []topic.NodeID) bool {
	for _, id := range replicas {
		if known, ok := view.Broker(id); ok && !known.Fenced {
			return true
		}
	}
	return false
}

// elect proposes what was not refused.
func (b *Broker) elect(ctx context.Context, unclean bool, plans []*electionPlan) {
	var elections []topic.Election
	var proposed []*electionPlan
	for _, plan := range plans {
		if plan.err == nil {
			elections, proposed = append(elections, plan.election), append(proposed, plan)
		}
	}
	if len(elections) == 0 {
		return
	}
	for i, err := range oneEach(b.cluster.ElectLeaders(ctx, unclean, elections), len(elections)) {
		proposed[i].err = err
	}
}
