package broker

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// describeConfigs tells every config of topics and of this broker, with its source.
func (b *Broker) describeConfigs(
	_ context.Context, _ *request, q *kmsg.DescribeConfigsRequest,
) kmsg.Response {
	view := b.cluster.View()
	response := kmsg.NewPtrDescribeConfigsResponse()
	for i := range q.Resources {
		asked := &q.Resources[i]
		answer := kmsg.NewDescribeConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = asked.ResourceType, asked.ResourceName
		configs, why, message := b.describeResource(view, asked)
		if why != codeNone {
			answer.ErrorCode, answer.ErrorMessage = int16(why), kmsg.StringPtr(message)
			b.meters.failure("DescribeConfigs", why)
		}
		answer.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		for _, c := range configs {
			if len(asked.ConfigNames) == 0 || slices.Contains(asked.ConfigNames, c.name) {
				answer.Configs = append(answer.Configs, c.answer(q))
			}
		}
		response.Resources = append(response.Resources, answer)
	}
	return response
}

func (b *Broker) describeResource(
	view View, asked *kmsg.DescribeConfigsRequestResource,
) ([]resourceConfig, code, string) {
	switch asked.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if err := topic.ValidateName(asked.ResourceName); err != nil {
			return nil, codeBefore(err), err.Error()
		}
		t, ok := view.TopicByName(asked.ResourceName)
		if !ok {
			return nil, codeUnknownTopicOrPartition, "topic does not exist"
		}
		var configs []resourceConfig
		for _, c := range describeTopicConfigs(t.Configs, b.topicDefaults(view)) {
			configs = append(configs, resourceConfig{topicConfig: c})
		}
		return configs, codeNone, ""
	case kmsg.ConfigResourceTypeBroker:
		own := strconv.Itoa(int(b.config.Node))
		switch asked.ResourceName {
		case "":
			return b.toldConfigs(view, ""), codeNone, ""
		case own:
			return b.brokerConfigs(view), codeNone, ""
		}
		// Nobody else can be asked what a fenced broker was told; what it was started with nobody knows.
		if id, err := strconv.ParseInt(asked.ResourceName, 10, 32); err == nil {
			if other, known := view.Broker(topic.NodeID(id)); known && other.Fenced {
				return b.toldConfigs(view, asked.ResourceName), codeNone, ""
			}
		}
		return nil, codeInvalidRequest, "this is broker " + own
	case kmsg.ConfigResourceTypeGroupConfig, kmsg.ConfigResourceTypeClientMetrics:
		if asked.ResourceName == "" {
			return nil, codeInvalidRequest, "the name is empty"
		}
		if asked.ResourceType == kmsg.ConfigResourceTypeGroupConfig {
			return b.groupConfigs(view, asked.ResourceName), codeNone, ""
		}
		return nil, codeNone, "" // nothing can be set for them yet
	default:
		return nil, codeInvalidRequest, "resources of this type have no configs here"
	}
}

// resourceConfig is one config of a topic or broker.
type resourceConfig struct {
	topicConfig
	readOnly, sensitive bool
}

func (c resourceConfig) answer(
	q *kmsg.DescribeConfigsRequest,
) kmsg.DescribeConfigsResponseResourceConfig {
	answer := kmsg.NewDescribeConfigsResponseResourceConfig()
	answer.Name, answer.ReadOnly, answer.IsSensitive = c.name, c.readOnly, c.sensitive
	answer.Source, answer.ConfigType = c.source, c.kind
	answer.IsDefault = c.source == kmsg.ConfigSourceDefaultConfig
	value := func(text string) *string {
		if c.sensitive {
			return nil
		}
		return &text
	}
	answer.Value = value(c.value)
	if q.IncludeSynonyms {
		for _, s := range c.synonyms {
			synonym := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			synonym.Name, synonym.Value, synonym.Source = s.name, value(s.value), s.source
			answer.ConfigSynonyms = append(answer.ConfigSynonyms, synonym)
		}
	}
	if q.IncludeDocumentation && c.about != "" {
		answer.Documentation = kmsg.StringPtr(c.about)
	}
	return answer
}

// brokerConfigs are the configs of this broker as they are in force, sorted by name.
func (b *Broker) brokerConfigs(view View) []resourceConfig {
	configs := b.staticConfigs()
	for i := range configs {
		c := &configs[i]
		if told := b.told(view, c.name); len(told) > 0 {
			c.synonyms = append(told, c.synonyms...)
			c.value, c.source = told[0].value, told[0].source
		}
	}
	return configs
}

