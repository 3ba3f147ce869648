package node

import (
	"maps"
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// finishesMax keeps a proposal well under the Raft's limit on commands. What does not fit is next.
const finishesMax = 1000

// moves is the controller's view of the reassignments under way. They are all in the image: another
// controller goes on where this one was.
type moves struct {
	image *cluster.Image
	// moving are the partitions with a reassignment under way.
	moving map[topic.Partition]bool
}

// follow takes a newer image.
func (m *moves) follow(im *cluster.Image) {
	if m.image == nil {
		m.image, m.moving = cluster.Empty(), map[topic.Partition]bool{}
	}
	for change := range cluster.Changes(m.image, im) {
		if change.After != nil && change.After.Moving() {
			m.moving[change.Partition] = true
		} else {
			delete(m.moving, change.Partition)
		}
	}
	m.image = im
}

// finish lists the reassignments that have reached their end.
func (m *moves) finish() cluster.FinishReassignments {
	var c cluster.FinishReassignments
	for _, at := range slices.SortedFunc(maps.Keys(m.moving), comparePartitions) {
		t, found := m.image.TopicByID(at.Topic)
		if !found || len(c.Items) == finishesMax {
			continue
		}
		if p := t.Partitions[at.Index]; m.image.Finishable(t, p) {
			c.Items = append(c.Items, cluster.ReassignmentEnd{Partition: at, PartitionEpoch: p.PartitionEpoch})
		}
	}
	return c
}
