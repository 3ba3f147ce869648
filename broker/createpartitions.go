package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// createPartitions grows topics. Every topic that is asked for gets an answer.
func (b *Broker) createPartitions(
	ctx context.Context, _ *request, q *kmsg.CreatePartitionsRequest,
) kmsg.Response {
	ctx, cancel := b.within(ctx, q.TimeoutMillis)
	defer cancel()
	stale := b.cluster.Fresh(ctx) // as in deleteTopics
	plans := b.planGrowths(b.cluster.View(), q)
	for _, plan := range plans {
		if stale != nil && !errors.Is(plan.err, errInvalidRequest) {
			plan.err = stale
		}
	}
	var growths []topic.Growth
	var proposed []*growthPlan
	for _, plan := range plans {
		if plan.err == nil && !q.ValidateOnly {
			growths, proposed = append(growths, plan.growth), append(proposed, plan)
		}
	}
	if len(growths) > 0 {
		for i, err := range oneEach(b.cluster.CreatePartitions(ctx, growths), len(growths)) {
			proposed[i].err = err
		}
	}
	response := kmsg.NewPtrCreatePartitionsResponse()
	for _, plan := range plans {
		answer := kmsg.NewCreatePartitionsResponseTopic()
		answer.Topic = plan.name
		if plan.err != nil {
			why := b.judge("CreatePartitions", plan.err)
			answer.ErrorCode, answer.ErrorMessage = int16(why), kmsg.StringPtr(plan.err.Error())
			b.meters.failure("CreatePartitions", why)
		}
		response.Topics = append(response.Topics, answer)
	}
	return response
}

// growthPlan is one topic of a CreatePartitions request.
type growthPlan struct {
	name   string
	growth topic.Growth
	err    error
}

func (b *Broker) planGrowths(view View, q *kmsg.CreatePartitionsRequest) []*growthPlan {
	plans := make([]*growthPlan, 0, len(q.Topics))
	byName := map[string]*growthPlan{}
	for i := range q.Topics {
		asked := &q.Topics[i]
		if twin, ok := byName[asked.Topic]; ok {
			twin.err = fmt.Errorf("%w: topic %q is named twice", errInvalidRequest, asked.Topic)
			continue
		}
		plan := &growthPlan{name: asked.Topic}
		plan.err = b.planGrowth(view, asked, &plan.growth)
		byName[asked.Topic] = plan
		plans = append(plans, plan)
	}
	return plans
}

func (b *Broker) planGrowth(
	view View, asked *kmsg.CreatePartitionsRequestTopic, g *topic.Growth,
) error {
	t, ok := view.TopicByName(asked.Topic)
	if !ok {
		return fmt.Errorf("%w: %q", topic.ErrUnknown, asked.Topic)
	}
	if t.Internal {
		// The coordinator of a group is found by the number of partitions.
		return fmt.Errorf("%w: those of %q are never more than at first", topic.ErrInvalidPartitions, asked.Topic)
	}
	g.ID, g.Total = t.ID, asked.Count
	have := int32(len(t.Partitions))
	switch most := b.config.Requests.TopicPartitionsMax; {
	case asked.Count <= have:
		return fmt.Errorf("%w: %d, the topic has %d and may have %d",
			topic.ErrInvalidPartitions, asked.Count, have, most)
	case asked.Count > most:
		return fmt.Errorf("%w: %d partitions, a topic has at most %d", topic.ErrTooLarge, asked.Count, most)
	}
	if len(asked.Assignment) == 0 {
		return nil
	}
	if len(asked.Assignment) != int(asked.Count-have) {
		return fmt.Errorf("%w: %d assignments for %d new partitions",
			topic.ErrInvalidAssignment, len(asked.Assignment), asked.Count-have)
	}
	for _, a := range asked.Assignment {
		replicas, err := judgeReplicas(view, a.Replicas)
		if err != nil {
			return err
		}
		g.Assignments = append(g.Assignments, replicas)
	}
	return judgeEven(g.Assignments, len(t.Partitions[0].Final()))
}
