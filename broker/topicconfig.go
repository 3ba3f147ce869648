package broker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// The topic configs that are honoured.
const (
	configMessageBytes    = "max.message.bytes"
	configMinInSync       = "min.insync.replicas"
	configUncleanElection = "unclean.leader.election.enable"
)

// topicKey is one topic config that Kafka knows.
type topicKey struct {
	name string
	kind kmsg.ConfigType
	// standard is Kafka's default.
	standard string
	// broker is the broker's key for the default, "" if there is none.
	broker string
	// honoured checks a value of a key that takes effect. Keys without it are refused unless the
	// value is the default, which then need not be stored.
	honoured func(value string) error
	about    string
}

const forever = "9223372036854775807"

// topicKeys are sorted by name.
var topicKeys = []topicKey{
	{name: "cleanup.policy", kind: kmsg.ConfigTypeList, standard: "delete", broker: "log.cleanup.policy"},
	{name: "compression.gzip.level", kind: kmsg.ConfigTypeInt, standard: "-1"},
	{name: "compression.lz4.level", kind: kmsg.ConfigTypeInt, standard: "9"},
	{
		name: "compression.type", kind: kmsg.ConfigTypeString, standard: "producer",
		broker: "compression.type", about: "Batches are kept as the producer compressed them.",
	},
	{name: "compression.zstd.level", kind: kmsg.ConfigTypeInt, standard: "3"},
	{name: "delete.retention.ms", kind: kmsg.ConfigTypeLong, standard: "86400000"},
	{name: "file.delete.delay.ms", kind: kmsg.ConfigTypeLong, standard: "60000"},
	{name: "flush.messages", kind: kmsg.ConfigTypeLong, standard: forever},
	{name: "flush.ms", kind: kmsg.ConfigTypeLong, standard: forever},
	{
		name: "follower.replication.throttled.replicas", kind: kmsg.ConfigTypeList, honoured: throttledReplicas,
		about: "partition:broker pairs, or *: filled no faster than the brokers' throttled rate while they are new.",
	},
	{name: "index.interval.bytes", kind: kmsg.ConfigTypeInt, standard: "4096"},
	{
		name: "leader.replication.throttled.replicas", kind: kmsg.ConfigTypeList, honoured: throttledReplicas,
		about: "partition:broker pairs, or *: from these new replicas are filled no faster than the brokers' throttled rate.",
	},
	{name: "local.retention.bytes", kind: kmsg.ConfigTypeLong, standard: "-2"},
	{name: "local.retention.ms", kind: kmsg.ConfigTypeLong, standard: "-2"},
	{name: "max.compaction.lag.ms", kind: kmsg.ConfigTypeLong, standard: forever},
	{
		name: configMessageBytes, kind: kmsg.ConfigTypeInt, standard: "1048588",
		broker: "message.max.bytes", honoured: integerFrom(0),
		about: "The largest record batch that is taken, as sent, compressed.",
	},
	{
		name: "message.timestamp.after.max.ms", kind: kmsg.ConfigTypeLong, standard: "3600000",
		about: "How far ahead of the broker's clock a record's timestamp may be.",
	},
	{name: "message.timestamp.before.max.ms", kind: kmsg.ConfigTypeLong, standard: forever},
	{name: "message.timestamp.type", kind: kmsg.ConfigTypeString, standard: "CreateTime"},
	{name: "min.cleanable.dirty.ratio", kind: kmsg.ConfigTypeDouble, standard: "0.5"},
	{name: "min.compaction.lag.ms", kind: kmsg.ConfigTypeLong, standard: "0"},
	{
		name: configMinInSync, kind: kmsg.ConfigTypeInt, standard: "1",
		broker: configMinInSync, honoured: integerFrom(1),
		about: "How many replicas must be in sync for acks=all; never more than there are replicas.",
	},
	{name: "preallocate", kind: kmsg.ConfigTypeBoolean, standard: "false"},
	{name: "remote.log.copy.disable", kind: kmsg.ConfigTypeBoolean, standard: "false"},
	{name: "remote.log.delete.on.disable", kind: kmsg.ConfigTypeBoolean, standard: "false"},
	{name: "remote.storage.enable", kind: kmsg.ConfigTypeBoolean, standard: "false"},
	{
		name: "retention.bytes", kind: kmsg.ConfigTypeLong, standard: "-1",
		broker: "log.retention.bytes", about: "Nothing is deleted yet.",
	},
	{
		name: "retention.ms", kind: kmsg.ConfigTypeLong, standard: "604800000",
		broker: "log.retention.ms", about: "Nothing is deleted yet, whatever its age.",
	},
	{name: "segment.bytes", kind: kmsg.ConfigTypeInt, standard: "1073741824"},
	{name: "segment.index.bytes", kind: kmsg.ConfigTypeInt, standard: "10485760"},
	{name: "segment.jitter.ms", kind: kmsg.ConfigTypeLong, standard: "0"},
	{name: "segment.ms", kind: kmsg.ConfigTypeLong, standard: "604800000"},
	{
		name: configUncleanElection, kind: kmsg.ConfigTypeBoolean, standard: "false",
		broker: configUncleanElection, honoured: boolean,
		about: "Whether a replica that may lack acknowledged records may lead if no other can.",
	},
}

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
	return defaults{set: set, told: told, values: map[string]string{
		configMessageBytes:    strconv.Itoa(int(b.config.Topics.MessageBytesMax)),
		configMinInSync:       strconv.Itoa(int(b.config.Topics.MinInSyncReplicas)),
		configUncleanElection: strconv.FormatBool(b.config.Topics.UncleanElection),
	}}
}

