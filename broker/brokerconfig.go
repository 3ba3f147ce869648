package broker

import (
	"fmt"
	"math"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// dynamicKey is a config of brokers that can be set while they run.
type dynamicKey struct {
	name     string
	kind     kmsg.ConfigType
	honoured func(value string) error
	// shared: it may be set for all brokers only, since topics inherit it and all must judge alike.
	shared bool
	// topic is the topic config that inherits it, if one does.
	topic string
}

const (
	configConnections      = "max.connections"
	configConnectionsPerIP = "max.connections.per.ip"
	// configDraining marks a broker that shall hold no replicas any more: it gets no new ones.
	configDraining = "broker.draining"
	// The bytes per second with which the replicas that topics list are filled, from and to a broker.
	configLeaderThrottle   = "leader.replication.throttled.rate"
	configFollowerThrottle = "follower.replication.throttled.rate"
	// configMoveThrottle is the same, both ways, for the replicas that reassignments bring, of all topics.
	configMoveThrottle = "reassignment.throttled.rate"
)

// dynamicKeys are sorted by name. Nobody may lock all clients out, the one who did it among them, so
// a bound on connections is at least one.
var dynamicKeys = []dynamicKey{
	{name: configDraining, kind: kmsg.ConfigTypeBoolean, honoured: boolean},
	{name: configFollowerThrottle, kind: kmsg.ConfigTypeLong, honoured: longFrom(0)},
	{name: configLeaderThrottle, kind: kmsg.ConfigTypeLong, honoured: longFrom(0)},
	{name: configConnections, kind: kmsg.ConfigTypeInt, honoured: longWithin(1, math.MaxInt32)},
	{name: configConnectionsPerIP, kind: kmsg.ConfigTypeInt, honoured: longWithin(1, math.MaxInt32)},
	{name: configMoveThrottle, kind: kmsg.ConfigTypeLong, honoured: longFrom(1)},
}

// findInherited finds a key that topics inherit from all brokers. The bound on batches is none of those:
// the messages between brokers are made for it.
func findInherited(name string) (dynamicKey, bool) {
	for _, key := range topicKeys {
		if key.broker == name && key.broker != "" && key.honoured != nil && key.name != configMessageBytes {
			return dynamicKey{name: name, kind: key.kind, honoured: key.honoured, shared: true, topic: key.name}, true
		}
	}
	return dynamicKey{}, false
}

func findDynamicKey(name string) (dynamicKey, bool) {
	for _, key := range dynamicKeys {
		if key.name == name {
			return key, true
		}
	}
	return findInherited(name)
}

// judgeBrokerName wants the id of a registered broker, or nothing, which stands for all of them.
func judgeBrokerName(view View, name string) error {
	if name == "" {
		return nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if _, known := view.Broker(topic.NodeID(id)); err != nil || !known || strconv.FormatInt(id, 10) != name {
		return fmt.Errorf("%w: no broker %q is registered", errInvalidRequest, name)
	}
	return nil
}

// brokerRules are those for one broker, or for all of them under the empty name.
func (b *Broker) brokerRules(name string) configRules {
	return brokerRules{broker: b, shared: name == ""}
}

type brokerRules struct {
	broker *Broker
	shared bool
}

func (r brokerRules) find(name string) (kmsg.ConfigType, string, error) {
	if key, dynamic := findDynamicKey(name); dynamic {
		if key.shared && !r.shared {
			return 0, "", fmt.Errorf("%w: %s can be set for all brokers only, under the empty name",
				topic.ErrInvalidConfig, name)
		}
		return key.kind, "", nil
	}
	for _, c := range r.broker.staticConfigs() {
		if c.name == name {
			return 0, "", fmt.Errorf("%w: %s cannot be set while the broker runs, only in its configuration",
				errInvalidRequest, name)
		}
	}
	return 0, "", fmt.Errorf("%w: unknown key %q", topic.ErrInvalidConfig, name)
}

func (r brokerRules) judge(name, value string) (bool, error) {
	key, _ := findDynamicKey(name)
	if err := key.honoured(value); err != nil {
		return false, fmt.Errorf("%w: %s=%s: %w", topic.ErrInvalidConfig, name, value, err)
	}
	if key.topic == "" {
		return true, nil
	}
	return true, r.broker.topicDefaults(r.broker.cluster.View()).bounds(key.topic, value)
}

// consistent implements configRules: with what is set, no topic that sets nothing may contradict itself.
func (r brokerRules) consistent(set map[string]string) error {
	d := r.broker.topicDefaults(r.broker.cluster.View())
	d.told = set
	return d.consistent(nil)
}

// told are the values that were set for this broker while it ran, most specific first.
func (b *Broker) told(view View, name string) []configSynonym {
	var told []configSynonym
	own := view.Configs(topic.BrokerConfigs, strconv.Itoa(int(b.config.Node)))
	if value, ok := own.Values[name]; ok {
		told = append(told, configSynonym{name, value, kmsg.ConfigSourceDynamicBrokerConfig})
	}
	if value, ok := view.Configs(topic.BrokerConfigs, "").Values[name]; ok {
		told = append(told, configSynonym{name, value, kmsg.ConfigSourceDynamicDefaultBrokerConfig})
	}
	return told
}

// connectionLimits are the limits in force.
func (b *Broker) connectionLimits() ConnectionLimits {
	limits := b.config.Connections
	view := b.cluster.View()
	for name, limit := range map[string]*int{
		configConnections: &limits.Max, configConnectionsPerIP: &limits.MaxPerIP,
	} {
		if told := b.told(view, name); len(told) > 0 {
			if value, err := strconv.Atoi(told[0].value); err == nil {
				*limit = value
			}
		}
	}
	return limits
}

// toldConfigs are the configs that were set for a broker while the cluster runs, or for all under the empty name.
func (b *Broker) toldConfigs(view View, name string) []resourceConfig {
	var configs []resourceConfig
	set := view.Configs(topic.BrokerConfigs, name).Values
	source := kmsg.ConfigSourceDynamicBrokerConfig
	if name == "" {
		source = kmsg.ConfigSourceDynamicDefaultBrokerConfig
	}
	for _, c := range b.staticConfigs() {
		value, ok := set[c.name]
		if !ok {
			continue
		}
		c.readOnly = false
		c.value, c.source = value, source
		c.synonyms = []configSynonym{{c.name, value, c.source}}
		configs = append(configs, c)
	}
	return configs
}

// kafka is the kind as DescribeConfigs tells it.
func (k PropertyKind) kafka() kmsg.ConfigType {
	switch k {
	case PropertyInteger:
		return kmsg.ConfigTypeLong
	case PropertyFlag:
		return kmsg.ConfigTypeBoolean
	case PropertyList:
		return kmsg.ConfigTypeList
	case PropertyInt:
		return kmsg.ConfigTypeInt
	case PropertyShort:
		return kmsg.ConfigTypeShort
	case PropertyFraction:
		return kmsg.ConfigTypeDouble
	default:
		return kmsg.ConfigTypeString
	}
}
