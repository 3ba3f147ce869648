package node

import (
	"errors"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// A node that has no say in it, since it is not registered, stops once a level is finalized that it does not
// speak, and never shows an image of that.
func TestNodeStopsAtALevelThatItDoesNotSpeak(t *testing.T) {
	const beyond = cluster.Level + 1
	m := newImageMachine(0)
	apply := func(index uint64, c cluster.Command) { m.Apply(index, cluster.Encode(c)) }
	apply(1, cluster.RegisterBroker{Broker: topic.Broker{ID: 1, Session: 1, Disk: topic.DiskID{1},
		Levels: topic.Levels{Min: 1, Max: beyond}}})
	apply(2, cluster.SetLevel{Level: topic.FirstLevel})
	if m.failed != nil {
		t.Fatal(m.failed)
	}
	apply(3, cluster.SetLevel{Level: beyond})
	var level *cluster.LevelError
	if !errors.As(m.failed, &level) || level.Level != beyond {
		t.Errorf("got %v, want that level %d is not supported", m.failed, beyond)
	}
}

// Where a registered broker does not speak it, a level is refused by all alike, and nobody stops.
func TestRefusedLevelStopsNobody(t *testing.T) {
	m := newImageMachine(0)
	m.Apply(1, cluster.Encode(cluster.RegisterBroker{Broker: topic.Broker{ID: 1, Session: 1, Disk: topic.DiskID{1}}}))
	m.Apply(2, cluster.Encode(cluster.SetLevel{Level: cluster.Level + 1}))
	if m.failed != nil || m.publish().Level() != topic.FirstLevel {
		t.Errorf("got %v at level %d, want level %d", m.failed, m.publish().Level(), topic.FirstLevel)
	}
}
