package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// createTopics judges what can be judged here, and proposes the rest in one go. Topics of one
// request stand or fall each by itself.
func (b *Broker) createTopics(
	ctx context.Context, r *request, q *kmsg.CreateTopicsRequest,
) kmsg.Response {
	ctx, cancel := b.within(ctx, q.TimeoutMillis)
	defer cancel()
	view := b.cluster.View()
	plans := b.planTopics(view, q)
	if slices.ContainsFunc(plans, (*creationPlan).refusedByView) {
		view, plans = b.planTopicsAgain(ctx, q)
	}
	if !q.ValidateOnly {
		var proposals []topic.Creation
		var proposed []*creationPlan
		for _, plan := range plans {
			if plan.err == nil {
				proposals, proposed = append(proposals, plan.creation), append(proposed, plan)
			}
		}
		if len(proposals) > 0 {
			for i, err := range oneEach(b.cluster.CreateTopics(ctx, proposals), len(proposals)) {
				proposed[i].err = err
			}
		}
		view = b.cluster.View()
	}
	response := kmsg.NewPtrCreateTopicsResponse()
	for _, plan := range plans {
		response.Topics = append(response.Topics, b.answerCreation(view, plan, q.ValidateOnly))
	}
	return response
}

// creationPlan is one topic of a CreateTopics request.
type creationPlan struct {
	creation topic.Creation
	err      error
}

// refusedByView reports a refusal that follows from what this broker knows of the cluster, and that
// a newer view may take back: a name that is free again, a broker that has registered meanwhile.
func (p *creationPlan) refusedByView() bool {
	return errors.Is(p.err, topic.ErrNameTaken) || errors.Is(p.err, topic.ErrInvalidReplicationFactor) ||
		errors.Is(p.err, topic.ErrInvalidAssignment)
}

// planTopicsAgain plans on a view that is as new as the request. A topic that another broker has
// deleted would else be refused here, by an image that has not heard of it yet; and a broker that has
// just started knows few others, and would refuse every topic with replicas on them.
func (b *Broker) planTopicsAgain(
	ctx context.Context, q *kmsg.CreateTopicsRequest,
) (View, []*creationPlan) {
	err := b.cluster.Fresh(ctx)
	view := b.cluster.View()
	plans := b.planTopics(view, q)
	for _, plan := range plans {
		if err != nil && plan.refusedByView() {
			plan.err = err
		}
	}
	return view, plans
}

// errInvalidRequest: the request contradicts itself.
var errInvalidRequest = errors.New("request is invalid")

// planTopics turns each name of the request into a proposal or a refusal. A name that stands there
// twice is refused once.
func (b *Broker) planTopics(view View, q *kmsg.CreateTopicsRequest) []*creationPlan {
	plans := make([]*creationPlan, 0, len(q.Topics))
	byName := map[string]*creationPlan{}
	for i := range q.Topics {
		asked := &q.Topics[i]
		if twin, ok := byName[asked.Topic]; ok {
			twin.err = fmt.Errorf("%w: topic %q is named twice", errInvalidRequest, asked.Topic)
			continue
		}
		plan := &creationPlan{creation: topic.Creation{ID: newTopicID(), Name: asked.Topic}}
		plan.err = b.planTopic(view, asked, &plan.creation)
		byName[asked.Topic] = plan
		plans = append(plans, plan)
	}
	return plans
}

func (b *Broker) planTopic(
	view View, asked *kmsg.CreateTopicsRequestTopic, c *topic.Creation,
) error {
	if err := topic.ValidateName(asked.Topic); err != nil {
		return err
	}
	if notAutoCreated[asked.Topic] {
		return fmt.Errorf("%w: %q is made by the brokers when they need it", topic.ErrInvalidName, asked.Topic)
	}
	if _, taken := view.TopicByName(asked.Topic); taken {
		return fmt.Errorf("%w: %q", topic.ErrNameTaken, asked.Topic)
	}
	configs, err := judgeTopicConfigs(asked.Configs, b.topicDefaults(view))
	if err != nil {
		return err
	}
	c.Configs = configs
	if len(asked.ReplicaAssignment) > 0 {
		return planAssigned(view, asked, c)
	}
	return b.planCounted(view, asked, c)
}

