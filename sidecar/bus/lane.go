package bus

import "fmt"

// Lane names a connection of the bus.
type Lane int

// The lanes, see the package comment.
const (
	Heartbeat Lane = iota
	Election
	Raft
	Replication
	Acks
	Catchup
	Ops
	laneCount
)

// String is the lane's name in logs.
func (l Lane) String() string {
	if l < 0 || l >= laneCount {
		return fmt.Sprintf("lane(%d)", int(l))
	}
	return lanes[l].name
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// laneSpec says how a lane's connection is made.
type laneSpec struct {
	name, account string
	// pendingBytesMax bounds each subscription's backlog; what exceeds it is dropped and told to
	// OnGap. Leaders keep at most 32 MiB in flight to a follower, each.
	pendingBytesMax int
	// writeBufferBytes is what the client collects before it writes to the pipe. Measured when frames went through it,
	// those of 64 KiB went 1.5 times faster through 1 MiB than through the default of 32 KiB.
	writeBufferBytes int
	// noEcho spares the lane its own messages, where no node ever sends to itself.
	noEcho bool
}

var lanes = [laneCount]laneSpec{
	Heartbeat:   {name: "heartbeat", account: "HB", pendingBytesMax: 8 * mib, writeBufferBytes: 32 * kib, noEcho: true},
	Election:    {name: "election", account: "HB", pendingBytesMax: 8 * mib, writeBufferBytes: 32 * kib},
	Raft:        {name: "raft", account: "RAFT", pendingBytesMax: 64 * mib, writeBufferBytes: 64 * kib},
	Replication: {name: "replication", account: "REPL", pendingBytesMax: 256 * mib, writeBufferBytes: 64 * kib, noEcho: true},
	Acks:        {name: "acks", account: "REPL", pendingBytesMax: 32 * mib, writeBufferBytes: 64 * kib, noEcho: true},
	Catchup:     {name: "catchup", account: "CATCHUP", pendingBytesMax: 128 * mib, writeBufferBytes: 1 * mib},
	Ops:         {name: "ops", account: "OPS", pendingBytesMax: 8 * mib, writeBufferBytes: 64 * kib},
}
