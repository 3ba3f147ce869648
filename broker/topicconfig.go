package broker

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// The topic configs that code here goes by, by name.
const (
	configCleanupPolicy    = "cleanup.policy"
	configCompression      = "compression.type"
	configDeleteRetention  = "delete.retention.ms"
	configDirtyRatio       = "min.cleanable.dirty.ratio"
	configFlushMessages    = "flush.messages"
	configFlushMillis      = "flush.ms"
	configGzipLevel        = "compression.gzip.level"
	configLz4Level         = "compression.lz4.level"
	configZstdLevel        = "compression.zstd.level"
	configLetterTopic      = "errors.deadletterqueue.group.enable"
	configMaxLag           = "max.compaction.lag.ms"
	configMessageBytes     = "max.message.bytes"
	configRecordBytes      = "max.decompressed.message.bytes"
	configMinInSync        = "min.insync.replicas"
	configMinLag           = "min.compaction.lag.ms"
	configRetentionBytes   = "retention.bytes"
	configRetentionMillis  = "retention.ms"
	configSegmentMillis    = "segment.ms"
	configTimestampAfter   = "message.timestamp.after.max.ms"
	configTimestampBefore  = "message.timestamp.before.max.ms"
	configTimestampType    = "message.timestamp.type"
	configUncleanElection  = "unclean.leader.election.enable"
	timestampLogAppendTime = "LogAppendTime"
)

// topicKey is one topic config that Kafka knows.
type topicKey struct {
	name string
	kind kmsg.ConfigType
	// standard is Kafka's default.
	standard string
	// broker is the broker's key for the default, "" if there is none. unset: it has no value of its own unless
	// somebody sets it, for a coarser unit has one.
	broker string
	unset  bool
	// honoured checks a value of a key that takes effect, or of one that steers files which this broker does
	// not have, and says so in about. Keys without it are refused unless the value is the default, which then
	// need not be stored.
	honoured func(value string) error
	about    string
}

const forever = "9223372036854775807"

