package broker

// Keys of log attributes.
const (
	keyAddress    = "address"
	keyAPI        = "api"
	keyClientID   = "client_id"
	keyError      = "error"
	keyListener   = "listener"
	keyReason     = "reason"
	keyRepeated   = "repeated"
	keyTold       = "told"
	keyTopic      = "topic"
	keyPartitions = "partitions"
	keyReplicas   = "replication_factor"
	keyVersion    = "api_version"
)
