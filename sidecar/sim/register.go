package sim

import (
	"encoding/binary"
	"errors"
	"hash/fnv"

	"outrigger/sidecar/raft"
)

// register is the simulated state machine: a hash over everything applied, so that equal hashes at
// an index mean equal histories.
type register struct {
	h       *host
	index   uint64
	hash    uint64
	applied uint64 // number of commands
}

// Apply implements node.StateMachine.
func (r *register) Apply(index uint64, command []byte) []byte {
	sum := fnv.New64a()
	var head [16]byte
	binary.BigEndian.PutUint64(head[:], r.hash)
	binary.BigEndian.PutUint64(head[8:], index)
	_, _ = sum.Write(head[:])
	_, _ = sum.Write(command)
	r.index, r.hash = index, sum.Sum64()
	r.applied++
	// A crash may follow within this very turn, and what is acknowledged counts all the same.
	r.h.world.check.committed(r.h, index)
	r.h.world.check.applied(r.h, index, r.hash)
	return binary.BigEndian.AppendUint64(nil, r.hash)
}

// registerPadding makes a snapshot span several chunks.
const registerPadding = 300

// Snapshot implements node.StateMachine.
func (r *register) Snapshot() []byte {
	b := binary.BigEndian.AppendUint64(nil, r.index)
	b = binary.BigEndian.AppendUint64(b, r.hash)
	b = binary.BigEndian.AppendUint64(b, r.applied)
	for i := range registerPadding {
		b = append(b, byte(r.hash>>(i%8*8))+byte(i))
	}
	return b
}

var errSnapshot = errors.New("snapshot does not decode")

// Restore implements node.StateMachine.
func (r *register) Restore(_ uint64, data []byte) error {
	if len(data) != 24+registerPadding {
		return errSnapshot
	}
	r.index = binary.BigEndian.Uint64(data)
	r.hash = binary.BigEndian.Uint64(data[8:])
	r.applied = binary.BigEndian.Uint64(data[16:])
	r.h.world.check.applied(r.h, r.index, r.hash)
	return nil
}

// entryHash stands for an entry's content.
func entryHash(e raft.Entry) uint64 {
	const prime = 1099511628211
	sum := uint64(14695981039346656037) ^ uint64(e.Kind)
	for _, b := range e.Data {
		sum = (sum ^ uint64(b)) * prime
	}
	return sum*prime ^ uint64(len(e.Data))
}
