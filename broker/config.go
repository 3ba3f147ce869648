package broker

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"outrigger/broker/topic"
)

// Config is everything that the broker can be told. Zero values mean the defaults named here, which
// are Kafka's where Kafka has the key.
type Config struct {
	// Node is this broker's `node.id`.
	Node topic.NodeID
	// Listeners are opened by New, unless Sockets is set.
	Listeners []Listener
	// Sockets were opened earlier, by Listen: clients queue in the kernel while a node recovers. The
	// broker takes them over and closes them.
	Sockets *Sockets
	// PeerListener is `inter.broker.listener.name` (the first listener): brokers ask each other for
	// transactions, markers and states of share groups at what the listener of this name is advertised at.
	PeerListener string
	// Topics are the defaults of topics.
	Topics TopicDefaults
	// Connections bounds what one client, and all of them, may hold.
	Connections ConnectionLimits
	// Requests bounds what a request may ask for.
	Requests RequestLimits
	// Groups is what consumer groups may do.
	Groups GroupConfig
	// Shares is what share groups may do.
	Shares ShareConfig
	// Transactions is what transactional producers may do.
	Transactions TransactionConfig
	// Metrics bounds the cardinality of what /metrics shows.
	Metrics MetricLimits
	// Levels are the format levels that this broker speaks, the first alone unless set.
	Levels topic.Levels
	// LogDir tells of the data directory.
	LogDir LogDir
	// Properties is the node's whole configuration as it is in force, for DescribeConfigs.
	Properties []Property
}

// TopicDefaults holds what a topic gets that does not say otherwise.
type TopicDefaults struct {
	// AutoCreateOff is the negation of `auto.create.topics.enable` (true).
	AutoCreateOff bool
	// DeleteOff is the negation of `delete.topic.enable` (true).
	DeleteOff bool
	// Partitions is `num.partitions` (1).
	Partitions int32
	// ReplicationFactor is `default.replication.factor` (1; whoever knows the number of brokers sets
	// min(3, brokers)).
	ReplicationFactor int16
	// MinInSyncReplicas is `min.insync.replicas` (1). The replication side enforces it; the broker
	// only describes it.
	MinInSyncReplicas int32
	// MessageBytesMax is `message.max.bytes` (1,048,588), the bound on one record batch as sent,
	// compressed, of topics that set no `max.message.bytes`.
	MessageBytesMax int32
	// BatchBytesMax is the largest batch that this broker can carry, and so the bound on `max.message.bytes`
	// of topics: what the log, the requests and the messages between brokers hold (MessageBytesMax).
	BatchBytesMax int32
	// UncleanElection is `unclean.leader.election.enable` (false), described only.
	UncleanElection bool
	// Configs are further defaults, by the names of topic configs (`retention.ms`), where they are not
	// Kafka's.
	Configs map[string]string
	// FlushInterval is how often the log is synced if that is not before each acknowledgement
	// (`log.flush.policy=interval`); 0 if it is. No topic may ask for more than that.
	FlushInterval time.Duration
	// CleanerOff is the negation of `log.cleaner.enable` (true): nothing is compacted.
	CleanerOff bool
	// RetentionCheck is `log.retention.check.interval.ms` (5 min): how often leaders look for records
	// whose time is over.
	RetentionCheck time.Duration
}

// LogDir is where the logs are, for DescribeLogDirs.
type LogDir struct {
	Path string
	// Space returns the size of the file system and what is left of it, in bytes; nil if nobody knows.
	Space func() (total, usable int64, err error)
	// Low, if set, says why producers have to wait for space on the disk, "" if they need not. It is asked
	// for every produce request.
	Low func() string
}

func (d *LogDir) low() string {
	if d.Low == nil {
		return ""
	}
	return d.Low()
}

