package cluster

import "outrigger/broker/topic"

// Command is one change to the image, proposed by any node and committed by the Raft. The set is
// closed: only this package makes commands, and Decode refuses what it does not know.
//
// A proposer may not learn the outcome of its proposal and make it again, so every command is safe
// to apply twice: a second application finds its effect in place, or finds its epoch or session gone
// and answers Stale. AllocateProducerIDs alone costs something then: one unused block.
type Command interface {
	kind() kind
	append(w *writer)
	apply(b *Batch) Result
}

// SetClusterID names a cluster that has no configured id. The first one wins.
type SetClusterID struct{ ID string }

// SetLevel finalizes the format level that nodes may speak. It never falls.
type SetLevel struct{ Level uint16 }

// SetDefaults sets what topics inherit when their own configs are silent. It lives in the image and
// not in a broker's configuration file, since controller and leaders must judge by the same minimum
// at the same log index: an eligible replica is forgotten exactly when the high watermark may move
// without it.
type SetDefaults struct {
	// MinInSync is min.insync.replicas, at least 1. What counts is min(MinInSync, replication
	// factor).
	MinInSync int32
	// UncleanElection is unclean.leader.election.enable.
	UncleanElection bool
}

// RegisterBroker begins a session of a node, or makes a fenced session live again.
type RegisterBroker struct {
	// Broker is Refused beside a live broker with another MessageBytesMax.
	Broker topic.Broker
	// Replaces is the session of the node that the proposer's image shows, 0 if it shows none. A
	// registration that begins a session is Refused if the image by now has another one: a copy that was
	// on its way while the process died and its next run registered must not end that run.
	Replaces topic.Session
	// Unconditional is how registrations were before they named what they replace. Old entries of the
	// Raft's log are; none is made any more.
	Unconditional bool
	// CleanStop says that the previous run of this node stopped cleanly: everything it held was
	// synced.
	CleanStop bool
	// FlushAlways says that the previous run of this node, too, synced before it acknowledged. Then
	// nothing that it acknowledged can be missing, however it ended.
	FlushAlways bool
}

// FenceBroker takes one session of a node out of everything, in one record.
type FenceBroker struct {
	Node    topic.NodeID
	Session topic.Session
	// Reason is for people; it is at most ReasonBytesMax long.
	Reason string
}

// ResignBroker is what a broker says before a clean stop: its leaderships move, it leaves every
// in-sync set, and its session can never be made live again.
type ResignBroker struct {
	Node    topic.NodeID
	Session topic.Session
}

// AlterISR changes in-sync sets, each by compare-and-set, each with a status of its own.
type AlterISR struct{ Changes []ISRChange }

// ISRChange is a leader's wish for one partition.
type ISRChange struct {
	Partition topic.Partition
	// LeaderEpoch and PartitionEpoch are those of the placement that the leader saw.
	LeaderEpoch    topic.Epoch
	PartitionEpoch int32
	// Leader is who asks, in the session that the epoch was granted to.
	Leader topic.Member
	// ISR is the whole set wanted, in any order.
	ISR []topic.Member
}

// CreateTopics creates topics, each with a status of its own.
type CreateTopics struct{ Topics []topic.Creation }

// DeleteTopics deletes topics and leaves tombstones, each with a status of its own.
type DeleteTopics struct{ IDs []topic.ID }

// CreatePartitions grows topics, each with a status of its own. A topic that has Total partitions
// already is a success, so that a proposal of unknown outcome can be made again.
type CreatePartitions struct{ Growths []topic.Growth }

// AlterConfigs replaces what is set for topics and brokers, each by compare-and-set, each with a status
// of its own.
type AlterConfigs struct{ Changes []topic.ConfigChange }

// AllocateProducerIDs asks for a block of producer ids that nobody else will ever get.
type AllocateProducerIDs struct {
	Node    topic.NodeID
	Session topic.Session
}

// ElectUnclean lets live replicas lead partitions that have no clean candidate: the operator's word,
// or the controller's after all last-known members came back. Each item has a status of its own.
type ElectUnclean struct{ Elections []UncleanElection }

// UncleanElection names who shall lead one leaderless partition.
type UncleanElection struct {
	Partition topic.Partition
	// PartitionEpoch is that of the placement the decision was made on.
	PartitionEpoch int32
	// Node is who shall lead; NoNode means the live replica that claims to hold the most, or the first
	// one while nobody has claimed anything.
	Node topic.NodeID
}

// ElectPreferred makes the first replica of each partition its leader again, if it is in sync; each with a
// status of its own. One that leads already is a success, one that may not lead is Stale.
type ElectPreferred struct{ Partitions []topic.Partition }

// ClaimLogs is what a replica says that it holds of partitions that nobody leads and for which no clean
// candidate is left, each with a status of its own. See "Nobody clean is left" in the package comment.
// The same claim again is OK, and lets the image look once more whether all have spoken.
type ClaimLogs struct {
	Member topic.Member
	Items  []LogClaim
}

