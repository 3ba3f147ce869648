package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// View is one published state of the cluster as this node shows it; its parts are immutable.
type View struct {
	Image *cluster.Image
	// Controller is the leader of the metadata Raft, topic.NoNode while unknown.
	Controller topic.NodeID
	// Voters vote in the metadata Raft, as of the image; nil while none are known.
	Voters *Voters
	// MembershipIndex is the entry of the newest membership in this node's log, committed or not.
	MembershipIndex uint64
}

// Voters are those of the metadata Raft, and the entry of its log that made them so.
type Voters struct {
	Index uint64
	Nodes []topic.NodeID
}

// Told is the index that this node's heartbeats tell: that of its image, or of a newer membership in its
// log. Who vouches for a leader says that it knows nothing newer than the leader's image, and a change of
// those who vote counts from when it is in a log, not from when it is known to be committed:
//  1. {1,2,3,4,5} vote. 2. Nodes 4 and 5 are demoted one by one, the entries reach 1, 2 and 3.
//  3. Node 3 is cut off with 4 and 5 before it learns that they are committed. 4. To 4, which leads a
//     partition, 3, 4 and 5 would be a majority for ever, while 1 and 2 elect others.
func (v View) Told() uint64 { return max(v.Image.AppliedIndex(), v.MembershipIndex) }

// Known is the index up to which this node knows everything that is committed: that of its image, or of a
// later change of the voters, which changes no image.
func (v View) Known() uint64 {
	if v.Voters == nil {
		return v.Image.AppliedIndex()
	}
	return max(v.Image.AppliedIndex(), v.Voters.Index)
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
	if err := m.batch.CheckLevel(); err != nil {
		m.failed = errors.Join(m.failed, err)
	}
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
