package sidecar

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/node"
	"outrigger/sidecar/replica"
)

// Status is what one node answers to `sidecar.status`: itself, the partitions that it leads, and, on
// the controller, those that nobody leads.
type Status struct {
	Node    topic.NodeID `json:"node"`
	Session string       `json:"session"`
	Cluster string       `json:"cluster"`
	Version string       `json:"version"`
	PID     int          `json:"pid"`
	// Role is that in the metadata Raft: leader, follower, candidate or learner.
	Role       string       `json:"role"`
	Term       uint64       `json:"term"`
	Commit     uint64       `json:"commit"`
	Applied    uint64       `json:"applied"`
	Controller topic.NodeID `json:"controller"`
	// Fenced is what the image says of this session; also true before it is registered.
	Fenced  bool           `json:"fenced"`
	Brokers []topic.NodeID `json:"live_brokers"`
	// Draining are the registered brokers, live or fenced, that shall hold no replicas any more.
	Draining   []topic.NodeID    `json:"draining,omitempty"`
	Partitions []PartitionStatus `json:"partitions"`

	RaftElections      uint64 `json:"raft_elections"`
	PartitionElections uint64 `json:"partition_elections"`
	WatcherTriggers    uint64 `json:"watcher_triggers"`
	ISRShrinks         uint64 `json:"isr_shrinks"`
	Gaps               uint64 `json:"gaps"`
	Faults             uint64 `json:"faults"`

	// Damaged lists the replicas here in which a batch is damaged on disk, ScrubDamage counts the places
	// in the log that were found damaged since the start.
	Damaged     []DamagedStatus `json:"damaged"`
	ScrubDamage int64           `json:"scrub_damage"`
	// Compacting is the log here that is compacted now, nil if none is.
	Compacting *CompactingStatus `json:"compacting,omitempty"`
}

// CompactingStatus is how far the compaction of one replica's log has come.
type CompactingStatus struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Progress is from 0 to 1, Bytes how long the part of the log is, Waiting how many logs come after it.
	Progress float64 `json:"progress"`
	Bytes    int64   `json:"bytes"`
	Waiting  int     `json:"waiting"`
}

// DamagedStatus is a replica with a batch that its disk does not give back.
type DamagedStatus struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Offset    topic.Offset `json:"offset"`
}

// PartitionStatus is one partition as its leader sees it.
type PartitionStatus struct {
	Topic     string         `json:"topic"`
	Partition int32          `json:"partition"`
	Leader    topic.NodeID   `json:"leader"`
	Epoch     topic.Epoch    `json:"epoch"`
	Replicas  []topic.NodeID `json:"replicas"`
	ISR       []topic.NodeID `json:"isr"`
	// Adding and Removing are what a reassignment brings and takes away.
	Adding        []topic.NodeID   `json:"adding,omitempty"`
	Removing      []topic.NodeID   `json:"removing,omitempty"`
	LogEnd        topic.Offset     `json:"log_end"`
	HighWatermark topic.Offset     `json:"high_watermark"`
	Followers     []FollowerStatus `json:"followers"`
}

// FollowerStatus is one follower as its leader sees it.
type FollowerStatus struct {
	Node topic.NodeID `json:"node"`
	// Lag is the log end less the follower's durable end, -1 while unknown.
	Lag  topic.Offset `json:"lag"`
	Mode string       `json:"mode"`
}

// statusWait bounds the wait for the replication goroutine.
const statusWait = 500 * time.Millisecond

// Status reports this node. A node whose replication goroutine does not answer in time reports no
// partitions.
func (s *Sidecar) Status() Status {
	current, raftStatus := s.current(), *s.status.Load()
	counters := s.metrics.counters()
	status := Status{
		Node: s.cfg.Node, Session: s.cfg.Session.String(), Cluster: current.Image.ClusterID(),
		Version: s.cfg.Version, PID: os.Getpid(), Role: raftRole(raftStatus), Term: raftStatus.Term,
		Commit: raftStatus.Commit, Applied: raftStatus.Applied, Controller: current.Controller,
		Fenced: !current.Registered(s.self()), Partitions: s.partitions(),
		RaftElections:      raftStatus.Elections,
		PartitionElections: s.metrics.elections.Load(),
		WatcherTriggers:    s.metrics.triggers.Load(),
		ISRShrinks:         counters.Shrinks, Gaps: counters.Gaps, Faults: counters.Faults,
	}
	status.Damaged = []DamagedStatus{}
	stats := s.cfg.Logs.Stats()
	status.ScrubDamage = stats.Scrub.Damage
	for _, d := range s.cfg.Logs.Damaged() {
		name := topicName(current.Image, d.Partition.Topic)
		status.Damaged = append(status.Damaged, DamagedStatus{Topic: name, Partition: d.Partition.Index, Offset: d.Offset})
	}
	if now := stats.Compaction.Now; now != nil {
		status.Compacting = &CompactingStatus{Topic: topicName(current.Image, now.Partition.Topic), Partition: now.Partition.Index,
			Progress: now.Progress, Bytes: now.Bytes, Waiting: now.Waiting}
	}
	for _, b := range current.Image.Registered() {
		if !b.Fenced {
			status.Brokers = append(status.Brokers, b.ID)
		}
		if current.Image.Draining(b.ID) {
			status.Draining = append(status.Draining, b.ID)
		}
	}
	if current.Controller == s.cfg.Node {
		status.Partitions = append(status.Partitions, leaderless(current)...)
	}
	return status
}

