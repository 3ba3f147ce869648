package broker

import (
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// racked is a broker in rack r1 with a partition that broker 2, in rack r2, follows in sync.
func racked(t *testing.T, follower topic.Broker, edit ...func(*Config)) *harness {
	t.Helper()
	h := start(t, append([]func(*Config){func(c *Config) { c.Requests.FollowerReads = true }}, edit...)...)
	h.create("s", 1)
	h.cluster.addBroker(follower)
	follow(h, 1, 5)
	onlyCode(t, "produce", onlyProduced(h.dial().ask(produceOf(9, "s", 0, -1, plainBatch("a", "b")))).ErrorCode)
	return h
}

// follow makes both brokers replicas in sync, in the given sessions.
func follow(h *harness, own, other topic.Session) {
	h.cluster.publish(func(v *soleView) {
		altered := *v.topics[0]
		placement := *altered.Partitions[0]
		placement.Replicas = []topic.NodeID{1, 2}
		placement.ISR = []topic.Member{{Node: 1, Session: own}, {Node: 2, Session: other}}
		altered.Partitions = []*topic.Placement{&placement}
		v.topics[0] = &altered
	})
}

func inRack(rack string, edit ...func(*topic.Broker)) topic.Broker {
	b := topic.Broker{ID: 2, Session: 5, Rack: rack, Endpoints: []topic.Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 1}}}
	for _, e := range edit {
		e(&b)
	}
	return b
}

// TestLeaderSendsConsumersToTheirRack (checklist 26): never to one who is down or not in sync.
func TestLeaderSendsConsumersToTheirRack(t *testing.T) {
	off := func(c *Config) { c.Requests.FollowerReads = false }
	for name, test := range map[string]struct {
		follower topic.Broker
		rack     string
		version  int16
		offset   int64
		edit     []func(*Config)
		want     int32
	}{
		"its rack":        {inRack("r2"), "r2", 12, 0, nil, 2},
		"at the end":      {inRack("r2"), "r2", 12, 2, nil, 2},
		"the first":       {inRack("r2"), "r2", 11, 0, nil, 2},
		"too old":         {inRack("r2"), "r2", 10, 0, nil, -1},
		"the leader's":    {inRack("r1"), "r1", 12, 0, nil, -1},
		"nobody's":        {inRack("r2"), "r3", 12, 0, nil, -1},
		"none":            {inRack("r2"), "", 12, 0, nil, -1},
		"down":            {inRack("r2", func(b *topic.Broker) { b.Fenced = true }), "r2", 12, 0, nil, -1},
		"another session": {inRack("r2", func(b *topic.Broker) { b.Session = 6 }), "r2", 12, 0, nil, -1},
		"unreachable":     {inRack("r2", func(b *topic.Broker) { b.Endpoints = nil }), "r2", 12, 0, nil, -1},
		"not allowed":     {inRack("r2"), "r2", 12, 0, []func(*Config){off}, -1},
		"beyond our end":  {inRack("r2"), "r2", 12, 9, nil, -1},
	} {
		h := racked(t, test.follower, test.edit...)
		q := fetchOf(test.version, "s", 0, test.offset)
		q.Rack, q.MaxWaitMillis, q.MinBytes = test.rack, 15_000, 1
		p := onlyFetched(h.dial().ask(q))
		if p.PreferredReadReplica != test.want {
			t.Errorf("%s: got %d, want %d", name, p.PreferredReadReplica, test.want)
		}
		if sent := p.PreferredReadReplica >= 0; sent == (len(p.RecordBatches) > 0) && test.offset < 2 {
			t.Errorf("%s: got %d bytes, want records or a better address, not both", name, len(p.RecordBatches))
		}
	}
}

// TestFollowerServesWhatItKnowsToBeCommitted, and waits for what the leader has told the consumer.
func TestFollowerServesWhatItKnowsToBeCommitted(t *testing.T) {
	h := racked(t, inRack("r2"))
	c := h.dial()
	h.cluster.hold()
	if _, err := h.cluster.log(t, "s", 0).Append(deadline(t), plainBatch("c"), partition.AppendOptions{Acks: 1}); err != nil {
		t.Fatal(err)
	}
	h.cluster.move(t, "s", 0, 2, 1)
	expectBases(t, "committed", onlyFetched(c.ask(fetchOf(12, "s", 0, 0))).RecordBatches, 0)
	expectCode(t, "not yet", onlyFetched(c.ask(fetchOf(12, "s", 0, 3))).ErrorCode, codeOffsetNotAvailable)
	expectCode(t, "beyond all", onlyFetched(c.ask(fetchOf(12, "s", 0, 99))).ErrorCode, codeOffsetNotAvailable)
	expectCode(t, "an old client", onlyFetched(c.ask(fetchOf(10, "s", 0, 0))).ErrorCode, codeNotLeaderOrFollower)

	waiting := fetchOf(12, "s", 0, 3)
	waiting.MaxWaitMillis, waiting.MinBytes = 300, 1
	c.send(3, waiting)
	h.cluster.release()
	// At the high watermark there is nothing to tell yet, but nothing wrong with it either.
	if p := onlyFetched(c.receive(3, waiting)); p.ErrorCode != 0 || p.HighWatermark != 3 {
		t.Errorf("at the high watermark: got %+v, want nothing yet", p)
	}
}

// TestFollowerOutOfSyncServesNothing: what it holds may have been undone.
func TestFollowerOutOfSyncServesNothing(t *testing.T) {
	h := racked(t, inRack("r2"))
	c := h.dial()
	h.cluster.move(t, "s", 0, 2, 1)
	expectCode(t, "in sync", onlyFetched(c.ask(fetchOf(12, "s", 0, 0))).ErrorCode, codeNone)
	follow(h, 9, 5) // an earlier session was in sync
	expectCode(t, "out of sync", onlyFetched(c.ask(fetchOf(12, "s", 0, 0))).ErrorCode, codeNotLeaderOrFollower)
	follow(h, 1, 5)
	h.cluster.publish(func(v *soleView) {
		altered := *v.topics[0]
		placement := *altered.Partitions[0]
		placement.LeaderEpoch = 2
		altered.Partitions = []*topic.Placement{&placement}
		v.topics[0] = &altered
	})
	expectCode(t, "an older epoch", onlyFetched(c.ask(fetchOf(12, "s", 0, 0))).ErrorCode, codeNotLeaderOrFollower)
	stale := fetchOf(12, "s", 0, 0)
	stale.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
	expectCode(t, "a client of an older epoch", onlyFetched(c.ask(stale)).ErrorCode, codeFencedLeaderEpoch)
}
