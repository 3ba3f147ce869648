package broker

// Keys of log attributes.
const (
	keyAddress    = "address"
	keyAPI        = "api"
	keyBytes      = "bytes"
	keyClientID   = "client_id"
	keyEpoch      = "epoch"
	keyError      = "error"
	keyGroups     = "groups"
	keyListener   = "listener"
	keyLogStart   = "log_start"
	keyReason     = "reason"
	keyRepeated   = "repeated"
	keyTold       = "told"
	keyTopic      = "topic"
	keyPartition  = "partition"
	keyPartitions = "partitions"
	keyReplicas   = "replication_factor"
	keyVersion    = "api_version"
	keyProducer   = "producer_id"

	keyTransaction  = "transactional_id"
	keyTransactions = "transactional_ids"
)