// LogClaim is one partition of a ClaimLogs.
type LogClaim struct {
	Partition topic.Partition
	// LeaderEpoch is that of the leaderless placement which the replica follows: it takes nothing of an
	// earlier epoch any more, so what it holds stays as it is.
	LeaderEpoch topic.Epoch
	// TailEpoch and End are as in topic.Claim.
	TailEpoch topic.Epoch
	End       topic.Offset
}

// QuarantineReplicas takes replicas whose log has lost records out of their partitions' in-sync and
// eligible sets, each with a status of its own: Refused where nobody else who is clean could lead.
//
// Every item that is OK begins another leader epoch, also where the leader stays. Under the present one
// the leader has proof that the replica holds what it now lost: it would take it back into the in-sync
// set at once. A replica may cut what it lost away once it follows in that later epoch, and not before.
type QuarantineReplicas struct {
	// Member has the damaged log, and asks.
	Member topic.Member
	Items  []ReplicaQuarantine
}

// ReplicaQuarantine is one partition of a QuarantineReplicas.
type ReplicaQuarantine struct {
	Partition topic.Partition
	// LeaderEpoch is that of the placement that the replica saw.
	LeaderEpoch topic.Epoch
}

// Reassign begins, alters or takes back reassignments of partitions (KIP-455), each with a status of its
// own: InvalidAssignment for replicas that cannot be, Refused where the replicas that would remain could
// lack something committed.
type Reassign struct{ Items []topic.Reassignment }

// FinishReassignments ends reassignments whose new replicas are all in sync, each with a status of its own.
// The controller proposes it.
type FinishReassignments struct{ Items []ReassignmentEnd }

// ReassignmentEnd names one reassignment.
type ReassignmentEnd struct {
	Partition topic.Partition
	// PartitionEpoch is that of the placement that was found to be ready.
	PartitionEpoch int32
}

// UnregisterBroker takes a broker out of the image for good. Refused while it is live, votes, or holds a
// replica; Unknown if it is not there.
type UnregisterBroker struct{ Node topic.NodeID }

// SetVoters says who shall vote in the metadata Raft, by compare-and-set. Refused for nobody, for more than
// VotersMax, and for brokers that are not registered.
type SetVoters struct{ Before, After []topic.NodeID }

// kind is the byte that tells commands apart. Numbers are never given out twice.
type kind uint8

const (
	kindSetClusterID     kind = 1
	kindSetLevel         kind = 2
	kindSetDefaults      kind = 3
	kindRegisterBroker   kind = 4
	kindFenceBroker      kind = 5
	kindResignBroker     kind = 6
	kindAlterISR         kind = 7
	kindCreateTopics     kind = 8
	kindDeleteTopics     kind = 9
	kindCreatePartitions kind = 10
	// 11 was a command that replaced the configs of a topic without looking at them.
	kindAllocateProducerIDs kind = 12
	kindElectUnclean        kind = 13
	kindQuarantineReplicas  kind = 14
	kindReplaceSession      kind = 15
	kindAlterConfigs        kind = 20
	kindElectPreferred      kind = 21
	kindClaimLogs           kind = 31
	kindReassign            kind = 40
	kindFinishReassignments kind = 41
	kindUnregisterBroker    kind = 42
	kindSetVoters           kind = 43
)

func (SetClusterID) kind() kind { return kindSetClusterID }
func (SetLevel) kind() kind     { return kindSetLevel }
func (SetDefaults) kind() kind  { return kindSetDefaults }
func (c RegisterBroker) kind() kind {
	if c.Unconditional {
		return kindRegisterBroker
	}
	return kindReplaceSession
}
func (FenceBroker) kind() kind         { return kindFenceBroker }
func (ResignBroker) kind() kind        { return kindResignBroker }
func (AlterISR) kind() kind            { return kindAlterISR }
func (CreateTopics) kind() kind        { return kindCreateTopics }
func (DeleteTopics) kind() kind        { return kindDeleteTopics }
func (CreatePartitions) kind() kind    { return kindCreatePartitions }
func (AllocateProducerIDs) kind() kind { return kindAllocateProducerIDs }
func (ElectUnclean) kind() kind        { return kindElectUnclean }
func (QuarantineReplicas) kind() kind  { return kindQuarantineReplicas }
func (AlterConfigs) kind() kind        { return kindAlterConfigs }
func (ElectPreferred) kind() kind      { return kindElectPreferred }
func (ClaimLogs) kind() kind           { return kindClaimLogs }
func (Reassign) kind() kind            { return kindReassign }
func (FinishReassignments) kind() kind { return kindFinishReassignments }
func (UnregisterBroker) kind() kind    { return kindUnregisterBroker }
func (SetVoters) kind() kind           { return kindSetVoters }
