package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// View is one published state of the cluster as this node shows it; both parts are immutable.
type View struct {
	Image *cluster.Image
	// Controller is the leader of the metadata Raft, topic.NoNode while unknown.
	Controller topic.NodeID
}

// imageMachine is the Raft's state machine: the cluster image.
type imageMachine struct {
	image *cluster.Image
	batch *cluster.Batch
	dirty bool
	// failed is why this node cannot follow the log any more.
	failed error
	mutant cluster.Mutant
}

func newImageMachine(mutant cluster.Mutant) *imageMachine {
	im := cluster.Break(cluster.Empty(), mutant)
	return &imageMachine{image: im, batch: im.Edit(), mutant: mutant}
}

// Apply carries out one command. Its result is the index, then the encoded cluster.Result: a proposer
// waits until its own image has reached the index. A committed command that this node cannot read was
// written by a newer one: going on would make two images of one log, so the node stops.
func (m *imageMachine) Apply(index uint64, command []byte) []byte {
	c, err := cluster.Decode(command)
	if err != nil {
		m.failed = errors.Join(m.failed, fmt.Errorf("read committed command %d: %w", index, err))
		m.batch.Advance(index)
		return nil
	}
	result := m.batch.Apply(index, c)
	m.dirty = true
	return append(binary.BigEndian.AppendUint64(nil, index), result.Encode()...)
}

// Snapshot encodes the image.
func (m *imageMachine) Snapshot() []byte { return m.publish().Encode() }

// Restore replaces the image.
func (m *imageMachine) Restore(_ uint64, data []byte) error {
	im, err := cluster.DecodeImage(data)
	if err != nil {
		return fmt.Errorf("restore cluster image: %w", err)
	}
	im = cluster.Break(im, m.mutant)
	m.image, m.batch, m.dirty = im, im.Edit(), true
	return nil
}

func (m *imageMachine) publish() *cluster.Image {
	if m.dirty {
		m.image, m.dirty = m.batch.Image(), false
	}
	return m.image
}
