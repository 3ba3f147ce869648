package topic

// Reassignment asks for other replicas of one partition (KIP-455), by compare-and-set.
type Reassignment struct {
	Partition Partition
	// PartitionEpoch is that of the placement which the wish was derived from.
	PartitionEpoch int32
	// Target are the replicas wanted in the end, preferred leader first; nil takes a reassignment that is
	// under way back.
	Target []NodeID
}

// VoterChange asks for another set of voters of the metadata Raft, by compare-and-set.
type VoterChange struct {
	// Before are the voters wanted until now, as View.Voters tells them; After those wanted from now on.
	// Both are sorted.
	Before, After []NodeID
}