// ConnectionLimits bounds connections.
type ConnectionLimits struct {
	// Max is `max.connections` (no bound), MaxPerIP is `max.connections.per.ip` (no bound).
	Max, MaxPerIP int
	// Idle is `connections.max.idle.ms` (10 min): a connection that neither sends a byte nor has a
	// request in flight for so long is closed, and so is one that takes no byte of an answer.
	Idle time.Duration
	// InFlight is how many requests of a connection may wait for their answers (128).
	InFlight int
	// InFlightBytes is how many bytes those requests may hold (32 MiB). One request more than fits
	// is taken, so that every frame passes.
	InFlightBytes int64
	// NodeInFlightBytes is how many bytes all requests above 4 KiB may hold together (1 GiB).
	NodeInFlightBytes int64
}

// RequestLimits bounds requests.
type RequestLimits struct {
	// BytesMax is `socket.request.max.bytes` (100 MiB), checked before anything is allocated.
	BytesMax int32
	// FetchBytesMax is `fetch.max.bytes` (55 MiB): no fetch answer holds more, but for one batch.
	FetchBytesMax int32
	// FollowerReads is `replica.selector.class` set to Kafka's RackAwareReplicaSelector (off).
	FollowerReads bool
	// FetchSessionsMax is `max.incremental.fetch.session.cache.slots` (1,000); negative for none.
	FetchSessionsMax int
	// AppendWait is how long a produce may wait for room in the log (1 s) before it is refused with
	// a retriable error. The requests behind it on the connection wait too, so this is short.
	AppendWait time.Duration
	// AutoCreateWait is how long a metadata request waits for the topics it creates (2 s).
	AutoCreateWait time.Duration
	// TimeoutMax caps the timeouts that clients ask for in administrative requests (5 min).
	TimeoutMax time.Duration
	// TopicPartitionsMax is the most partitions that one topic may be asked for (10,000, as many as Kafka makes in one request).
	TopicPartitionsMax int32
}

// MetricLimits bounds cardinality.
type MetricLimits struct {
	// Topics is how many topics have counters of their own (1,000); the others share one.
	Topics int
	// Partitions is how many partitions have gauges of their own (1,000); the others have none.
	Partitions int
}

// Property is one configuration key in force.
type Property struct {
	Name, Value string
	// Set: the operator set it, it is not a default. Default is what it is otherwise, "" if that depends.
	Set     bool
	Default string
	// Sensitive values are never shown.
	Sensitive bool
	// Kind is how the value is written.
	Kind PropertyKind
	// Doc is a sentence on what the key does.
	Doc string
}

// PropertyKind says how the value of a key is written.
type PropertyKind uint8

// The kinds of values.
const (
	PropertyText    PropertyKind = iota
	PropertyInteger              // of 64 bits
	PropertyFlag
	PropertyList
	PropertyInt   // of 32 bits
	PropertyShort // of 16 bits
	PropertyFraction
)

const (
	messageBytesMax    = 1_048_588
	requestBytesMax    = 100 << 20
	fetchBytesMax      = 55 << 20
	fetchSessionsMax   = 1_000
	inFlightMax        = 128
	inFlightBytesMax   = 32 << 20
	nodeInFlightBytes  = 1 << 30
	topicPartitionsMax = 10_000
	metricTopicsMax    = 1_000
	metricPartsMax     = 1_000
)

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	if names := c.listenerNames(); len(names) > 0 {
		orDefault(&c.PeerListener, names[0])
	}
	orDefault(&c.Topics.Partitions, 1)
	orDefault(&c.Topics.ReplicationFactor, 1)
	orDefault(&c.Topics.MinInSyncReplicas, 1)
	orDefault(&c.Topics.MessageBytesMax, messageBytesMax)
	orDefault(&c.Topics.BatchBytesMax, c.Topics.MessageBytesMax)
	orDefault(&c.Topics.RetentionCheck, 5*time.Minute)
	orDefault(&c.Connections.Max, math.MaxInt)
	orDefault(&c.Connections.MaxPerIP, math.MaxInt)
	orDefault(&c.Connections.Idle, 10*time.Minute)
	orDefault(&c.Connections.InFlight, inFlightMax)
	orDefault(&c.Connections.InFlightBytes, inFlightBytesMax)
	orDefault(&c.Connections.NodeInFlightBytes, nodeInFlightBytes)
	orDefault(&c.Requests.BytesMax, requestBytesMax)
	orDefault(&c.Requests.FetchBytesMax, fetchBytesMax)
	orDefault(&c.Requests.FetchSessionsMax, fetchSessionsMax)
	orDefault(&c.Requests.AppendWait, time.Second)
	orDefault(&c.Requests.AutoCreateWait, 2*time.Second)
	orDefault(&c.Requests.TimeoutMax, 5*time.Minute)
	orDefault(&c.Requests.TopicPartitionsMax, topicPartitionsMax)
	c.Groups = c.Groups.withDefaults(c.Topics.ReplicationFactor)
	c.Shares = c.Shares.withDefaults(c.Topics.ReplicationFactor)
	c.Transactions = c.Transactions.withDefaults(c.Topics.ReplicationFactor)
	orDefault(&c.Metrics.Topics, metricTopicsMax)
	orDefault(&c.Metrics.Partitions, metricPartsMax)
	return c
}

