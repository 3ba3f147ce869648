package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const deleteTopicsByID = 6

// deleteTopics removes topics, by name or by id. Each stands or falls by itself.
func (b *Broker) deleteTopics(
	ctx context.Context, r *request, q *kmsg.DeleteTopicsRequest,
) kmsg.Response {
	ctx, cancel := b.within(ctx, q.TimeoutMillis)
	defer cancel()
	// A name is resolved as it stands now: in an old view it may be that of a topic deleted long ago,
	// whose deletion would succeed again while its successor stays.
	stale := b.cluster.Fresh(ctx)
	plans := b.planDeletions(b.cluster.View(), r.Version, q)
	for _, plan := range plans {
		if stale != nil && plan.code != codeInvalidRequest && plan.code != codeTopicDeletionDisabled &&
			plan.code != codeInvalidTopic {
			plan.refuse(b.judge("DeleteTopics", stale), stale.Error())
		}
	}
	var ids []topic.ID
	var proposed []*deletionPlan
	for _, plan := range plans {
		if plan.code == codeNone {
			ids, proposed = append(ids, plan.id), append(proposed, plan)
		}
	}
	if len(ids) > 0 {
		for i, err := range oneEach(b.cluster.DeleteTopics(ctx, ids), len(ids)) {
			proposed[i].code = b.judge("DeleteTopics", err)
			if err != nil {
				proposed[i].message = err.Error()
			}
		}
	}
	response := kmsg.NewPtrDeleteTopicsResponse()
	for _, plan := range plans {
		answer := kmsg.NewDeleteTopicsResponseTopic()
		answer.Topic, answer.TopicID, answer.ErrorCode = plan.name, plan.id, int16(plan.code)
		if plan.message != "" {
			answer.ErrorMessage = &plan.message
		}
		b.meters.failure("DeleteTopics", plan.code)
		response.Topics = append(response.Topics, answer)
	}
	return response
}

// deletionPlan is one topic of a DeleteTopics request.
type deletionPlan struct {
	name    *string
	id      topic.ID
	code    code
	message string
}

func (p *deletionPlan) refuse(why code, message string) { p.code, p.message = why, message }

func (b *Broker) planDeletions(
	view View, version int16, q *kmsg.DeleteTopicsRequest,
) []*deletionPlan {
	asked := q.Topics
	if version < deleteTopicsByID {
		asked = make([]kmsg.DeleteTopicsRequestTopic, len(q.TopicNames))
		for i := range q.TopicNames {
			asked[i].Topic = &q.TopicNames[i]
		}
	}
	plans := make([]*deletionPlan, 0, len(asked))
	planned := map[topic.ID]*deletionPlan{}
	for i := range asked {
		plan := b.planDeletion(view, &asked[i])
		if twin := planned[plan.id]; twin != nil && plan.code == codeNone {
			twin.refuse(codeInvalidRequest, "topic is named twice")
			continue
		}
		if plan.code == codeNone {
			planned[plan.id] = plan
		}
		plans = append(plans, plan)
	}
	return plans
}

func (b *Broker) planDeletion(view View, asked *kmsg.DeleteTopicsRequestTopic) *deletionPlan {
	plan := &deletionPlan{name: asked.Topic, id: asked.TopicID}
	if plan.id.IsZero() == (asked.Topic == nil) {
		plan.refuse(codeInvalidRequest, "exactly one of name and id must be given")
		return plan
	}
	var found *topic.Topic
	if asked.Topic != nil {
		found, plan.code = topicOf(view, *asked.Topic, topic.ID{}, false)
	} else {
		found, plan.code = topicOf(view, "", plan.id, true)
	}
	switch {
	case found == nil:
		plan.message = "topic does not exist"
	case found.Internal:
		plan.refuse(codeInvalidTopic, "topic belongs to the brokers and cannot be deleted")
	case b.config.Topics.DeleteOff:
		plan.refuse(codeTopicDeletionDisabled, "delete.topic.enable is false")
	default:
		plan.id, plan.name = found.ID, &found.Name
	}
	return plan
}