// topicKeys are sorted by name.
var topicKeys = []topicKey{
	{
		name: configCleanupPolicy, kind: kmsg.ConfigTypeList, standard: "delete",
		broker: "log.cleanup.policy", honoured: cleanupPolicies,
		about: "delete: old records go by retention. compact: records need keys; the last one of each key is to stay. Nothing: all stay.",
	},
	{
		name: configGzipLevel, kind: kmsg.ConfigTypeInt, standard: "-1", broker: configGzipLevel,
		honoured: anyOf(exactly("-1"), longWithin(1, 9)),
		about:    "How hard gzip works where compression.type asks for it.",
	},
	{
		name: configLz4Level, kind: kmsg.ConfigTypeInt, standard: "9", broker: configLz4Level,
		honoured: longWithin(1, 17), about: "How hard lz4 works where compression.type asks for it.",
	},
	{
		name: configCompression, kind: kmsg.ConfigTypeString, standard: "producer", broker: configCompression,
		honoured: exactly("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
		about:    "producer: batches are kept as they were compressed. Else they are compressed anew where they differ.",
	},
	{
		name: configZstdLevel, kind: kmsg.ConfigTypeInt, standard: "3", broker: configZstdLevel,
		honoured: longWithin(-131072, 22), about: "How hard zstd works where compression.type asks for it.",
	},
	{
		name: configDeleteRetention, kind: kmsg.ConfigTypeLong, standard: "86400000",
		broker: "log.cleaner.delete.retention.ms", honoured: longFrom(0),
		about: "How long compaction keeps the tombstone of a key.",
	},
	{
		name: configLetterTopic, kind: kmsg.ConfigTypeBoolean, standard: "false", honoured: boolean,
		about: "Whether share groups may write their dead letters here.",
	},
	{
		name: "file.delete.delay.ms", kind: kmsg.ConfigTypeLong, standard: "60000",
		broker: "log.segment.delete.delay.ms", honoured: longFrom(0),
		about: "Steers nothing: a deleted topic, and what retention deletes, is gone at once, and its space is used again.",
	},
	{
		name: configFlushMessages, kind: kmsg.ConfigTypeLong, standard: forever,
		broker: "log.flush.interval.messages", honoured: longFrom(1), about: flushAbout,
	},
	{
		name: configFlushMillis, kind: kmsg.ConfigTypeLong, standard: forever, honoured: longFrom(0), about: flushAbout,
	},
	{
		name: "follower.replication.throttled.replicas", kind: kmsg.ConfigTypeList, honoured: throttledReplicas,
		about: "partition:broker pairs, or *: while they are not in sync they are filled no faster than the brokers' throttled rate.",
	},
	{
		name: "index.interval.bytes", kind: kmsg.ConfigTypeInt, standard: "4096",
		broker: "log.index.interval.bytes", honoured: longWithin(0, math.MaxInt32), about: indexAbout,
	},
	{
		name: "leader.replication.throttled.replicas", kind: kmsg.ConfigTypeList, honoured: throttledReplicas,
		about: "partition:broker pairs, or *: from these, replicas that are not in sync are filled no faster than the brokers' throttled rate.",
	},
	{name: "local.retention.bytes", kind: kmsg.ConfigTypeLong, standard: "-2", broker: "log.local.retention.bytes"},
	{name: "local.retention.ms", kind: kmsg.ConfigTypeLong, standard: "-2", broker: "log.local.retention.ms"},
	{
		name: configMaxLag, kind: kmsg.ConfigTypeLong, standard: forever,
		broker: "log.cleaner.max.compaction.lag.ms", honoured: longFrom(1),
		about: "How long a record may wait for compaction.",
	},
	{
		name: configRecordBytes, kind: kmsg.ConfigTypeInt, standard: "2147483639",
		broker: configRecordBytes, honoured: longWithin(1, math.MaxInt32),
		about: "The largest record that is taken in a compressed batch, decompressed.",
	},
	{
		name: configMessageBytes, kind: kmsg.ConfigTypeInt, standard: "1048588",
		broker: "message.max.bytes", honoured: longWithin(0, math.MaxInt32),
		about: messageAbout,
	},
	{
		name: configTimestampAfter, kind: kmsg.ConfigTypeLong, standard: "3600000",
		broker: "log.message.timestamp.after.max.ms", honoured: longFrom(0),
		about: "How far ahead of the broker's clock a record's timestamp may be.",
	},
	{
		name: configTimestampBefore, kind: kmsg.ConfigTypeLong, standard: forever,
		broker: "log.message.timestamp.before.max.ms", honoured: longFrom(0),
		about: "How far behind the broker's clock a record's timestamp may be.",
	},
	{
		name: configTimestampType, kind: kmsg.ConfigTypeString, standard: "CreateTime",
		broker: "log.message.timestamp.type", honoured: exactly("CreateTime", timestampLogAppendTime),
		about: "LogAppendTime: batches bear the time of their append in place of the producer's.",
	},
	{
		name: configDirtyRatio, kind: kmsg.ConfigTypeDouble, standard: "0.5",
		broker: "log.cleaner.min.cleanable.ratio", honoured: fraction,
		about: "How much of a log must be new before it is compacted.",
	},
	{
		name: configMinLag, kind: kmsg.ConfigTypeLong, standard: "0",
		broker: "log.cleaner.min.compaction.lag.ms", honoured: longFrom(0),
		about: "How long a record is safe from compaction.",
	},
	{
		name: configMinInSync, kind: kmsg.ConfigTypeInt, standard: "1",
		broker: configMinInSync, honoured: longWithin(1, math.MaxInt32),
		about: "How many replicas must be in sync for acks=all; never more than there are replicas.",
	},
	{
		name: "preallocate", kind: kmsg.ConfigTypeBoolean, standard: "false",
		broker: "log.preallocate", honoured: boolean, about: "Steers nothing: the files of the write-ahead log always are.",
	},
	{name: "remote.copy.lag.bytes", kind: kmsg.ConfigTypeLong, standard: "-1", broker: "log.remote.copy.lag.bytes"},
	{name: "remote.copy.lag.ms", kind: kmsg.ConfigTypeLong, standard: "0", broker: "log.remote.copy.lag.ms"},
	{name: "remote.log.copy.disable", kind: kmsg.ConfigTypeBoolean, standard: "false"},
	{name: "remote.log.delete.on.disable", kind: kmsg.ConfigTypeBoolean, standard: "false"},
	{name: "remote.storage.enable", kind: kmsg.ConfigTypeBoolean, standard: "false"},
	{
		name: configRetentionBytes, kind: kmsg.ConfigTypeLong, standard: "-1",
		broker: "log.retention.bytes", honoured: longFrom(math.MinInt64),
		about: "How many bytes of a partition are kept at least, once it has as many; below 0 for all. Whole batches go.",
	},
	{
		name: configRetentionMillis, kind: kmsg.ConfigTypeLong, standard: "604800000",
		broker: "log.retention.ms", unset: true, honoured: longFrom(-1),
		about: "How long a record is kept, by its timestamp; -1 for ever. Whole batches go.",
	},
	{
		name: "segment.bytes", kind: kmsg.ConfigTypeInt, standard: "1073741824",
		broker: "log.segment.bytes", honoured: longWithin(1<<20, math.MaxInt32), about: segmentAbout,
	},
	{
		name: "segment.index.bytes", kind: kmsg.ConfigTypeInt, standard: "10485760",
		broker: "log.index.size.max.bytes", honoured: longWithin(4, math.MaxInt32), about: indexAbout,
	},
	{
		name: "segment.jitter.ms", kind: kmsg.ConfigTypeLong, standard: "0",
		broker: "log.roll.jitter.ms", unset: true, honoured: longFrom(0), about: segmentAbout,
	},
	{
		name: configSegmentMillis, kind: kmsg.ConfigTypeLong, standard: "604800000",
		broker: "log.roll.ms", unset: true, honoured: longFrom(1),
		about: "How long a batch of a compacted topic may wait in the write-ahead log, where it cannot be compacted; " +
			"looked at every 10 s. Nothing else waits for a segment here.",
	},
	{
		name: configUncleanElection, kind: kmsg.ConfigTypeBoolean, standard: "false",
		broker: configUncleanElection, honoured: boolean,
		about: "Whether a replica that may lack acknowledged records may lead if no other can.",
	},
}

// What keys mean here that steer files which this broker does not have.
const (
	flushAbout = "Steers nothing: every record is synced before it is acknowledged. Under the brokers' " +
		"log.flush.policy=interval what asks for more than their log.flush.interval.ms is refused."
	indexAbout   = "Steers nothing: every batch is in the index here."
	messageAbout = "The largest record batch that is taken, as sent, compressed; this goes before message.max.bytes. At most what " +
		"every broker can carry: a quarter of its wal.file.bytes less 4 KiB, its socket.request.max.bytes less 64 KiB, and 60 MiB."
	segmentAbout = "Steers nothing: the files of the write-ahead log are those of all topics (wal.file.bytes), and " +
		"records go by retention batch by batch."
)

func findTopicKey(name string) (topicKey, bool) {
	for _, key := range topicKeys {
		if key.name == name {
			return key, true
		}
	}
	return topicKey{}, false
}

// defaults are the values that a topic gets for keys it does not set, where they are not Kafka's;
// set says which of them the operator chose.
type defaults struct {
	values map[string]string
	set    map[string]bool
	// told are those that were set for all brokers while they run, which go before; by broker key.
	told map[string]string
	// flush is how often the log is synced, 0 if that is before each acknowledgement.
	flush time.Duration
	// carried is the largest batch that all brokers can carry, weakest a broker that carries no larger one.
	carried int64
	weakest topic.NodeID
}

// of is the default of a key, and where it comes from.
func (d defaults) of(key topicKey) (string, kmsg.ConfigSource) {
	if value, ok := d.told[key.broker]; ok {
		return value, kmsg.ConfigSourceDynamicDefaultBrokerConfig
	}
	return d.static(key)
}

// static is the default of a key if nothing was told while the brokers run.
func (d defaults) static(key topicKey) (string, kmsg.ConfigSource) {
	value, ok := d.values[key.name]
	if !ok {
		return key.standard, kmsg.ConfigSourceDefaultConfig
	}
	if d.set[key.broker] {
		return value, kmsg.ConfigSourceStaticBrokerConfig
	}
	return value, kmsg.ConfigSourceDefaultConfig
}

// topicDefaults are the defaults of topics on this broker.
func (b *Broker) topicDefaults(view View) defaults {
	set := map[string]bool{}
	for _, p := range b.config.Properties {
		set[p.Name] = p.Set
	}
	told := view.Configs(topic.BrokerConfigs, "").Values
	values := map[string]string{
		configMessageBytes:    strconv.Itoa(int(b.config.Topics.MessageBytesMax)),
		configMinInSync:       strconv.Itoa(int(b.config.Topics.MinInSyncReplicas)),
		configUncleanElection: strconv.FormatBool(b.config.Topics.UncleanElection),
	}
	maps.Copy(values, b.config.Topics.Configs)
	d := defaults{set: set, told: told, values: values, flush: b.config.Topics.FlushInterval}
	d.carried, d.weakest = int64(b.config.Topics.BatchBytesMax), b.config.Node
	for _, other := range view.Registered() {
		if most := int64(other.Carries()); most != 0 && most < d.carried {
			d.carried, d.weakest = most, other.ID
		}
	}
	return d
}

// judgeTopicConfigs returns what is to be stored: values of keys that take effect, and of those that steer
// nothing here and say so. Any other is refused, never stored and ignored, unless it asks for what happens anyway.
func judgeTopicConfigs(
	asked []kmsg.CreateTopicsRequestTopicConfig, d defaults,
) (map[string]string, error) {
	stored := map[string]string{}
	for _, a := range asked {
		if _, _, err := d.find(a.Name); err != nil {
			return nil, err
		}
		if a.Value == nil {
			return nil, fmt.Errorf("%w: %s has no value", topic.ErrInvalidConfig, a.Name)
		}
		keep, err := d.judge(a.Name, *a.Value)
		if err != nil {
			return nil, err
		}
		if keep {
			stored[a.Name] = *a.Value
		}
	}
	return stored, d.consistent(stored)
}

// consistent refuses values that are right each by itself and not together.
func (d defaults) consistent(set map[string]string) error {
	least, most := d.long(set, configMinLag), d.long(set, configMaxLag)
	if least > most {
		return fmt.Errorf("%w: %s=%d is above %s=%d", topic.ErrInvalidConfig, configMinLag, least, configMaxLag, most)
	}
	return nil
}

// text is the value in force of a key.
func (d defaults) text(set map[string]string, name string) string {
	if own, ok := set[name]; ok {
		return own
	}
	key, _ := findTopicKey(name)
	value, _ := d.of(key)
	return value
}

// long is the value in force of a key whose values are integers.
func (d defaults) long(set map[string]string, name string) int64 {
	n, err := strconv.ParseInt(d.text(set, name), 10, 64)
	if err != nil {
		key, _ := findTopicKey(name)
		n, _ = strconv.ParseInt(key.standard, 10, 64)
	}
	return n
}

// real is the value in force of a key whose values are fractions.
func (d defaults) real(set map[string]string, name string) float64 {
	x, err := strconv.ParseFloat(d.text(set, name), 64)
	if err != nil {
		key, _ := findTopicKey(name)
		x, _ = strconv.ParseFloat(key.standard, 64)
	}
	return x
}

// find implements configRules.
func (d defaults) find(name string) (kmsg.ConfigType, string, error) {
	key, known := findTopicKey(name)
	if !known {
		return 0, "", fmt.Errorf("%w: unknown key %q", topic.ErrInvalidConfig, name)
	}
	inherited, _ := d.of(key)
	return key.kind, inherited, nil
}

// judge implements configRules.
func (d defaults) judge(name, value string) (bool, error) {
	key, _ := findTopicKey(name)
	if key.honoured == nil {
		if inherited, _ := d.of(key); inherited != value {
			return false, fmt.Errorf("%w: %s=%s is not supported yet, only %q",
				topic.ErrInvalidConfig, name, value, inherited)
		}
		return false, nil
	}
	if err := key.honoured(value); err != nil {
		return false, fmt.Errorf("%w: %s=%s: %w", topic.ErrInvalidConfig, name, value, err)
	}
	return true, d.bounds(name, value)
}

// bounds refuses a valid value that the brokers' configurations do not leave room for: a batch that a log or
// a message between brokers does not hold would never be replicated, nor what lies behind it in the log; and who
// wants records synced before they are acknowledged must not be told that they are.
func (d defaults) bounds(name, value string) error {
	asked, _ := strconv.ParseInt(value, 10, 64)
	switch name {
	case configMessageBytes:
		switch {
		case asked > topic.BatchBytesMost:
			return fmt.Errorf("%w: %s=%s is above %d, the most that one message between brokers carries: send smaller batches",
				topic.ErrInvalidConfig, name, value, topic.BatchBytesMost)
		case asked > d.carried:
			return fmt.Errorf("%w: %s=%s is above %d, the largest batch that broker %d carries: start all brokers with "+
				"wal.file.bytes=%d or more and a larger socket.request.max.bytes than this, or send smaller batches",
				topic.ErrInvalidConfig, name, value, d.carried, d.weakest, fileBytesFor(asked))
		}
	case configFlushMessages, configFlushMillis:
		kept := asked == math.MaxInt64 || name == configFlushMillis && asked >= d.flush.Milliseconds()
		if d.flush > 0 && !kept {
			return fmt.Errorf("%w: %s=%s is more than the brokers keep, which sync every %d ms: set log.flush.policy=always "+
				"on them, and every record is synced before it is acknowledged", topic.ErrInvalidConfig, name, value, d.flush.Milliseconds())
		}
	}
	return nil
}

// fileBytesFor is the size of a file of the write-ahead log, in whole MiB, with which a broker carries such batches.
func fileBytesFor(batch int64) int64 { return (4*batch>>20 + 2) << 20 }

// topicConfig is one config of a topic as it is in force.
type topicConfig struct {
	topicKey
	value    string
	source   kmsg.ConfigSource
	synonyms []configSynonym
}

// configSynonym is one place that a value could come from, most specific first.
type configSynonym struct {
	name, value string
	source      kmsg.ConfigSource
}

// describeTopicConfigs lists every key, set or not.
func describeTopicConfigs(set map[string]string, d defaults) []topicConfig {
	described := make([]topicConfig, 0, len(topicKeys))
	for _, key := range topicKeys {
		c := topicConfig{topicKey: key}
		if own, ok := set[key.name]; ok {
			c.synonyms = append(c.synonyms,
				configSynonym{key.name, own, kmsg.ConfigSourceDynamicTopicConfig})
		}
		inherited, source := d.static(key)
		if told, ok := d.told[key.broker]; ok {
			c.synonyms = append(c.synonyms,
				configSynonym{key.broker, told, kmsg.ConfigSourceDynamicDefaultBrokerConfig})
		}
		if key.broker != "" && source != kmsg.ConfigSourceDefaultConfig {
			c.synonyms = append(c.synonyms, configSynonym{key.broker, inherited, source})
			inherited, source = key.standard, kmsg.ConfigSourceDefaultConfig
		}
		if key.broker != "" && !key.unset {
			c.synonyms = append(c.synonyms, configSynonym{key.broker, inherited, source})
		}
		c.value, c.source = inherited, source
		if len(c.synonyms) > 0 {
			c.value, c.source = c.synonyms[0].value, c.synonyms[0].source
		}
		described = append(described, c)
	}
	return described
}
