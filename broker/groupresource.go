package broker

import (
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// The configs that a group may have of its own (KIP-848's; those of share and streams groups come with
// such groups).
const (
	configConsumerSession  = "consumer.session.timeout.ms"
	configConsumerInterval = "consumer.heartbeat.interval.ms"
)

// groupKey is one config of groups.
type groupKey struct {
	name, about string
	inherited   time.Duration
	within      Span
	// from is the broker's config that holds where the group has none.
	from string
}

// groupKeys are sorted by name.
func (b *Broker) groupKeys() []groupKey {
	g := &b.config.Groups
	return []groupKey{
		{configConsumerInterval, "How often the group's members are told to beat.", g.ConsumerInterval,
			g.ConsumerIntervals, "group.consumer.heartbeat.interval.ms"},
		{configConsumerSession, "After how much silence a member of the group is taken out.", g.ConsumerSession,
			g.ConsumerSessions, "group.consumer.session.timeout.ms"},
	}
}

// groupConfigs are the configs of a group as they are in force, whether or not it exists.
func (b *Broker) groupConfigs(view View, name string) []resourceConfig {
	set := view.Configs(topic.GroupConfigs, name).Values
	var configs []resourceConfig
	for _, key := range b.groupKeys() {
		var c resourceConfig
		c.name, c.kind, c.about = key.name, kmsg.ConfigTypeInt, key.about
		c.value = strconv.FormatInt(key.inherited.Milliseconds(), 10)
		c.source = kmsg.ConfigSourceDefaultConfig
		c.synonyms = []configSynonym{{key.from, c.value, c.source}}
		if value, own := set[key.name]; own {
			c.value, c.source = value, kmsg.ConfigSourceGroupConfig
			c.synonyms = append([]configSynonym{{key.name, value, c.source}}, c.synonyms...)
		}
		configs = append(configs, c)
	}
	return configs
}

// consumerTimes are the session timeout and the heartbeat interval of a group.
func (b *Broker) consumerTimes(view View, name string) (session, interval time.Duration) {
	return b.consumerTimesOf(view.Configs(topic.GroupConfigs, name).Values)
}

func (b *Broker) consumerTimesOf(set map[string]string) (session, interval time.Duration) {
	session, interval = b.config.Groups.ConsumerSession, b.config.Groups.ConsumerInterval
	for key, to := range map[string]*time.Duration{configConsumerSession: &session, configConsumerInterval: &interval} {
		// What is stored was judged when it was set.
		if millis, err := strconv.ParseInt(set[key], 10, 32); err == nil {
			*to = time.Duration(millis) * time.Millisecond
		}
	}
	return session, interval
}

// groupRules are those for the configs of a group.
type groupRules struct{ broker *Broker }

func (r groupRules) key(name string) (groupKey, error) {
	for _, key := range r.broker.groupKeys() {
		if key.name == name {
			return key, nil
		}
	}
	return groupKey{}, fmt.Errorf("%w: unknown key %q of a group; there are %s and %s", topic.ErrInvalidConfig, name,
		configConsumerInterval, configConsumerSession)
}

func (r groupRules) find(name string) (kmsg.ConfigType, string, error) {
	_, err := r.key(name)
	return kmsg.ConfigTypeInt, "", err
}

func (r groupRules) judge(name, value string) (bool, error) {
	key, err := r.key(name)
	if err != nil {
		return false, err
	}
	millis, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		return false, fmt.Errorf("%w: %s=%s: want a number of milliseconds", topic.ErrInvalidConfig, name, value)
	}
	if asked := time.Duration(millis) * time.Millisecond; asked < key.within.Min || asked > key.within.Max {
		return false, fmt.Errorf("%w: %s=%s: want %d to %d", topic.ErrInvalidConfig, name, value,
			key.within.Min.Milliseconds(), key.within.Max.Milliseconds())
	}
	return true, nil
}

// consistent wants a member to be told to beat more often than it may be silent.
func (r groupRules) consistent(set map[string]string) error {
	session, interval := r.broker.consumerTimesOf(set)
	if interval >= session {
		return fmt.Errorf("%w: %s (%d) is not below %s (%d)", topic.ErrInvalidConfig, configConsumerInterval,
			interval.Milliseconds(), configConsumerSession, session.Milliseconds())
	}
	return nil
}
