package broker

import (
	"math"
	"time"

	"outrigger/broker/group"
	"outrigger/broker/share"
)

// ShareConfig is what share groups may do, and where their state is kept. Zero values mean the defaults
// named here. What has a span may be set for single groups, within it.
type ShareConfig struct {
	// Partitions is `share.coordinator.state.topic.num.partitions` (50), looked at once, when the topic is
	// created.
	Partitions int32
	// ReplicationFactor is `share.coordinator.state.topic.replication.factor` (default.replication.factor).
	ReplicationFactor int16
	// MinInSync is `share.coordinator.state.topic.min.isr` (2), the topic's min.insync.replicas: without
	// min(this, replicas) in-sync replicas no acknowledgement is kept.
	MinInSync int32
	// SnapshotUpdates is `share.coordinator.snapshot.update.records.per.snapshot` (500).
	SnapshotUpdates int
	// WriteTimeout is `share.coordinator.write.timeout.ms` (5 s): how long an answer waits for what it says
	// to be kept.
	WriteTimeout time.Duration
	// PruneInterval is `share.coordinator.state.topic.prune.interval.ms` (5 min): how often the topic is cut at
	// the first snapshot that is needed.
	PruneInterval time.Duration
	// ColdInterval is `share.coordinator.cold.partition.snapshot.interval.ms` (5 min): how old the snapshot
	// of a state becomes before a new one is written, if that lets the topic be cut.
	ColdInterval time.Duration
	// MembersMax is `group.share.max.size` (200): members of one group.
	MembersMax int
	// SessionsMax is `group.share.max.share.sessions` (2,000): members that fetch from this broker.
	SessionsMax int
	// Session is `group.share.session.timeout.ms` (45 s), Interval `group.share.heartbeat.interval.ms` (5 s).
	Session, Interval time.Duration
	// Sessions and Intervals are their min and max: 45 to 60 s, 5 to 15 s.
	Sessions, Intervals Span
	// Assign is `group.share.assignment.interval.ms` (0; in Kafka 1 s): how long after a division of a group's
	// partitions the next one may come (KIP-1263), within Assigns (0 to 15 s).
	Assign  time.Duration
	Assigns Span
	// Lock is `group.share.record.lock.duration.ms` (30 s), within Locks (15 to 60 s).
	Lock  time.Duration
	Locks Span
	// Deliveries is `group.share.delivery.count.limit` (5), within DeliveriesMin and DeliveriesMax (2 to 10).
	Deliveries, DeliveriesMin, DeliveriesMax int
	// Held is `group.share.partition.max.record.locks` (2,000): how far beyond the first record that is not
	// done records of a partition are given, within HeldMin and HeldMax (100 to 4,000).
	Held, HeldMin, HeldMax int
	// LetterTopics is `errors.deadletterqueue.auto.create.topics.enable` (false): whether topics of dead letters
	// are made when they are needed (KIP-1191).
	LetterTopics bool
	// LetterPrefix is `errors.deadletterqueue.topic.name.prefix` (in Kafka "dlq."; here as it is, so that it may
	// be empty): what the names of such topics must begin with.
	LetterPrefix string
}

// The broker's keys of dead letters.
const (
	configLetterTopics = "errors.deadletterqueue.auto.create.topics.enable"
	configLetterPrefix = "errors.deadletterqueue.topic.name.prefix"
)

