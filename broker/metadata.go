package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const (
	metadataNullIsAll  = 1
	metadataAutoCreate = 4 // clients can ask not to create from here on
	metadataByID       = 12
)

// metadata tells which topics there are, who leads them, and how to reach the brokers through the
// listener that the question came in on. Only live brokers are named.
func (b *Broker) metadata(
	ctx context.Context, r *request, q *kmsg.MetadataRequest,
) kmsg.Response {
	all := q.Topics == nil || r.Version < metadataNullIsAll && len(q.Topics) == 0
	mayCreate := r.Version < metadataAutoCreate || q.AllowAutoTopicCreation
	view := b.cluster.View()
	var refused map[string]code
	if !all && mayCreate && !b.config.Topics.AutoCreateOff {
		view, refused = b.autoCreate(ctx, view, missing(view, q))
	}
	m := newMetadata(b, view, r, q)
	if all {
		for _, t := range view.Topics() {
			m.add(m.describe(t))
		}
		return m.response
	}
	seen := map[string]bool{}
	for i := range q.Topics {
		if name := q.Topics[i].Topic; name != nil && q.Topics[i].TopicID == [16]byte{} {
			if seen[*name] {
				continue // as Kafka, each name once
			}
			seen[*name] = true
		}
		m.add(m.asked(&q.Topics[i], refused))
	}
	return m.response
}

// missing are the named topics that the view does not hold.
func missing(view View, q *kmsg.MetadataRequest) []string {
	var names []string
	for i := range q.Topics {
		if name := q.Topics[i].Topic; name != nil {
			if _, ok := view.TopicByName(*name); !ok {
				names = append(names, *name)
			}
		}
	}
	return names
}

// metadata is one answer in the making.
type metadata struct {
	broker   *Broker
	view     View
	request  *request
	body     *kmsg.MetadataRequest
	response *kmsg.MetadataResponse
	// live brokers that clients of this listener can reach.
	live map[topic.NodeID]bool
	// unreachable brokers are live but not on this listener.
	unreachable map[topic.NodeID]bool
}

func newMetadata(b *Broker, view View, r *request, q *kmsg.MetadataRequest) *metadata {
	m := &metadata{
		broker: b, view: view, request: r, body: q, response: kmsg.NewPtrMetadataResponse(),
		live: map[topic.NodeID]bool{}, unreachable: map[topic.NodeID]bool{},
	}
	if id := view.ClusterID(); id != "" {
		m.response.ClusterID = kmsg.StringPtr(id)
	}
	m.response.ControllerID = b.controller(view, r.listener)
	m.response.AuthorizedOperations = operationsNotAsked
	if q.IncludeClusterAuthorizedOperations {
		m.response.AuthorizedOperations = operationsCluster
	}
	for _, known := range view.Brokers() {
		e, ok := endpointOf(known, r.listener)
		if !ok {
			m.unreachable[known.ID] = true
			continue
		}
		m.live[known.ID] = true
		n := kmsg.NewMetadataResponseBroker()
		n.NodeID, n.Host, n.Port, n.Rack = int32(known.ID), e.Host, e.Port, rackOf(known)
		m.response.Brokers = append(m.response.Brokers, n)
	}
	return m
}

func (m *metadata) add(t kmsg.MetadataResponseTopic) {
	m.response.Topics = append(m.response.Topics, t)
	m.broker.meters.failure("Metadata", code(t.ErrorCode))
}

// asked answers for one topic of the request.
func (m *metadata) asked(q *kmsg.MetadataRequestTopic, refused map[string]code) kmsg.MetadataResponseTopic {
	answer := kmsg.NewMetadataResponseTopic()
	answer.Topic, answer.TopicID = q.Topic, q.TopicID
	byID := topic.ID(q.TopicID) != topic.ID{}
	switch {
	case m.request.Version < metadataByID && (byID || q.Topic == nil):
		// Versions 10 and 11 have the field and Kafka does not serve it there.
		answer.ErrorCode = int16(codeInvalidRequest)
		answer.Topic = kmsg.StringPtr("")
		return answer
	case byID:
		if t, ok := m.view.TopicByID(q.TopicID); ok {
			return m.describe(t)
		}
		answer.ErrorCode = int16(codeUnknownTopicID)
		return answer
	case q.Topic == nil:
		answer.ErrorCode = int16(codeInvalidRequest)
		return answer
	}
	if t, ok := m.view.TopicByName(*q.Topic); ok {
		return m.describe(t)
	}
	answer.ErrorCode = int16(codeUnknownTopicOrPartition)
	if topic.ValidateName(*q.Topic) != nil {
		answer.ErrorCode = int16(codeInvalidTopic)
	} else if why, ok := refused[*q.Topic]; ok {
		answer.ErrorCode = int16(why)
	}
	return answer
}

// describe answers with one topic.
func (m *metadata) describe(t *topic.Topic) kmsg.MetadataResponseTopic {
	answer := kmsg.NewMetadataResponseTopic()
	answer.Topic, answer.TopicID, answer.IsInternal = &t.Name, t.ID, t.Internal
	answer.AuthorizedOperations = operationsNotAsked
	if m.body.IncludeTopicAuthorizedOperations {
		answer.AuthorizedOperations = operationsTopic
	}
	answer.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i, placement := range t.Partitions {
		m.place(&answer.Partitions[i], int32(i), placement)
	}
	return answer
}

// place fills in one partition. Without a leader the replicas are told all the same, so that tools
// show what is down.
func (m *metadata) place(p *kmsg.MetadataResponseTopicPartition, index int32, from *topic.Placement) {
	p.Default()
	p.Partition, p.Leader, p.LeaderEpoch = index, int32(from.Leader), int32(from.LeaderEpoch)
	if !m.live[from.Leader] {
		p.Leader, p.ErrorCode = int32(topic.NoNode), int16(codeLeaderNotAvailable)
		if m.unreachable[from.Leader] {
			p.ErrorCode = int16(codeListenerNotFound)
		}
	}
	nodes := make([]int32, 0, len(from.Replicas)+len(from.ISR))
	for _, replica := range from.Replicas {
		nodes = append(nodes, int32(replica))
		if !m.live[replica] && !m.unreachable[replica] {
			p.OfflineReplicas = append(p.OfflineReplicas, int32(replica))
		}
	}
	for _, member := range from.ISR {
		nodes = append(nodes, int32(member.Node))
	}
	p.Replicas, p.ISR = nodes[:len(from.Replicas):len(from.Replicas)], nodes[len(from.Replicas):]
}
