package broker

import (
	"fmt"
	"math"
	"time"

	"outrigger/broker/group"
)

// GroupConfig is what consumer groups may do, and where their state is kept. Zero values mean the
// defaults named here.
type GroupConfig struct {
	// Partitions is `offsets.topic.num.partitions` (50), looked at once, when the topic is created.
	Partitions int32
	// ReplicationFactor is `offsets.topic.replication.factor` (default.replication.factor).
	ReplicationFactor int16
	// InitialDelay is `group.initial.rebalance.delay.ms` (3 s): how long the first members of a group
	// wait for others. A negative one is none.
	InitialDelay time.Duration
	// SessionMin and SessionMax are `group.min.session.timeout.ms` (6 s) and
	// `group.max.session.timeout.ms` (30 min).
	SessionMin, SessionMax time.Duration
	// MembersMax is `group.max.size` (no bound).
	MembersMax int
	// MetadataBytesMax is `offset.metadata.max.bytes` (4,096). A negative one is none.
	MetadataBytesMax int
	// Retention is `offsets.retention.minutes` (7 days), RetentionCheck
	// `offsets.retention.check.interval.ms` (10 min).
	Retention, RetentionCheck time.Duration
	// CommitTimeout is `offsets.commit.timeout.ms` (5 s): how long an answer waits for its record to be
	// on the in-sync replicas.
	CommitTimeout time.Duration
}

// withDefaults fills in what was left zero.
func (c GroupConfig) withDefaults(replicationFactor int16) GroupConfig {
	orDefault(&c.Partitions, 50)
	orDefault(&c.ReplicationFactor, replicationFactor)
	orDefault(&c.InitialDelay, 3*time.Second)
	orDefault(&c.SessionMin, 6*time.Second)
	orDefault(&c.SessionMax, 30*time.Minute)
	orDefault(&c.MembersMax, math.MaxInt32)
	orDefault(&c.MetadataBytesMax, 4096)
	orDefault(&c.Retention, 7*24*time.Hour)
	orDefault(&c.RetentionCheck, 10*time.Minute)
	orDefault(&c.CommitTimeout, 5*time.Second)
	return c
}

// validate refuses what cannot work, naming the key.
func (c GroupConfig) validate() error {
	checks := []struct {
		key string
		bad bool
		got any
	}{
		{"offsets.topic.num.partitions", c.Partitions < 1, c.Partitions},
		{"offsets.topic.replication.factor", c.ReplicationFactor < 1, c.ReplicationFactor},
		{"group.min.session.timeout.ms", c.SessionMin < 0, c.SessionMin},
		{"group.max.session.timeout.ms", c.SessionMax < c.SessionMin, c.SessionMax},
		{"group.max.size", c.MembersMax < 1, c.MembersMax},
		{"offsets.retention.minutes", c.Retention < 0, c.Retention},
		{"offsets.retention.check.interval.ms", c.RetentionCheck < 0, c.RetentionCheck},
		{"offsets.commit.timeout.ms", c.CommitTimeout < 0, c.CommitTimeout},
	}
	for _, check := range checks {
		if check.bad {
			return fmt.Errorf("%s: %v is out of range", check.key, check.got)
		}
	}
	return nil
}

// groupRecordShare is how much of the largest batch one record may take; the rest is headers.
const groupRecordShare = 1024

// machine is what the machines want to know of it. No record may be larger than a batch may be.
func (c GroupConfig) machine(messageBytesMax int32) group.Config {
	return group.Config{
		InitialDelayMillis: max(c.InitialDelay, 0).Milliseconds(),
		SessionMinMillis:   c.SessionMin.Milliseconds(), SessionMaxMillis: c.SessionMax.Milliseconds(),
		MembersMax: c.MembersMax, MetadataBytesMax: max(c.MetadataBytesMax, 0),
		RetentionMillis: c.Retention.Milliseconds(),
		RecordBytesMax:  int(messageBytesMax) - groupRecordShare,
	}
}
