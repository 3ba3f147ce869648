package sidecar

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/raft"
	"outrigger/sidecar/replica"
)

// eventsMax bounds the events that wait to be told; more are dropped and counted.
const eventsMax = 4096

// event is one JSON object on `sidecar.event.<kind>`.
type event struct {
	kind   string
	fields map[string]any
}

// event tells operators what happened. It never blocks.
func (s *Sidecar) event(kind string, fields map[string]any) {
	if !s.events.put(event{kind, fields}) {
		s.metrics.eventsDropped.Inc()
	}
}

// Event tells operators what happened on this node outside of the sidecar, as `sidecar.event.<kind>`. It
// never blocks. The map is the sidecar's from then on.
func (s *Sidecar) Event(kind string, fields map[string]any) { s.event(kind, fields) }

// tellEvents publishes events on the operators' account.
func (s *Sidecar) tellEvents(ctx context.Context) error {
	var events []event
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.events.signal:
		}
		events = s.events.take(events)
		for _, e := range events {
			e.fields["event"] = e.kind
			data, err := json.Marshal(e.fields)
			if err == nil {
				err = s.bus.Event(e.kind, data)
			}
			if err != nil {
				s.metrics.eventsDropped.Inc()
			}
		}
	}
}

// tellChanges tells what a newer image changed. Only the controller does, so that each change is told
// once.
func (s *Sidecar) tellChanges(before, after *cluster.Image) {
	for _, b := range after.Registered() {
		old, known := before.Broker(b.ID)
		switch {
		case b.Fenced && (!known || !old.Fenced):
			s.event("broker.fenced", map[string]any{"broker": b.ID, "session": b.Session.String()})
		case !b.Fenced && (!known || old.Fenced || old.Session != b.Session):
			s.event("broker.registered", map[string]any{"broker": b.ID, "session": b.Session.String()})
		}
	}
	for t := range after.All() {
		old, ok := before.TopicByID(t.ID)
		if old == t {
			continue
		}
		if !ok {
			s.event("topic.created", map[string]any{"topic": t.Name, "id": t.ID.String(), "partitions": len(t.Partitions)})
		}
		for i, p := range t.Partitions {
			if ok && i < len(old.Partitions) {
				s.tellPlacement(t.Name, i, old.Partitions[i], p)
			}
		}
	}
}

func (s *Sidecar) tellPlacement(name string, index int, before, after *topic.Placement) {
	if before == after {
		return
	}
	if before.LeaderEpoch != after.LeaderEpoch {
		s.metrics.partitionElections.Inc()
		s.event("leader.elected", map[string]any{
			"topic": name, "partition": index, "leader": after.Leader, "epoch": after.LeaderEpoch,
			"was": before.Leader, "unclean": after.Unclean,
		})
		if after.Unclean {
			s.tellUnclean(name, index, after)
		}
	}
	if !slices.Equal(before.Replicas, after.Replicas) || before.Moving() != after.Moving() {
		s.tellMove(name, index, before, after)
	}
	if !slices.Equal(before.ISR, after.ISR) {
		s.event("isr.changed", map[string]any{
			"topic": name, "partition": index, "isr": nodesOf(after.ISR), "was": nodesOf(before.ISR),
		})
	}
}

// tellMove tells of a reassignment that began, changed, or has ended.
func (s *Sidecar) tellMove(name string, index int, before, after *topic.Placement) {
	kind := "replicas.moved"
	if after.Moving() {
		kind = "replicas.moving"
	}
	s.event(kind, map[string]any{
		"topic": name, "partition": index, "replicas": after.Replicas, "was": before.Replicas,
		"adding": after.Adding(), "removing": after.Removing(),
	})
}

// tellUnclean reports possible loss: what the new leader does not hold is gone.
func (s *Sidecar) tellUnclean(name string, index int, after *topic.Placement) {
	s.metrics.uncleanElections.Inc()
	s.log.Warn("partition led after an unclean election: records that its leader lacks are lost",
		slog.String("topic", name), slog.Int("partition", index), slog.Int("leader", int(after.Leader)),
		slog.Int("epoch", int(after.LeaderEpoch)))
	s.event("loss.possible", map[string]any{
		"topic": name, "partition": index, "leader": after.Leader, "epoch": after.LeaderEpoch,
	})
}

func nodesOf(members []topic.Member) []topic.NodeID {
	nodes := make([]topic.NodeID, len(members))
	for i, m := range members {
		nodes[i] = m.Node
	}
	slices.Sort(nodes)
	return nodes
}

// replicaEvent logs and tells what a replica machine reports.
func (s *Sidecar) replicaEvent(e replica.Event) {
	fields := map[string]any{
		"node": s.cfg.Node, "topic_id": e.Partition.Topic.String(), "partition": e.Partition.Index,
		"epoch": e.Epoch, "peer": e.Peer, "offset": e.Offset,
	}
	if t, ok := s.current().Image.TopicByID(e.Partition.Topic); ok {
		fields["topic"] = t.Name
	}
	switch e.Kind {
	case replica.EventGap:
		s.event("gap.asked", fields)
	case replica.EventCut, replica.EventReset:
		s.log.Info("log cut to its leader's", slog.String("detail", e.String()))
		s.event("log.cut", fields)
	case replica.EventFault:
		s.log.Error("replication fault", slog.String("detail", e.String()))
		fields["detail"] = e.Detail
		s.event("fault", fields)
	case replica.EventShrink:
		s.log.Info("in-sync set to shrink", slog.String("detail", e.String()))
	}
}

// raftEvent logs what the Raft reports; becoming the controller is told to operators as well.
func (s *Sidecar) raftEvent(e raft.Event) {
	switch {
	case e.Kind == raft.RoleChanged && e.Role == raft.Leader:
		s.metrics.raftElections.Inc()
		s.log.Info("metadata raft", slog.String("event", e.String()))
		s.event("controller.elected", map[string]any{"node": s.cfg.Node, "term": e.Term})
	case e.Kind == raft.MessageRefused:
		s.metrics.raftRefused.Inc()
		s.log.Debug("metadata raft", slog.String("event", e.String()))
	default:
		s.log.Info("metadata raft", slog.String("event", e.String()))
	}
}

// tap tells whoever listens what goes over the wire: facts, never payloads.
func (s *Sidecar) tap(name string, o *replica.Outgoing) {
	section := &o.Section
	if !s.bus.TapInterest(name, section.Partition.Index) {
		return
	}
	data, err := json.Marshal(map[string]any{
		"topic": name, "partition": section.Partition.Index, "epoch": section.Epoch,
		"base": section.Base, "count": section.Count, "bytes": len(section.Payload),
		"high_watermark": section.HighWatermark, "from": s.cfg.Node, "to": o.To.Node,
	})
	if err == nil {
		err = s.bus.Tap(name, section.Partition.Index, data)
	}
	if err != nil {
		s.metrics.eventsDropped.Inc()
	}
}
