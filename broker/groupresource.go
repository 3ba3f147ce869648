package broker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// The configs that a group may have of its own (those of streams groups come with such groups).
const (
	configLetterQueue      = "errors.deadletterqueue.topic.name"
	configLetterCopies     = "errors.deadletterqueue.copy.record.enable"
	configConsumerAssign   = "consumer.assignment.interval.ms"
	configShareAssign      = "share.assignment.interval.ms"
	configConsumerSession  = "consumer.session.timeout.ms"
	configConsumerInterval = "consumer.heartbeat.interval.ms"
	configShareSession     = "share.session.timeout.ms"
	configShareInterval    = "share.heartbeat.interval.ms"
	configShareLock        = "share.record.lock.duration.ms"
	configShareDeliveries  = "share.delivery.count.limit"
	configShareHeld        = "share.partition.max.record.locks"
	configShareReset       = "share.auto.offset.reset"
	configShareIsolation   = "share.isolation.level"
	configShareRenew       = "share.renew.acknowledge.enable"
)

// groupKey is one config of groups.
type groupKey struct {
	name, about string
	kind        kmsg.ConfigType
	// inherited is what holds where the group has none, from the broker's config that has it; a key that no
	// broker has is its own.
	inherited, from string
	// judge says what a value must be, nothing if it is good.
	judge func(value string) (want string)
}

// timeKey is a time within a span, numberKey a number.
func timeKey(name, from, about string, inherited time.Duration, within Span) groupKey {
	return numberKey(name, from, about, inherited.Milliseconds(), within.Min.Milliseconds(), within.Max.Milliseconds())
}

func numberKey(name, from, about string, inherited, least, most int64) groupKey {
	return groupKey{
		name: name, about: about, kind: kmsg.ConfigTypeInt, inherited: strconv.FormatInt(inherited, 10), from: from,
		judge: func(value string) string {
			if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < least || n > most {
				return fmt.Sprintf("a number from %d to %d", least, most)
			}
			return ""
		},
	}
}

// choiceKey is one of some words.
func choiceKey(name, about string, kind kmsg.ConfigType, words ...string) groupKey {
	return groupKey{
		name: name, about: about, kind: kind, inherited: words[0], from: name,
		judge: func(value string) string {
			if slices.Contains(words, value) {
				return ""
			}
			return strings.Join(words, " or ")
		},
	}
}

// groupKeys are sorted by name.
func (b *Broker) groupKeys() []groupKey {
	g, s := &b.config.Groups, &b.config.Shares
	reset := choiceKey(configShareReset, "Where the group begins in a partition: latest, earliest or by_duration:PnDTnHnMnS.",
		kmsg.ConfigTypeString, resetLatest)
	reset.judge = func(value string) string {
		if _, err := parseReset(value); err != nil {
			return "earliest, latest or by_duration:<ISO 8601 duration>"
		}
		return ""
	}
	const assigns = "How long after a division of the group's partitions the next one may come."
	keys := []groupKey{
		timeKey(configConsumerAssign, "group.consumer.assignment.interval.ms", assigns, g.ConsumerAssign, g.ConsumerAssigns),
		timeKey(configConsumerInterval, "group.consumer.heartbeat.interval.ms", "How often the group's members are told to beat.",
			g.ConsumerInterval, g.ConsumerIntervals),
		timeKey(configConsumerSession, "group.consumer.session.timeout.ms",
			"After how much silence a member of the group is taken out.", g.ConsumerSession, g.ConsumerSessions),
		timeKey(configShareAssign, "group.share.assignment.interval.ms", assigns, s.Assign, s.Assigns),
		reset,
		numberKey(configShareDeliveries, "group.share.delivery.count.limit",
			"How often a record is given to members before it is archived.", int64(s.Deliveries), int64(s.DeliveriesMin),
			int64(s.DeliveriesMax)),
		timeKey(configShareInterval, "group.share.heartbeat.interval.ms", "How often the share group's members are told to beat.",
			s.Interval, s.Intervals),
		choiceKey(configShareIsolation, "Whether records of aborted transactions are given.", kmsg.ConfigTypeString,
			isolationUncommitted, isolationCommitted),
		numberKey(configShareHeld, "group.share.partition.max.record.locks",
			"How far beyond the first record that is not done the records of a partition are given.", int64(s.Held),
			int64(s.HeldMin), int64(s.HeldMax)),
		timeKey(configShareLock, "group.share.record.lock.duration.ms", "How long a member may take over a record.", s.Lock, s.Locks),
		choiceKey(configShareRenew, "Whether members may ask for more time.", kmsg.ConfigTypeBoolean, "true", "false"),
		timeKey(configShareSession, "group.share.session.timeout.ms",
			"After how much silence a member of the share group is taken out.", s.Session, s.Sessions),
		choiceKey(configLetterCopies, "Whether a dead letter holds the record itself, or tells of it only.", kmsg.ConfigTypeBoolean,
			"false", "true"),
		{
			name: configLetterQueue, from: configLetterQueue, kind: kmsg.ConfigTypeString,
			about: "The topic that the group's dead letters are written to; none if empty.",
			judge: func(value string) string { return judgeLetterQueue(value, s.LetterPrefix) },
		},
	}
	slices.SortFunc(keys, func(a, b groupKey) int { return strings.Compare(a.name, b.name) })
	return keys
}

