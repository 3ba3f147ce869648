package broker

import (
	"time"

	"outrigger/broker/txn"
)

// internalMinInSync is what Kafka wants in sync of the topics of transactions and states of share groups.
const internalMinInSync = 2

// TransactionConfig is what transactional producers may do, and where their state is kept. Zero values
// mean the defaults named here.
type TransactionConfig struct {
	// Partitions is `transaction.state.log.num.partitions` (50), looked at once, when the topic is created.
	Partitions int32
	// ReplicationFactor is `transaction.state.log.replication.factor` (default.replication.factor).
	ReplicationFactor int16
	// MinInSync is `transaction.state.log.min.isr` (2), the topic's min.insync.replicas: without
	// min(this, replicas) in-sync replicas nobody can begin or end a transaction.
	MinInSync int32
	// TimeoutMax is `transaction.max.timeout.ms` (15 min): the longest timeout that a producer may ask for.
	TimeoutMax time.Duration
	// Expiration is `transactional.id.expiration.ms` (7 days): how long a silent producer's id is kept.
	Expiration time.Duration
	// CommitTimeout is how long an answer waits for its record to be on the in-sync replicas (5 s).
	CommitTimeout time.Duration
}

// withDefaults fills in what was left zero.
func (c TransactionConfig) withDefaults(replicationFactor int16) TransactionConfig {
	orDefault(&c.Partitions, 50)
	orDefault(&c.ReplicationFactor, replicationFactor)
	orDefault(&c.MinInSync, internalMinInSync)
	orDefault(&c.TimeoutMax, 15*time.Minute)
	orDefault(&c.Expiration, 7*24*time.Hour)
	orDefault(&c.CommitTimeout, 5*time.Second)
	return c
}

// validate refuses what cannot work, naming the key.
func (c TransactionConfig) validate() error {
	checks := []check{
		{"transaction.state.log.num.partitions", c.Partitions < 1, c.Partitions},
		{"transaction.state.log.replication.factor", c.ReplicationFactor < 1, c.ReplicationFactor},
		{"transaction.state.log.min.isr", c.MinInSync < 1, c.MinInSync},
		{"transaction.max.timeout.ms", c.TimeoutMax < time.Millisecond, c.TimeoutMax},
		{"transactional.id.expiration.ms", c.Expiration < time.Millisecond, c.Expiration},
	}
	return firstBad(checks)
}

// machine is what the machines want to know of it. No record may be larger than a batch may be.
func (c TransactionConfig) machine(messageBytesMax int32) txn.Config {
	return txn.Config{
		TimeoutMaxMillis: c.TimeoutMax.Milliseconds(), ExpirationMillis: c.Expiration.Milliseconds(),
		RecordBytesMax: int(messageBytesMax) - groupRecordShare,
	}
}