// planCounted plans a topic of which the counts are given, or left to the defaults with -1.
func (b *Broker) planCounted(
	view View, asked *kmsg.CreateTopicsRequestTopic, c *topic.Creation,
) error {
	c.Partitions, c.ReplicationFactor = asked.NumPartitions, asked.ReplicationFactor
	if c.Partitions == -1 {
		c.Partitions = b.config.Topics.Partitions
	}
	if c.ReplicationFactor == -1 {
		c.ReplicationFactor = b.config.Topics.ReplicationFactor
	}
	switch most := b.config.Requests.TopicPartitionsMax; {
	case c.Partitions < 1:
		return fmt.Errorf("%w: %d, it must be between 1 and %d", topic.ErrInvalidPartitions, c.Partitions, most)
	case c.Partitions > most:
		return fmt.Errorf("%w: %d partitions, a topic has at most %d", topic.ErrTooLarge, c.Partitions, most)
	}
	// A broker that is down counts: its replicas join when it is back.
	if known := len(view.Registered()); c.ReplicationFactor < 1 || int(c.ReplicationFactor) > known {
		return fmt.Errorf("%w: %d with %d registered brokers",
			topic.ErrInvalidReplicationFactor, c.ReplicationFactor, known)
	}
	return nil
}

// planAssigned plans a topic whose replicas are named one by one.
func planAssigned(view View, asked *kmsg.CreateTopicsRequestTopic, c *topic.Creation) error {
	if asked.NumPartitions != -1 || asked.ReplicationFactor != -1 {
		return fmt.Errorf("%w: counts must be -1 beside a replica assignment", errInvalidRequest)
	}
	c.Assignments = make([][]topic.NodeID, len(asked.ReplicaAssignment))
	for _, a := range asked.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(c.Assignments) ||
			c.Assignments[a.Partition] != nil {
			return fmt.Errorf("%w: partitions must be numbered from 0, each once",
				topic.ErrInvalidAssignment)
		}
		replicas, err := judgeReplicas(view, a.Replicas)
		if err != nil {
			return err
		}
		c.Assignments[a.Partition] = replicas
	}
	c.Partitions = int32(len(c.Assignments))
	c.ReplicationFactor = int16(len(c.Assignments[0]))
	return judgeEven(c.Assignments, len(c.Assignments[0]))
}

// judgeReplicas wants registered brokers, each once.
func judgeReplicas(view View, asked []int32) ([]topic.NodeID, error) {
	if len(asked) == 0 {
		return nil, fmt.Errorf("%w: no replicas", topic.ErrInvalidAssignment)
	}
	replicas := make([]topic.NodeID, 0, len(asked))
	seen := map[int32]bool{}
	for _, id := range asked {
		if _, ok := view.Broker(topic.NodeID(id)); !ok {
			return nil, fmt.Errorf("%w: broker %d is unknown", topic.ErrInvalidAssignment, id)
		}
		if seen[id] {
			return nil, fmt.Errorf("%w: broker %d stands twice", topic.ErrInvalidAssignment, id)
		}
		seen[id] = true
		replicas = append(replicas, topic.NodeID(id))
	}
	return replicas, nil
}

// judgeEven wants as many replicas of every partition.
func judgeEven(assignments [][]topic.NodeID, want int) error {
	for i, replicas := range assignments {
		if len(replicas) != want {
			return fmt.Errorf("%w: assignment %d names %d replicas, others %d",
				topic.ErrInvalidAssignment, i, len(replicas), want)
		}
	}
	return nil
}

func (b *Broker) answerCreation(
	view View, plan *creationPlan, planned bool,
) kmsg.CreateTopicsResponseTopic {
	answer := kmsg.NewCreateTopicsResponseTopic()
	answer.Topic = plan.creation.Name
	answer.NumPartitions, answer.ReplicationFactor = -1, -1
	answer.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
	if plan.err != nil {
		why := b.judge("CreateTopics", plan.err)
		answer.ErrorCode, answer.ErrorMessage = int16(why), kmsg.StringPtr(plan.err.Error())
		b.meters.failure("CreateTopics", why)
		return answer
	}
	answer.NumPartitions = plan.creation.Partitions
	answer.ReplicationFactor = plan.creation.ReplicationFactor
	set := plan.creation.Configs
	if !planned {
		answer.TopicID = plan.creation.ID
		// Another proposal of the same name may have come first, with this very outcome.
		if made, ok := view.TopicByID(plan.creation.ID); ok {
			answer.NumPartitions, set = int32(len(made.Partitions)), made.Configs
		}
	}
	for _, described := range describeTopicConfigs(set, b.topicDefaults(view)) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.Source = described.name, kmsg.StringPtr(described.value), int8(described.source)
		answer.Configs = append(answer.Configs, c)
	}
	return answer
}