// judgeTopicConfigs returns what is to be stored: values of keys that take effect. A key that is
// not honoured yet is refused, never stored and ignored, unless it asks for what happens anyway.
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
	return stored, nil
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

// bounds refuses a valid value that this broker's configuration does not leave room for: a batch that
// no message between brokers holds would never be replicated, nor what lies behind it in the log.
func (d defaults) bounds(name, value string) error {
	if name != configMessageBytes {
		return nil
	}
	asked, _ := strconv.Atoi(value)
	if most, err := strconv.Atoi(d.values[configMessageBytes]); err == nil && asked > most {
		return fmt.Errorf("%w: %s=%s is above message.max.bytes of the brokers, %d",
			topic.ErrInvalidConfig, name, value, most)
	}
	return nil
}

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
		if key.broker != "" {
			c.synonyms = append(c.synonyms, configSynonym{key.broker, inherited, source})
			if source != kmsg.ConfigSourceDefaultConfig {
				c.synonyms = append(c.synonyms,
					configSynonym{key.broker, key.standard, kmsg.ConfigSourceDefaultConfig})
			}
		}
		c.value, c.source = inherited, source
		if len(c.synonyms) > 0 {
			c.value, c.source = c.synonyms[0].value, c.synonyms[0].source
		}
		described = append(described, c)
	}
	return described
}

func integerFrom(least int32) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return errors.New("not an integer")
		}
		if n < int64(least) {
			return fmt.Errorf("below %d", least)
		}
		return nil
	}
}

func boolean(value string) error {
	if value != "true" && value != "false" {
		return errors.New("neither true nor false")
	}
	return nil
}

func longFrom(least int64) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return errors.New("not a number of 64 bits")
		}
		if n < least {
			return fmt.Errorf("below %d", least)
		}
		return nil
	}
}

// throttledReplicas wants "*", "none", nothing, or partition:broker pairs with commas between.
func throttledReplicas(value string) error {
	if value == "" || value == "*" || value == "none" {
		return nil
	}
	for pair := range strings.SplitSeq(value, ",") {
		partition, node, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if !ok || integerFrom(0)(partition) != nil || integerFrom(0)(node) != nil {
			return fmt.Errorf("%q is no partition:broker pair", pair)
		}
	}
	return nil
}