// judgeLetterQueue wants what can be the name of a topic of dead letters: Kafka takes nearly anything, and loses
// the letters when they come.
func judgeLetterQueue(name, prefix string) (want string) {
	switch {
	case name == "":
		return ""
	case topic.ValidateName(name) != nil:
		return "the name of a topic"
	case strings.HasPrefix(name, "__"):
		return "a name that does not begin with __"
	case !strings.HasPrefix(name, prefix):
		return fmt.Sprintf("a name that begins with %q, as %s asks for", prefix, configLetterPrefix)
	}
	return ""
}

// groupConfigs are the configs of a group as they are in force, whether or not it exists.
func (b *Broker) groupConfigs(view View, name string) []resourceConfig {
	set := view.Configs(topic.GroupConfigs, name).Values
	var configs []resourceConfig
	for _, key := range b.groupKeys() {
		var c resourceConfig
		c.name, c.kind, c.about = key.name, key.kind, key.about
		c.value, c.source = key.inherited, kmsg.ConfigSourceDefaultConfig
		c.synonyms = []configSynonym{{key.from, c.value, c.source}}
		if value, own := set[key.name]; own {
			c.value, c.source = value, kmsg.ConfigSourceGroupConfig
			c.synonyms = append([]configSynonym{{key.name, value, c.source}}, c.synonyms...)
		}
		configs = append(configs, c)
	}
	return configs
}

// millisIn is a time that a group has set, or the one that it inherits. What is stored was judged when it
// was set.
func millisIn(set map[string]string, key string, inherited time.Duration) time.Duration {
	return time.Duration(numberIn(set, key, inherited.Milliseconds())) * time.Millisecond
}

func numberIn(set map[string]string, key string, inherited int64) int64 {
	if n, err := strconv.ParseInt(set[key], 10, 32); err == nil {
		return n
	}
	return inherited
}

// consumerTimes are the session timeout and the heartbeat interval of a group.
func (b *Broker) consumerTimes(view View, name string) (session, interval time.Duration) {
	return b.consumerTimesOf(view.Configs(topic.GroupConfigs, name).Values)
}

func (b *Broker) consumerTimesOf(set map[string]string) (session, interval time.Duration) {
	return millisIn(set, configConsumerSession, b.config.Groups.ConsumerSession),
		millisIn(set, configConsumerInterval, b.config.Groups.ConsumerInterval)
}

// groupRules are those for the configs of a group.
type groupRules struct{ broker *Broker }

func (r groupRules) key(name string) (groupKey, error) {
	var names []string
	for _, key := range r.broker.groupKeys() {
		if key.name == name {
			return key, nil
		}
		names = append(names, key.name)
	}
	return groupKey{}, fmt.Errorf("%w: unknown key %q of a group; there are %s", topic.ErrInvalidConfig, name,
		strings.Join(names, ", "))
}

func (r groupRules) find(name string) (kmsg.ConfigType, string, error) {
	key, err := r.key(name)
	return key.kind, "", err
}

func (r groupRules) judge(name, value string) (bool, error) {
	key, err := r.key(name)
	if err != nil {
		return false, err
	}
	if want := key.judge(value); want != "" {
		return false, fmt.Errorf("%w: %s=%s: want %s", topic.ErrInvalidConfig, name, value, want)
	}
	return true, nil
}

// consistent wants a member to be told to beat more often than it may be silent.
func (r groupRules) consistent(set map[string]string) error {
	session, interval := r.broker.consumerTimesOf(set)
	shares := r.broker.shareSettingsOf(set)
	for _, times := range []struct {
		interval, session             string
		intervalMillis, sessionMillis int64
	}{
		{configConsumerInterval, configConsumerSession, interval.Milliseconds(), session.Milliseconds()},
		{configShareInterval, configShareSession, shares.interval.Milliseconds(), shares.session.Milliseconds()},
	} {
		if times.intervalMillis >= times.sessionMillis {
			return fmt.Errorf("%w: %s (%d) is not below %s (%d)", topic.ErrInvalidConfig, times.interval, times.intervalMillis,
				times.session, times.sessionMillis)
		}
	}
	return nil
}
