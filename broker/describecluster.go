package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const (
	endpointBrokers     = 1
	endpointControllers = 2
)

// Sets of operations, as bits of Kafka's AclOperation. Without an authorizer everything is allowed
// that the resource knows.
const (
	operationsNotAsked = -1 << 31
	// CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE
	operationsCluster = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS
	operationsTopic = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
)

// describeCluster tells who is there (KIP-700).
func (b *Broker) describeCluster(
	_ context.Context, r *request, q *kmsg.DescribeClusterRequest,
) kmsg.Response {
	view := b.cluster.View()
	response := kmsg.NewPtrDescribeClusterResponse()
	response.ControllerID = -1
	if why, message := judgeEndpointType(q.EndpointType); why != codeNone {
		response.ErrorCode, response.ErrorMessage = int16(why), kmsg.StringPtr(message)
		b.meters.failure("DescribeCluster", why)
		return response
	}
	response.ClusterID, response.EndpointType = view.ClusterID(), q.EndpointType
	response.ControllerID = b.controller(view, r.listener)
	if q.IncludeClusterAuthorizedOperations {
		response.ClusterAuthorizedOperations = operationsCluster
	}
	add := func(known topic.Broker) {
		if e, ok := endpointOf(known, r.listener); ok {
			n := kmsg.NewDescribeClusterResponseBroker()
			n.NodeID, n.Host, n.Port = int32(known.ID), e.Host, e.Port
			n.Rack, n.IsFenced = rackOf(known), known.Fenced
			response.Brokers = append(response.Brokers, n)
		}
	}
	for _, known := range view.Registered() {
		if !known.Fenced || q.IncludeFencedBrokers {
			add(known)
		}
	}
	return response
}

func judgeEndpointType(kind int8) (code, string) {
	switch kind {
	case endpointBrokers:
		return codeNone, ""
	case endpointControllers:
		return codeMismatchedEndpointType, "this is the endpoint of a broker, not of a controller"
	default:
		return codeUnsupportedEndpointType, "unknown endpoint type"
	}
}

// controller is whom clients should send administrative requests to: the controller if clients can
// reach it. Any broker takes them and hands them on, so while nobody knows the controller it is us.
func (b *Broker) controller(view View, listener string) int32 {
	for _, id := range []topic.NodeID{view.Controller(), b.config.Node} {
		known, ok := view.Broker(id)
		if !ok || known.Fenced {
			continue
		}
		if _, ok := endpointOf(known, listener); ok {
			return int32(id)
		}
	}
	return int32(topic.NoNode)
}