// topicName is a topic's name, or its id if it is gone.
func topicName(im *cluster.Image, id topic.ID) string {
	if t, ok := im.TopicByID(id); ok {
		return t.Name
	}
	return id.String()
}

func raftRole(status node.Status) string {
	if !status.Voter {
		return "learner"
	}
	return status.Role.String()
}

// partitions asks the replication goroutine what it leads.
func (s *Sidecar) partitions() []PartitionStatus {
	answer := make(chan []node.PartitionStatus, 1)
	s.replication.ask(func(m *node.Replication) { answer <- m.Partitions() })
	timeout := time.NewTimer(statusWait)
	defer timeout.Stop()
	select {
	case led := <-answer:
		out := make([]PartitionStatus, 0, len(led))
		for i := range led {
			out = append(out, s.partitionStatus(&led[i]))
		}
		return out
	case <-timeout.C:
		return nil
	}
}

func (s *Sidecar) partitionStatus(p *node.PartitionStatus) PartitionStatus {
	out := PartitionStatus{
		Topic: p.Topic, Partition: p.Partition.Index, Leader: s.cfg.Node, Epoch: p.Epoch,
		LogEnd: p.Log.LogEnd, HighWatermark: p.Log.HighWatermark,
	}
	if placement, ok := s.current().Image.Partition(p.Partition); ok {
		out.Replicas, out.ISR = placement.Replicas, nodesOf(placement.ISR)
		out.Adding, out.Removing = placement.Adding(), placement.Removing()
	}
	for _, f := range p.Followers {
		out.Followers = append(out.Followers, followerStatus(f, p.Log.LogEnd))
	}
	return out
}

func followerStatus(f replica.Progress, logEnd topic.Offset) FollowerStatus {
	lag := topic.NoOffset
	if f.Known {
		lag = max(0, logEnd-f.Match)
	}
	return FollowerStatus{Node: f.Member.Node, Lag: lag, Mode: f.Mode}
}

// leaderless lists the partitions that nobody leads.
func leaderless(current *published) []PartitionStatus {
	var out []PartitionStatus
	for t := range current.Image.All() {
		for i, p := range t.Partitions {
			if p.Leader != topic.NoNode {
				continue
			}
			out = append(out, PartitionStatus{
				Topic: t.Name, Partition: int32(i), Leader: topic.NoNode, Epoch: p.LeaderEpoch,
				Replicas: p.Replicas, ISR: nodesOf(p.ISR), Adding: p.Adding(), Removing: p.Removing(),
			})
		}
	}
	return out
}

// statusPartitionsMax keeps the answer of a large node under the payload limit.
const statusPartitionsMax = 3000

// serve announces the micro service that the nats CLI sees.
func (s *Sidecar) serve() error {
	err := s.bus.Service(bus.ServiceConfig{
		Name: "sidecar", Version: s.cfg.Version,
		Description: fmt.Sprintf("Outrigger sidecar of broker %d", s.cfg.Node),
		Metadata: map[string]string{
			"node": strconv.Itoa(int(s.cfg.Node)), "cluster": s.cfg.ClusterID, "kafka_addr": kafkaAddress(s.cfg.Endpoints),
			"pid": strconv.Itoa(os.Getpid()), "version": s.cfg.Version,
		},
		Status: s.statusJSON,
		Stats:  s.stats,
	})
	if err != nil {
		return fmt.Errorf("announce sidecar service: %w", err)
	}
	return nil
}

// kafkaAddress is where clients find this node: one address, or of several listeners each with its name, since who asks
// does not know which of them is for him.
func kafkaAddress(endpoints []topic.Endpoint) string {
	var all []string
	for _, e := range endpoints {
		address := net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
		if len(endpoints) > 1 {
			address = e.Listener + "://" + address
		}
		all = append(all, address)
	}
	return strings.Join(all, ",")
}

func (s *Sidecar) statusJSON() []byte {
	status := s.Status()
	if len(status.Partitions) > statusPartitionsMax {
		status.Partitions = status.Partitions[:statusPartitionsMax]
	}
	data, err := json.Marshal(status)
	if err != nil {
		return fmt.Appendf(nil, `{"node":%d,"error":%q}`, s.cfg.Node, err)
	}
	return data
}

// stats are the live numbers beside the endpoint's own in `nats micro stats`.
func (s *Sidecar) stats() any {
	raftStatus, counters := *s.status.Load(), s.metrics.counters()
	return map[string]any{
		"node": s.cfg.Node, "role": raftRole(raftStatus), "term": raftStatus.Term,
		"commit": raftStatus.Commit, "applied": raftStatus.Applied,
		"raft_elections": raftStatus.Elections, "partition_elections": s.metrics.elections.Load(),
		"watcher_triggers": s.metrics.triggers.Load(), "isr_shrinks": counters.Shrinks,
		"gaps": counters.Gaps, "faults": counters.Faults, "frames_refused": counters.FramesRefused,
	}
}
