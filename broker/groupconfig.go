package broker

import (
	"math"
	"slices"
	"time"

	"outrigger/broker/group"
	"outrigger/broker/group/assign"
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
	// ConsumersOff: `group.coordinator.rebalance.protocols` (classic, consumer) does not name consumer, so
	// nobody is a member of a KIP-848 group.
	ConsumersOff bool
	// ConsumerMembersMax is `group.consumer.max.size` (no bound): members of one KIP-848 group.
	ConsumerMembersMax int
	// ConsumerSession is `group.consumer.session.timeout.ms` (45 s), ConsumerInterval
	// `group.consumer.heartbeat.interval.ms` (5 s): the coordinator decides both for KIP-848 members.
	ConsumerSession, ConsumerInterval time.Duration
	// ConsumerSessions and ConsumerIntervals bound what a group's own configs may ask for:
	// `group.consumer.min.session.timeout.ms` (45 s) and its max (60 s),
	// `group.consumer.min.heartbeat.interval.ms` (5 s) and its max (15 s).
	ConsumerSessions, ConsumerIntervals Span
	// ConsumerAssign is `group.consumer.assignment.interval.ms` (0; in Kafka 1 s): how long after a division of
	// a KIP-848 group's partitions the next one may come (KIP-1263), within ConsumerAssigns (0 to 15 s).
	ConsumerAssign  time.Duration
	ConsumerAssigns Span
	// Assignors is `group.consumer.assignors` (uniform, range), the default first.
	Assignors []string
	// Migration is `group.consumer.migration.policy` (bidirectional): whether groups with members may
	// change between the classic and the consumer protocol.
	Migration Migration
}

// Span is a shortest and a longest time.
type Span struct{ Min, Max time.Duration }

// Migration is which way groups with members may change their protocol, by the names of Kafka.
type Migration string

// The ways. The zero value is MigrateBothWays.
const (
	MigrateBothWays  Migration = "bidirectional"
	MigrateUpwards   Migration = "upgrade"
	MigrateDownwards Migration = "downgrade"
	MigrateNever     Migration = "disabled"
)

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
	orDefault(&c.ConsumerMembersMax, math.MaxInt32)
	orDefault(&c.ConsumerSession, 45*time.Second)
	orDefault(&c.ConsumerInterval, 5*time.Second)
	orDefault(&c.ConsumerSessions.Min, 45*time.Second)
	orDefault(&c.ConsumerSessions.Max, time.Minute)
	orDefault(&c.ConsumerIntervals.Min, 5*time.Second)
	orDefault(&c.ConsumerIntervals.Max, 15*time.Second)
	orDefault(&c.ConsumerAssigns.Max, 15*time.Second)
	orDefault(&c.Migration, MigrateBothWays)
	if len(c.Assignors) == 0 {
		c.Assignors = assign.Names()
	}
	return c
}

// validate refuses what cannot work, naming the key.
func (c GroupConfig) validate() error {
	checks := []check{
		{"offsets.topic.num.partitions", c.Partitions < 1, c.Partitions},
		{"offsets.topic.replication.factor", c.ReplicationFactor < 1, c.ReplicationFactor},
		{"group.min.session.timeout.ms", c.SessionMin < 0, c.SessionMin},
		{"group.max.session.timeout.ms", c.SessionMax < c.SessionMin, c.SessionMax},
		{"group.max.size", c.MembersMax < 1, c.MembersMax},
		{"offsets.retention.minutes", c.Retention < 0, c.Retention},
		{"offsets.retention.check.interval.ms", c.RetentionCheck < 0, c.RetentionCheck},
		{"offsets.commit.timeout.ms", c.CommitTimeout < 0, c.CommitTimeout},
		{"group.consumer.max.size", c.ConsumerMembersMax < 1, c.ConsumerMembersMax},
		{"group.consumer.session.timeout.ms", c.ConsumerSession < 0, c.ConsumerSession},
		{"group.consumer.heartbeat.interval.ms", c.ConsumerInterval < 0 || c.ConsumerInterval >= c.ConsumerSession,
			c.ConsumerInterval},
		{"group.consumer.max.session.timeout.ms", c.ConsumerSessions.Max < c.ConsumerSessions.Min, c.ConsumerSessions.Max},
		{"group.consumer.max.heartbeat.interval.ms", c.ConsumerIntervals.Max < c.ConsumerIntervals.Min,
			c.ConsumerIntervals.Max},
		outside("group.consumer.assignment.interval.ms", c.ConsumerAssign, c.ConsumerAssigns),
		{"group.consumer.assignors", slices.ContainsFunc(c.Assignors, unknownAssignor), c.Assignors},
		{"group.consumer.migration.policy", !slices.Contains(migrations, c.Migration), c.Migration},
	}
	return firstBad(checks)
}

// outside checks that a time lies within its bounds.
func outside(name string, d time.Duration, within Span) check {
	return check{name, d < within.Min || d > within.Max, d}
}

var migrations = []Migration{MigrateBothWays, MigrateUpwards, MigrateDownwards, MigrateNever}

func unknownAssignor(name string) bool { return assign.ByName(name) == nil }

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
		Consumers: group.ConsumerConfig{
			MembersMax: c.ConsumerMembersMax, SessionMillis: c.ConsumerSession.Milliseconds(), Assignors: c.Assignors,
			Upgrades:   c.Migration == MigrateBothWays || c.Migration == MigrateUpwards,
			Downgrades: c.Migration == MigrateBothWays || c.Migration == MigrateDownwards,
		},
	}
}
