package cluster

import (
	"cmp"
	"maps"
	"math"
	"strconv"
	"strings"

	"outrigger/broker/topic"
)

// configured is what was set for one resource that is no topic; a topic carries its own. It stays when
// nothing is set any more, since its epoch may not start again.
type configured struct {
	kind topic.ConfigKind
	name string
	set  topic.ConfigSet
}

func orderConfigured(kind topic.ConfigKind, name string) func(configured) int {
	return func(c configured) int {
		return cmp.Or(cmp.Compare(c.kind, kind), strings.Compare(c.name, name))
	}
}

// Configs is what was set for a resource that is no topic; its values must not be changed.
func (im *Image) Configs(kind topic.ConfigKind, name string) topic.ConfigSet {
	c, _ := im.configs.get(orderConfigured(kind, name))
	return c.set
}

// apply changes configs one resource at a time; a later item sees the earlier ones.
func (c AlterConfigs) apply(b *Batch) Result {
	items := make([]Status, len(c.Changes))
	for i := range c.Changes {
		items[i] = b.alterConfigs(&c.Changes[i])
	}
	return Result{Items: items}
}

func (b *Batch) alterConfigs(c *topic.ConfigChange) Status {
	switch c.Kind {
	case topic.TopicConfigs:
		return b.alterTopicConfigs(c)
	case topic.BrokerConfigs:
		return b.alterBrokerConfigs(c)
	case topic.GroupConfigs:
		return b.alterGroupConfigs(c)
	default:
		return Refused
	}
}

// alterTopicConfigs: a lower minimum lets high watermarks move without eligible members, so they are
// forgotten in the same record; a topic that begins to allow unclean election elects at once where
// nobody leads.
func (b *Batch) alterTopicConfigs(c *topic.ConfigChange) Status {
	t, found := b.im.TopicByID(c.ID)
	if !found {
		return Unknown
	}
	before := topic.ConfigSet{Values: t.Configs, Epoch: t.ConfigEpoch}
	if status, decided := compareConfigs(before, c); decided {
		return status
	}
	configs, status := checkedConfigs(c.Values)
	if status != OK {
		return status
	}
	t = b.editable(t)
	t.Configs = configs
	t.ConfigEpoch++
	for i, p := range t.Partitions {
		if next := b.succeed(t, p, p.ISR, unchanged); next != nil {
			t.Partitions[i] = next
		}
	}
	return OK
}

// alterBrokerConfigs: what topics inherit is one thing for the whole cluster, and no broker's own.
func (b *Batch) alterBrokerConfigs(c *topic.ConfigChange) Status {
	if c.Name != "" {
		node, err := strconv.ParseInt(c.Name, 10, 32)
		if _, known := b.im.Broker(topic.NodeID(node)); err != nil || !known ||
			c.Name != strconv.FormatInt(node, 10) {
			return Unknown
		}
		if !inheritsNothing(c.Values) {
			return InvalidConfig
		}
	}
	before := b.im.Configs(c.Kind, c.Name)
	if status, decided := compareConfigs(before, c); decided {
		return status
	}
	configs, status := checkedConfigs(c.Values)
	if status != OK {
		return status
	}
	after := configured{c.Kind, c.Name, topic.ConfigSet{Values: configs, Epoch: before.Epoch + 1}}
	b.im.configs = b.im.configs.with(after, orderConfigured(c.Kind, c.Name))
	b.inherit()
	return OK
}

// groupConfigsMax is how many groups may have configs of their own: anybody can name groups, and what was
// set once keeps its epoch.
const groupConfigsMax = 10_000

// alterGroupConfigs: they mean nothing to the image.
func (b *Batch) alterGroupConfigs(c *topic.ConfigChange) Status {
	if c.Name == "" {
		return Refused
	}
	before := b.im.Configs(c.Kind, c.Name)
	if status, decided := compareConfigs(before, c); decided {
		return status
	}
	if before.Epoch == 0 && len(b.im.Configured(c.Kind)) >= groupConfigsMax {
		return InvalidConfig
	}
	after := configured{c.Kind, c.Name, topic.ConfigSet{Values: maps.Clone(c.Values), Epoch: before.Epoch + 1}}
	b.im.configs = b.im.configs.with(after, orderConfigured(c.Kind, c.Name))
	return OK
}

// Configured names the resources of a kind for which something is, or was, set, sorted.
func (im *Image) Configured(kind topic.ConfigKind) []string {
	var names []string
	for c := range im.configs.all() {
		if c.kind == kind {
			names = append(names, c.name)
		}
	}
	return names
}

// forgetConfigs unsets what was set for a broker that is gone.
func (b *Batch) forgetConfigs(node topic.NodeID) {
	name := strconv.FormatInt(int64(node), 10)
	before := b.im.Configs(topic.BrokerConfigs, name)
	if len(before.Values) == 0 {
		return
	}
	after := configured{topic.BrokerConfigs, name, topic.ConfigSet{Epoch: before.Epoch + 1}}
	b.im.configs = b.im.configs.with(after, orderConfigured(topic.BrokerConfigs, name))
}

