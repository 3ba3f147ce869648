package node

import (
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/replica"
)

// Arrivals is what has come for a Replication since its last Turn.
type Arrivals struct {
	// Frames came on `wal.<self>` and `ack.<self>`.
	Frames [][]byte
	// Sealed are the batches that entered WAL groups, Durable the partitions that synced groups
	// touched, both in WAL order.
	Sealed  []partition.Entry
	Durable []topic.Partition
	Scans   []Scanned
	Decided []Decided
	// Asks are run at the end of the Turn's inputs: questions, and what was heard.
	Asks []func(*Replication)
}

// Scanned is a catch-up read that has come back.
type Scanned struct {
	To      topic.NodeID
	Entries []partition.Entry
	Next    wal.Position
	End     bool
	Err     error
}

// Decided is what became of one proposed in-sync set.
type Decided struct {
	Change  replica.Change
	Verdict replica.Verdict
}

// Turn passes time, follows the image, takes everything that has come and then sends, so that all of
// it shares frames. While ticks matter the owner comes once per tick: if many have passed, it was
// stopped, or there was nothing that they mattered to. Either way they are no silence of a follower's,
// whose answers may be in this very Turn or behind it, and so only a few of them count.
func (r *Replication) Turn(in *Arrivals, v View, ticks int64) {
	r.Tick(min(ticks, r.cfg.RepeatTicksMax))
	r.follow(v.Image)
	// What this node appended is known to it before an acknowledgement of it can be.
	r.Sealed(in.Sealed)
	r.Durable(in.Durable)
	for _, bytes := range in.Frames {
		r.Frame(bytes)
	}
	for i := range in.Scans {
		s := &in.Scans[i]
		r.Scanned(s.To, s.Entries, s.Next, s.End, s.Err)
	}
	for _, d := range in.Decided {
		r.Decided(d.Change.Partition, d.Change.PartitionEpoch, d.Verdict)
	}
	for _, ask := range in.Asks {
		ask(r)
	}
	r.Flush()
}

// follow takes a newer image. The cluster's name comes first: no frame is read or sent under another.
func (r *Replication) follow(im *cluster.Image) {
	if r.image == Image(im) {
		return
	}
	r.SetCluster(frame.ClusterOf(im.ClusterID()))
	r.SetImage(im)
	// An image that holds this session holds every tombstone from before it; the first image of all is
	// empty.
	if !r.swept && r.registered {
		r.swept = true
		r.DropStrays()
	}
}

// ISRCommand is the proposal that asks for several in-sync sets at once.
func ISRCommand(self topic.Member, changes []replica.Change) cluster.AlterISR {
	command := cluster.AlterISR{Changes: make([]cluster.ISRChange, len(changes))}
	for i, c := range changes {
		command.Changes[i] = cluster.ISRChange{
			Partition: c.Partition, LeaderEpoch: c.LeaderEpoch, PartitionEpoch: c.PartitionEpoch,
			Leader: self, ISR: c.ISR,
		}
	}
	return command
}

// ISRVerdicts reads the outcome of an ISRCommand. Without an answer nobody knows what happened.
func ISRVerdicts(changes []replica.Change, result cluster.Result, err error) []Decided {
	decided := make([]Decided, len(changes))
	for i, c := range changes {
		decided[i] = Decided{Change: c, Verdict: replica.Refused}
		switch {
		case err != nil || len(result.Items) != len(changes):
			decided[i].Verdict = replica.Unknown
		case result.Items[i] == cluster.OK:
			decided[i].Verdict = replica.Accepted
		case result.Items[i] == cluster.Stale:
			decided[i].Verdict = replica.Stale
		}
	}
	return decided
}

// ISRChangesMax is how many changes one command takes: well under the Raft's limit on commands.
const ISRChangesMax = 2000

// StoreLogs is the partition store as Logs.
type StoreLogs struct{ *partition.Store }

// Create implements Logs.
func (l StoreLogs) Create(p topic.Partition) PartitionLog { return l.Store.Create(p) }