// withDefaults fills in what was left zero.
func (c ShareConfig) withDefaults(replicationFactor int16) ShareConfig {
	orDefault(&c.Partitions, 50)
	orDefault(&c.ReplicationFactor, replicationFactor)
	orDefault(&c.MinInSync, internalMinInSync)
	orDefault(&c.SnapshotUpdates, 500)
	orDefault(&c.WriteTimeout, 5*time.Second)
	orDefault(&c.PruneInterval, 5*time.Minute)
	orDefault(&c.ColdInterval, 5*time.Minute)
	orDefault(&c.MembersMax, 200)
	orDefault(&c.SessionsMax, 2000)
	orDefault(&c.Session, 45*time.Second)
	orDefault(&c.Interval, 5*time.Second)
	orDefault(&c.Sessions.Min, 45*time.Second)
	orDefault(&c.Sessions.Max, time.Minute)
	orDefault(&c.Intervals.Min, 5*time.Second)
	orDefault(&c.Intervals.Max, 15*time.Second)
	orDefault(&c.Assigns.Max, 15*time.Second)
	orDefault(&c.Lock, 30*time.Second)
	orDefault(&c.Locks.Min, 15*time.Second)
	orDefault(&c.Locks.Max, time.Minute)
	orDefault(&c.Deliveries, 5)
	orDefault(&c.DeliveriesMin, 2)
	orDefault(&c.DeliveriesMax, 10)
	orDefault(&c.Held, 2000)
	orDefault(&c.HeldMin, 100)
	orDefault(&c.HeldMax, 4000)
	return c
}

// validate refuses what cannot work, naming the key.
func (c ShareConfig) validate() error {
	checks := []check{
		{"share.coordinator.state.topic.num.partitions", c.Partitions < 1, c.Partitions},
		{"share.coordinator.state.topic.replication.factor", c.ReplicationFactor < 1, c.ReplicationFactor},
		{"share.coordinator.state.topic.min.isr", c.MinInSync < 1, c.MinInSync},
		{"share.coordinator.snapshot.update.records.per.snapshot", c.SnapshotUpdates < 0, c.SnapshotUpdates},
		{"share.coordinator.write.timeout.ms", c.WriteTimeout < time.Millisecond, c.WriteTimeout},
		{"share.coordinator.state.topic.prune.interval.ms", c.PruneInterval < time.Millisecond, c.PruneInterval},
		{"share.coordinator.cold.partition.snapshot.interval.ms", c.ColdInterval < time.Millisecond, c.ColdInterval},
		{"group.share.max.size", c.MembersMax < 1, c.MembersMax},
		{"group.share.max.share.sessions", c.SessionsMax < 1, c.SessionsMax},
		{"group.share.session.timeout.ms", c.Session < time.Millisecond, c.Session},
		{"group.share.heartbeat.interval.ms", c.Interval < time.Millisecond || c.Interval >= c.Session, c.Interval},
		{"group.share.max.session.timeout.ms", c.Sessions.Max < c.Sessions.Min, c.Sessions.Max},
		{"group.share.max.heartbeat.interval.ms", c.Intervals.Max < c.Intervals.Min, c.Intervals.Max},
		outside("group.share.assignment.interval.ms", c.Assign, c.Assigns),
		{"group.share.record.lock.duration.ms", c.Lock < time.Millisecond, c.Lock},
		{"group.share.max.record.lock.duration.ms", c.Locks.Max < c.Locks.Min, c.Locks.Max},
		{"group.share.delivery.count.limit", c.Deliveries < 1 || c.Deliveries > math.MaxInt16, c.Deliveries},
		{"group.share.max.delivery.count.limit", c.DeliveriesMax < c.DeliveriesMin || c.DeliveriesMax > math.MaxInt16,
			c.DeliveriesMax},
		{"group.share.partition.max.record.locks", c.Held < 1, c.Held},
		{"group.share.max.partition.max.record.locks", c.HeldMax < c.HeldMin, c.HeldMax},
	}
	return firstBad(checks)
}

// members is what the machines of groups want to know of it, keeper what those of states do. No record may
// be larger than a batch may be.
func (c ShareConfig) members() group.ShareConfig {
	return group.ShareConfig{MembersMax: c.MembersMax, SessionMillis: c.Session.Milliseconds()}
}

func (c ShareConfig) keeper(messageBytesMax int32) share.KeeperConfig {
	return share.KeeperConfig{UpdatesMax: c.SnapshotUpdates, RecordBytesMax: int(messageBytesMax) - groupRecordShare}
}
