package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// metadataTopic is how Kafka's tools call the log of the metadata Raft. No such topic exists here, but
// they ask about its only partition.
const metadataTopic = "__cluster_metadata"

// quorumWait is how long to look for a controller.
const quorumWait = 5 * time.Second

// describeQuorum tells of the metadata Raft as its leader sees it. An index of the Raft's log is told as
// an offset, so an end is the last index and one.
func (b *Broker) describeQuorum(
	ctx context.Context, r *request, q *kmsg.DescribeQuorumRequest,
) kmsg.Response {
	response := kmsg.NewPtrDescribeQuorumResponse()
	ctx, cancel := context.WithTimeout(ctx, quorumWait)
	defer cancel()
	quorum, err := b.cluster.Quorum(ctx)
	if response.ErrorCode, response.ErrorMessage = b.outcome("DescribeQuorum", err); err != nil {
		return response
	}
	for i := range q.Topics {
		t := kmsg.NewDescribeQuorumResponseTopic()
		t.Topic = q.Topics[i].Topic
		for _, asked := range q.Topics[i].Partitions {
			p := kmsg.NewDescribeQuorumResponseTopicPartition()
			p.Partition = asked.Partition
			if t.Topic == metadataTopic && asked.Partition == 0 {
				fillQuorum(&p, quorum, time.Now().UnixMilli())
			} else {
				p.ErrorCode = int16(codeUnknownTopicOrPartition)
				p.ErrorMessage = kmsg.StringPtr("only partition 0 of " + metadataTopic + " has a quorum")
				b.meters.failure("DescribeQuorum", codeUnknownTopicOrPartition)
			}
			t.Partitions = append(t.Partitions, p)
		}
		response.Topics = append(response.Topics, t)
	}
	response.Nodes = b.quorumNodes(quorum, r.listener)
	return response
}

func fillQuorum(p *kmsg.DescribeQuorumResponseTopicPartition, q topic.Quorum, nowMillis int64) {
	p.LeaderID, p.LeaderEpoch, p.HighWatermark = int32(q.Leader), int32(q.Term), int64(q.Commit)+1
	p.CurrentVoters = quorumStates(q.Voters, nowMillis)
	p.Observers = quorumStates(q.Learners, nowMillis)
}

// quorumStates tells -1 for what is not known.
func quorumStates(
	replicas []topic.QuorumReplica, nowMillis int64,
) []kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	states := []kmsg.DescribeQuorumResponseTopicPartitionReplicaState{}
	for _, r := range replicas {
		s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		s.ReplicaID, s.ReplicaDirectoryID = int32(r.Node), r.Disk
		s.LogEndOffset, s.LastFetchTimestamp, s.LastCaughtUpTimestamp = -1, -1, -1
		if r.LastIndex > 0 {
			s.LogEndOffset = int64(r.LastIndex) + 1
			s.LastFetchTimestamp = nowMillis - r.SilentMillis
		}
		if r.CaughtUp {
			s.LastCaughtUpTimestamp = s.LastFetchTimestamp
		}
		states = append(states, s)
	}
	return states
}

// quorumNodes are the addresses of the quorum's members for Kafka clients: every broker takes what
// Kafka's controllers take.
func (b *Broker) quorumNodes(q topic.Quorum, listener string) []kmsg.DescribeQuorumResponseNode {
	view := b.cluster.View()
	nodes := []kmsg.DescribeQuorumResponseNode{}
	for _, replicas := range [][]topic.QuorumReplica{q.Voters, q.Learners} {
		for _, r := range replicas {
			known, ok := view.Broker(r.Node)
			if !ok {
				continue
			}
			if e, ok := endpointOf(known, listener); ok {
				n := kmsg.NewDescribeQuorumResponseNode()
				l := kmsg.NewDescribeQuorumResponseNodeListener()
				l.Name, l.Host, l.Port = e.Listener, e.Host, uint16(e.Port)
				n.NodeID, n.Listeners = int32(r.Node), append(n.Listeners, l)
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}
