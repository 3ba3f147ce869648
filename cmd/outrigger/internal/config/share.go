package config

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

const (
	keySharePartitions    = "share.coordinator.state.topic.num.partitions"
	keyShareReplication   = "share.coordinator.state.topic.replication.factor"
	keyShareMinISR        = "share.coordinator.state.topic.min.isr"
	keyShareSnapshots     = "share.coordinator.snapshot.update.records.per.snapshot"
	keyShareTimeout       = "share.coordinator.write.timeout.ms"
	keySharePrune         = "share.coordinator.state.topic.prune.interval.ms"
	keyShareCold          = "share.coordinator.cold.partition.snapshot.interval.ms"
	keyShareSize          = "group.share.max.size"
	keyShareSessions      = "group.share.max.share.sessions"
	keyShareSession       = "group.share.session.timeout.ms"
	keyShareSessionMin    = "group.share.min.session.timeout.ms"
	keyLetterTopics       = "errors.deadletterqueue.auto.create.topics.enable"
	keyLetterPrefix       = "errors.deadletterqueue.topic.name.prefix"
	keyShareSessionMax    = "group.share.max.session.timeout.ms"
	keyShareInterval      = "group.share.heartbeat.interval.ms"
	keyShareIntervalMin   = "group.share.min.heartbeat.interval.ms"
	keyShareIntervalMax   = "group.share.max.heartbeat.interval.ms"
	keyShareLock          = "group.share.record.lock.duration.ms"
	keyShareLockMin       = "group.share.min.record.lock.duration.ms"
	keyShareLockMax       = "group.share.max.record.lock.duration.ms"
	keyShareDeliveries    = "group.share.delivery.count.limit"
	keyShareDeliveriesMin = "group.share.min.delivery.count.limit"
	keyShareDeliveriesMax = "group.share.max.delivery.count.limit"
	keyShareHeld          = "group.share.partition.max.record.locks"
	keyShareHeldMin       = "group.share.min.partition.max.record.locks"
	keyShareHeldMax       = "group.share.max.partition.max.record.locks"
)

// Shares is what share groups (KIP-932) may do, and where their state is kept.
type Shares struct {
	Partitions        int32
	ReplicationFactor int16
	// MinInSync is the topic's min.insync.replicas.
	MinInSync       int32
	SnapshotUpdates int
	WriteTimeout    time.Duration
	// PruneInterval is how often the topic is cut, ColdInterval how old a snapshot may hold that back.
	PruneInterval, ColdInterval time.Duration
	// MembersMax is for one group, SessionsMax for one broker.
	MembersMax, SessionsMax int
	// What holds for groups that say nothing, and the bounds of what a group may be given as its own.
	Session, SessionMin, SessionMax          time.Duration
	Interval, IntervalMin, IntervalMax       time.Duration
	Lock, LockMin, LockMax                   time.Duration
	Deliveries, DeliveriesMin, DeliveriesMax int
	Held, HeldMin, HeldMax                   int
	Assignment                               Assignment
	LetterTopics                             bool
	LetterPrefix                             string
}