// listenerNames are the names of the listeners, each once, in their order.
func (c Config) listenerNames() []string {
	var names []string
	if c.Sockets != nil {
		for _, e := range c.Sockets.endpoints {
			names = append(names, e.Listener)
		}
		return names
	}
	for _, l := range c.Listeners {
		names = append(names, l.Name)
	}
	return names
}

// check is whether the value of a key cannot work.
type check struct {
	key string
	bad bool
	got any
}

// firstBad is the first of the checks that failed.
func firstBad(checks []check) error {
	for _, c := range checks {
		if c.bad {
			return fmt.Errorf("%s: %v is out of range", c.key, c.got)
		}
	}
	return nil
}

// validate refuses what cannot work, naming the key.
func (c Config) validate() error {
	if c.Sockets == nil && len(c.Listeners) == 0 {
		return errors.New("listeners: none given")
	}
	if names := c.listenerNames(); !slices.Contains(names, c.PeerListener) {
		return fmt.Errorf("inter.broker.listener.name: %s is none of the listeners %s", c.PeerListener, strings.Join(names, ", "))
	}
	checks := []check{
		{"node.id", c.Node < 0, c.Node},
		{"num.partitions", c.Topics.Partitions < 1, c.Topics.Partitions},
		{"default.replication.factor", c.Topics.ReplicationFactor < 1, c.Topics.ReplicationFactor},
		{"min.insync.replicas", c.Topics.MinInSyncReplicas < 1, c.Topics.MinInSyncReplicas},
		{"message.max.bytes", c.Topics.MessageBytesMax < 1, c.Topics.MessageBytesMax},
		{"max.connections", c.Connections.Max < 1, c.Connections.Max},
		{"max.connections.per.ip", c.Connections.MaxPerIP < 1, c.Connections.MaxPerIP},
		{"connections.max.idle.ms", c.Connections.Idle < 0, c.Connections.Idle},
		{"socket.request.max.bytes", c.Requests.BytesMax < 1, c.Requests.BytesMax},
		{"fetch.max.bytes", c.Requests.FetchBytesMax < 1024, c.Requests.FetchBytesMax},
	}
	if err := firstBad(checks); err != nil {
		return err
	}
	if c.Topics.BatchBytesMax < c.Topics.MessageBytesMax {
		return fmt.Errorf("message.max.bytes: %d is more than this broker can carry, %d",
			c.Topics.MessageBytesMax, c.Topics.BatchBytesMax)
	}
	if c.Requests.BytesMax < c.Topics.MessageBytesMax {
		return fmt.Errorf("socket.request.max.bytes: %d is below message.max.bytes, %d",
			c.Requests.BytesMax, c.Topics.MessageBytesMax)
	}
	if err := c.Groups.validate(); err != nil {
		return err
	}
	if err := c.Shares.validate(); err != nil {
		return err
	}
	return c.Transactions.validate()
}

// orDefault sets *v to value if it is zero.
func orDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
