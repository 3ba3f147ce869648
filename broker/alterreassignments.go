package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const (
	// reassignmentAttempts is how often a reassignment is derived anew after the partition has changed:
	// in-sync sets change by themselves.
	reassignmentAttempts = 10

	reassignByFactor = 1 // from here on a client may forbid another replication factor
)

// errNoReassignment: there is nothing to take back.
var errNoReassignment = errors.New("no reassignment is under way")

// alterPartitionReassignments begins reassignments of partitions, gives them other targets, and takes them
// back (KIP-455). The answer comes when they are under way, not when they have ended.
func (b *Broker) alterPartitionReassignments(
	ctx context.Context, _ *request, q *kmsg.AlterPartitionAssignmentsRequest,
) kmsg.Response {
	response := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	if q.Version >= reassignByFactor {
		response.AllowReplicationFactorChange = q.AllowReplicationFactorChange
	}
	ctx, cancel := b.within(ctx, q.TimeoutMillis)
	defer cancel()
	if err := b.cluster.Fresh(ctx); err != nil {
		response.ErrorCode, response.ErrorMessage = b.outcome("AlterPartitionReassignments", err)
		return response
	}
	plans := planReassignments(q)
	b.reassign(ctx, plans)
	at := 0
	for i := range q.Topics {
		t := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		t.Topic = q.Topics[i].Topic
		for range q.Topics[i].Partitions {
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition = plans[at].index
			p.ErrorCode, p.ErrorMessage = b.outcome("AlterPartitionReassignments", plans[at].err)
			t.Partitions = append(t.Partitions, p)
			at++
		}
		response.Topics = append(response.Topics, t)
	}
	return response
}

// reassignmentPlan is one partition of the request.
type reassignmentPlan struct {
	topic string
	index int32
	// replicas are wanted in the end; nil takes a reassignment back.
	replicas []int32
	// fixed: the replication factor must stay.
	fixed bool
	asked topic.Reassignment
	err   error
}

func planReassignments(q *kmsg.AlterPartitionAssignmentsRequest) []*reassignmentPlan {
	fixed := q.Version >= reassignByFactor && !q.AllowReplicationFactorChange
	var plans []*reassignmentPlan
	for i := range q.Topics {
		for _, p := range q.Topics[i].Partitions {
			plans = append(plans, &reassignmentPlan{
				topic: q.Topics[i].Topic, index: p.Partition, replicas: p.Replicas, fixed: fixed,
			})
		}
	}
	return plans
}

// judge derives what to ask for from the image as it is, and refuses what cannot be.
func (r *reassignmentPlan) judge(view View) error {
	t, _ := view.TopicByName(r.topic)
	if t == nil || r.index < 0 || int(r.index) >= len(t.Partitions) {
		return fmt.Errorf("%w: %s-%d", topic.ErrUnknown, r.topic, r.index)
	}
	p := t.Partitions[r.index]
	r.asked = topic.Reassignment{
		Partition: topic.Partition{Topic: t.ID, Index: r.index}, PartitionEpoch: p.PartitionEpoch,
	}
	if r.replicas == nil {
		if !p.Moving() {
			return fmt.Errorf("%w: %s-%d", errNoReassignment, r.topic, r.index)
		}
		return nil
	}
	target, err := judgeReplicas(view, r.replicas)
	if err != nil {
		return err
	}
	if r.fixed && len(target) != len(p.Final()) {
		return fmt.Errorf("%w: %d replicas, the partition has %d",
			topic.ErrInvalidReplicationFactor, len(target), len(p.Final()))
	}
	r.asked.Target = target
	return nil
}

// reassign proposes what was not refused, and again what another change came before.
func (b *Broker) reassign(ctx context.Context, plans []*reassignmentPlan) {
	waiting := plans
	for range reassignmentAttempts {
		view := b.cluster.View()
		var asked []topic.Reassignment
		var proposed, again []*reassignmentPlan
		for _, plan := range waiting {
			if plan.err = plan.judge(view); plan.err == nil {
				asked, proposed = append(asked, plan.asked), append(proposed, plan)
			}
		}
		if len(asked) == 0 {
			return
		}
		for i, err := range oneEach(b.cluster.Reassign(ctx, asked), len(asked)) {
			proposed[i].err = err
			if errors.Is(err, topic.ErrStale) {
				again = append(again, proposed[i])
			}
		}
		if waiting = again; len(waiting) == 0 || b.cluster.Fresh(ctx) != nil {
			return
		}
	}
}