// staticConfigs are the configs that this broker was started with, sorted by name: what it goes by
// itself, and the further keys of the node.
func (b *Broker) staticConfigs() []resourceConfig {
	byName, standards := map[string]resourceConfig{}, map[string]string{}
	for _, c := range b.ownConfigs() {
		c.source, c.readOnly = kmsg.ConfigSourceDefaultConfig, true
		byName[c.name] = c
	}
	for _, p := range b.config.Properties {
		c, own := byName[p.Name]
		if !own {
			c.name, c.value, c.kind, c.readOnly = p.Name, p.Value, p.Kind.kafka(), true
			c.source = kmsg.ConfigSourceDefaultConfig
		}
		c.about = p.Doc
		if p.Set {
			c.source = kmsg.ConfigSourceStaticBrokerConfig
			standards[p.Name] = p.Default
		}
		c.sensitive = p.Sensitive
		if c.sensitive {
			c.kind = kmsg.ConfigTypePassword
		}
		byName[p.Name] = c
	}
	configs := make([]resourceConfig, 0, len(byName))
	for _, c := range byName {
		c.synonyms = []configSynonym{{c.name, c.value, c.source}}
		if standard := standards[c.name]; standard != "" {
			c.synonyms = append(c.synonyms, configSynonym{c.name, standard, kmsg.ConfigSourceDefaultConfig})
		}
		if _, dynamic := findDynamicKey(c.name); dynamic {
			c.readOnly = false
		}
		configs = append(configs, c)
	}
	slices.SortFunc(configs, func(a, b resourceConfig) int { return cmp.Compare(a.name, b.name) })
	return configs
}

// ownConfigs are the keys that the broker itself goes by.
func (b *Broker) ownConfigs() []resourceConfig {
	t, c, r := b.config.Topics, b.config.Connections, b.config.Requests
	own := func(name string, kind kmsg.ConfigType, value string) resourceConfig {
		var config resourceConfig
		config.name, config.kind, config.value = name, kind, value
		return config
	}
	number := func(name string, kind kmsg.ConfigType, value int64) resourceConfig {
		return own(name, kind, strconv.FormatInt(value, 10))
	}
	flag := func(name string, value bool) resourceConfig {
		return own(name, kmsg.ConfigTypeBoolean, strconv.FormatBool(value))
	}
	configs := []resourceConfig{
		flag("auto.create.topics.enable", !t.AutoCreateOff),
		flag(configDraining, false),
		number(configFollowerThrottle, kmsg.ConfigTypeLong, math.MaxInt64),
		number(configLeaderThrottle, kmsg.ConfigTypeLong, math.MaxInt64),
		number("connections.max.idle.ms", kmsg.ConfigTypeLong, c.Idle.Milliseconds()),
		number("default.replication.factor", kmsg.ConfigTypeInt, int64(t.ReplicationFactor)),
		flag("delete.topic.enable", !t.DeleteOff),
		number("fetch.max.bytes", kmsg.ConfigTypeInt, int64(r.FetchBytesMax)),
		number("max.connections", kmsg.ConfigTypeInt, kafkaInt(c.Max)),
		number("max.connections.per.ip", kmsg.ConfigTypeInt, kafkaInt(c.MaxPerIP)),
		number("max.incremental.fetch.session.cache.slots", kmsg.ConfigTypeInt, max(0, kafkaInt(r.FetchSessionsMax))),
		number("message.max.bytes", kmsg.ConfigTypeInt, int64(t.MessageBytesMax)),
		number("min.insync.replicas", kmsg.ConfigTypeInt, int64(t.MinInSyncReplicas)),
		number("node.id", kmsg.ConfigTypeInt, int64(b.config.Node)),
		number("num.partitions", kmsg.ConfigTypeInt, int64(t.Partitions)),
		number(configMoveThrottle, kmsg.ConfigTypeLong, math.MaxInt64),
		number("socket.request.max.bytes", kmsg.ConfigTypeInt, int64(r.BytesMax)),
		number("log.retention.check.interval.ms", kmsg.ConfigTypeLong, t.RetentionCheck.Milliseconds()),
		flag("unclean.leader.election.enable", t.UncleanElection),
	}
	for _, key := range topicKeys { // what topics inherit from here, and no struct holds
		inherited := key.broker != "" && key.honoured != nil
		if known := slices.ContainsFunc(configs, func(c resourceConfig) bool { return c.name == key.broker }); inherited && !known {
			value := key.standard
			if set, ok := t.Configs[key.name]; ok {
				value = set
			}
			configs = append(configs, own(key.broker, key.kind, value))
		}
	}
	return configs
}

// kafkaInt caps a bound at the largest value of Kafka's INT, by which it says "no bound".
func kafkaInt(n int) int64 { return min(int64(n), 1<<31-1) }