// Draining reports whether a broker is told to give up what it holds: it gets no new replicas.
func (im *Image) Draining(node topic.NodeID) bool {
	if im.configs.count == 0 {
		return false
	}
	set := im.Configs(topic.BrokerConfigs, strconv.FormatInt(int64(node), 10))
	return strings.EqualFold(set.Values[ConfigDraining], "true")
}

// compareConfigs decides a change that asks for nothing new, or that was derived from other configs
// than the present ones.
func compareConfigs(before topic.ConfigSet, c *topic.ConfigChange) (status Status, decided bool) {
	switch {
	case maps.Equal(before.Values, c.Values):
		return OK, true
	case c.Epoch != topic.AnyEpoch && c.Epoch != before.Epoch || before.Epoch == math.MaxInt32:
		return Stale, true
	}
	return OK, false
}

func inheritsNothing(values map[string]string) bool {
	_, minimum := values[ConfigMinInSync]
	_, unclean := values[ConfigUncleanElection]
	return !minimum && !unclean
}

// inherit works out again what topics inherit, with all its consequences for partitions.
func (b *Batch) inherit() {
	before := b.im.inherited
	if b.im.inherit(); b.im.inherited == before {
		return
	}
	b.sweep(func(t *topic.Topic, p *topic.Placement) *topic.Placement {
		return b.succeed(t, p, p.ISR, unchanged)
	})
}

// inherit works out what topics inherit: what all brokers were told while they run, else the
// defaults.
func (im *Image) inherit() {
	told := im.Configs(topic.BrokerConfigs, "").Values
	im.inherited = SetDefaults{
		MinInSync:       int32(minInSync(im.defaults, told, math.MaxInt32)),
		UncleanElection: uncleanAllowed(im.defaults, told),
	}
}

// checkedConfigs copies configs after checking those that the image must understand. All others are
// the broker's to refuse: it knows which ones it honours.
func checkedConfigs(configs map[string]string) (map[string]string, Status) {
	if text, set := configs[ConfigMinInSync]; set {
		if n, err := strconv.ParseInt(text, 10, 32); err != nil || n < 1 {
			return nil, InvalidConfig
		}
	}
	if text, set := configs[ConfigUncleanElection]; set &&
		!strings.EqualFold(text, "true") && !strings.EqualFold(text, "false") {
		return nil, InvalidConfig
	}
	if len(configs) == 0 {
		return nil, OK
	}
	return maps.Clone(configs), OK
}

// checkConfigs proves that the index is in order, and that what topics inherit follows from it.
func (im *Image) checkConfigs() error {
	var last configured
	for c := range im.configs.all() {
		if orderConfigured(last.kind, last.name)(c) <= 0 || c.set.Epoch < 1 {
			return broken("configs of %d %q at epoch %d after those of %d %q",
				c.kind, c.name, c.set.Epoch, last.kind, last.name)
		}
		last = c
	}
	again := *im
	if again.inherit(); again.inherited != im.inherited {
		return broken("topics inherit %+v, want %+v", im.inherited, again.inherited)
	}
	return nil
}

// checkConfigsAfter proves that configs change only with their epoch, and that it does not go back.
func (im *Image) checkConfigsAfter(earlier *Image) error {
	for c := range earlier.configs.all() {
		if err := checkConfigSets(c.set, im.Configs(c.kind, c.name)); err != nil {
			return err
		}
	}
	for t := range earlier.All() {
		if now, found := im.TopicByID(t.ID); found && now != t {
			err := checkConfigSets(topic.ConfigSet{Values: t.Configs, Epoch: t.ConfigEpoch},
				topic.ConfigSet{Values: now.Configs, Epoch: now.ConfigEpoch})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func checkConfigSets(before, after topic.ConfigSet) error {
	same := maps.Equal(before.Values, after.Values)
	if after.Epoch < before.Epoch || after.Epoch == before.Epoch && !same {
		return broken("configs %v at epoch %d after %v at %d",
			after.Values, after.Epoch, before.Values, before.Epoch)
	}
	return nil
}

// Least encoded sizes.
const (
	configChangeBytesMin = 20 // kind, id, name, epoch, configs
	configuredBytesMin   = 4
)

func (c AlterConfigs) append(w *writer) {
	w.uvarint(uint64(len(c.Changes)))
	for i := range c.Changes {
		change := &c.Changes[i]
		w.u8(uint8(change.Kind))
		w.raw(change.ID[:])
		w.string(change.Name)
		w.varint(int64(change.Epoch))
		w.strings(change.Values)
	}
}

func (r *reader) configChange() topic.ConfigChange {
	return topic.ConfigChange{
		Kind: topic.ConfigKind(r.u8()), ID: r.topicID(), Name: r.string(), Epoch: r.i32(),
		Values: r.strings(),
	}
}

func (w *writer) configured(c configured) {
	w.u8(uint8(c.kind))
	w.string(c.name)
	w.varint(int64(c.set.Epoch))
	w.strings(c.set.Values)
}

func (r *reader) configured() configured {
	c := configured{kind: topic.ConfigKind(r.u8()), name: r.string()}
	c.set = topic.ConfigSet{Epoch: r.i32(), Values: r.strings()}
	return c
}