// shareKeys are Kafka's own that share groups go by.
func shareKeys() []Key {
	return append([]Key{
		{Name: keySharePartitions, Kind: Integer, Default: "50", Min: 1, Max: 10_000,
			Doc: "Partitions of __share_group_state, when it is created; share-partitions are spread over them."},
		{Name: keyShareReplication, Kind: Integer, Min: 1, Max: math.MaxInt16,
			Doc: "Replicas of __share_group_state, when it is created. Unset: min(3, brokers)."},
		{Name: keyShareMinISR, Kind: Integer, Default: "2", Min: 1, Max: math.MaxInt16,
			Doc: "The min.insync.replicas of __share_group_state, when it is created; min(this, replicas) counts."},
		{Name: keyShareSnapshots, Kind: Integer, Default: "500", Max: 500,
			Doc: "How many changes of a share-partition are written before its whole state is."},
		{Name: keyShareTimeout, Kind: Integer, Default: "5000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "How long an acknowledgement waits until it is kept before the client is told to try again."},
		{Name: keySharePrune, Kind: Integer, Default: "300000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "How often __share_group_state is cut at the first whole state that is still needed."},
		{Name: keyShareCold, Kind: Integer, Default: "300000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "A share-partition whose whole state was last written this long ago has it written again, if that lets the topic be cut."},
		{Name: keyShareSize, Kind: Integer, Default: "200", Min: 1, Max: 1000, Doc: "Members of one share group."},
		{Name: keyShareSessions, Kind: Integer, Default: "2000", Min: 1, Max: math.MaxInt32,
			Doc: "Members of share groups that may fetch from this broker."},
		{Name: keyLetterTopics, Kind: Flag, Default: "false", Doc: "Whether topics of dead letters are made when share groups need them."},
		{Name: keyLetterPrefix, Kind: Text, Default: "dlq.", Doc: "What the names of topics of dead letters must begin with; empty for anything."},
	}, append(shareLimitKeys(),
		assignmentKeys(keyShareAssign, keyShareAssignMin, keyShareAssignMax, "share.assignment.interval.ms")...)...)
}

// shareLimitKeys are those that come with bounds for what a group may be given as its own.
func shareLimitKeys() []Key {
	var keys []Key
	for _, limit := range []struct {
		key, least, most, group, unit string
		value, from, to               int
		doc                           string
	}{
		{keyShareSession, keyShareSessionMin, keyShareSessionMax, "share.session.timeout.ms", "ms", 45_000, 45_000, 60_000,
			"A member of a share group that is silent for this long is taken out."},
		{keyShareInterval, keyShareIntervalMin, keyShareIntervalMax, "share.heartbeat.interval.ms", "ms", 5000, 5000, 15_000,
			"How often members of share groups are told to beat; below " + keyShareSession + "."},
		{keyShareLock, keyShareLockMin, keyShareLockMax, "share.record.lock.duration.ms", "ms", 30_000, 15_000, 60_000,
			"How long a member may take over a record before it is given to another one."},
		{keyShareDeliveries, keyShareDeliveriesMin, keyShareDeliveriesMax, "share.delivery.count.limit", "", 5, 2, 10,
			"How often a record is given to members before it is archived."},
		{keyShareHeld, keyShareHeldMin, keyShareHeldMax, "share.partition.max.record.locks", "", 2000, 100, 4000,
			"How far beyond the first record that is not done records of a partition are given."},
	} {
		most := int64(math.MaxInt32)
		if limit.unit == "" {
			most = 10_000
		}
		add := func(name string, value int, doc string) {
			keys = append(keys, Key{Name: name, Kind: Integer, Default: strconv.Itoa(value), Unit: limit.unit, Min: 1, Max: most, Doc: doc})
		}
		add(limit.key, limit.value, limit.doc)
		add(limit.least, limit.from, fmt.Sprintf("The least %s that a group may be given as its own.", limit.group))
		add(limit.most, limit.to, fmt.Sprintf("The most %s that a group may be given as its own.", limit.group))
	}
	return keys
}

// shares derives the number of replicas as topics does.
func (b *builder) shares(brokers int) Shares {
	b.derive(keyShareReplication, strconv.Itoa(min(3, brokers)), fmt.Sprintf("min(3, %d voters)", brokers))
	b.below(keyShareInterval, keyShareSession)
	b.below(keyShareIntervalMax, keyShareSessionMin)
	for _, bounds := range [][2]string{
		{keyShareSessionMin, keyShareSessionMax}, {keyShareIntervalMin, keyShareIntervalMax}, {keyShareLockMin, keyShareLockMax},
		{keyShareDeliveriesMin, keyShareDeliveriesMax}, {keyShareHeldMin, keyShareHeldMax},
	} {
		if b.number(bounds[1]) < b.number(bounds[0]) {
			b.refuse(&Refusal{bounds[1], b.text(bounds[1]), fmt.Sprintf("it is below %s=%s", bounds[0], b.text(bounds[0]))})
		}
	}
	return Shares{
		Partitions: int32(b.number(keySharePartitions)), ReplicationFactor: int16(b.number(keyShareReplication)),
		MinInSync:       int32(b.number(keyShareMinISR)),
		SnapshotUpdates: int(b.number(keyShareSnapshots)), WriteTimeout: b.millis(keyShareTimeout),
		PruneInterval: b.millis(keySharePrune), ColdInterval: b.millis(keyShareCold),
		MembersMax: int(b.number(keyShareSize)), SessionsMax: int(b.number(keyShareSessions)),
		Session: b.millis(keyShareSession), SessionMin: b.millis(keyShareSessionMin), SessionMax: b.millis(keyShareSessionMax),
		Interval: b.millis(keyShareInterval), IntervalMin: b.millis(keyShareIntervalMin), IntervalMax: b.millis(keyShareIntervalMax),
		Lock: b.millis(keyShareLock), LockMin: b.millis(keyShareLockMin), LockMax: b.millis(keyShareLockMax),
		Deliveries: int(b.number(keyShareDeliveries)), DeliveriesMin: int(b.number(keyShareDeliveriesMin)),
		DeliveriesMax: int(b.number(keyShareDeliveriesMax)),
		LetterTopics:  b.flag(keyLetterTopics), LetterPrefix: b.text(keyLetterPrefix),
		Assignment: b.assignment(keyShareAssign, keyShareAssignMin, keyShareAssignMax),
		Held:       int(b.number(keyShareHeld)), HeldMin: int(b.number(keyShareHeldMin)), HeldMax: int(b.number(keyShareHeldMax)),
	}
}
