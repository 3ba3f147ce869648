package topic

// Election asks for another leader of one partition.
type Election struct {
	Partition Partition
	// PartitionEpoch is that of the placement which an unclean election was decided on.
	PartitionEpoch int32
}
