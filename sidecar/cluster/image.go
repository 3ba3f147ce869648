package cluster

import (
	"bytes"
	"iter"
	"math"
	"sort"
	"strings"

	"outrigger/broker/topic"
)

// Bounds of the image.
const (
	// TombstonesMax is how many deleted topics are remembered: 320 KiB of an encoded image.
	TombstonesMax = 16384
	// PartitionsMax bounds the partitions of one topic.
	PartitionsMax = 10000
	// ProducerIDBlock is how many producer ids one AllocateProducerIDs hands out.
	ProducerIDBlock = 1000
	// ReasonBytesMax bounds FenceBroker.Reason.
	ReasonBytesMax = 256
	// VotersMax bounds the voters of the metadata Raft.
	VotersMax = 15
	// retiredMax is how many ended sessions of a node are remembered.
	retiredMax = 8
)

// Configs of a topic that the image itself must understand.
const (
	// ConfigMinInSync is the least number of in-sync replicas for acks=all.
	ConfigMinInSync = "min.insync.replicas"
	// ConfigUncleanElection lets a replica lead that is not known to hold everything.
	ConfigUncleanElection = "unclean.leader.election.enable"
	// ConfigMessageBytes is the largest batch that a topic takes.
	ConfigMessageBytes = "max.message.bytes"
	// ConfigDraining is set for a broker that shall hold no replicas any more.
	ConfigDraining = "broker.draining"
)

// Image is one state of the cluster. It is immutable.
type Image struct {
	// applied is the Raft index of the last command in the image.
	applied   uint64
	level     uint16
	clusterID string
	defaults  SetDefaults
	// inherited is what topics inherit: the defaults, unless brokers were told otherwise while they
	// run. It follows from the two and is not written.
	inherited SetDefaults
	// nextProducerID is the first id of the next block.
	nextProducerID int64
	// placed counts the partitions ever placed by us: the slot where placement goes on.
	placed int64
	// buried counts the topics ever deleted: the order of the next tombstone.
	buried uint64

	// brokers is sorted by node id. Clusters have few, so an edit copies them all.
	brokers []registration

	// byID and byName hold the same topics. folded holds the names that have a '.' or '_', by their
	// fold, to find collisions.
	byID   sorted[*topic.Topic]
	byName sorted[*topic.Topic]
	folded sorted[string]

	// tombstones and burials hold the same deletions, by topic id and by age.
	tombstones sorted[tombstone]
	burials    sorted[tombstone]

	// voters are those that shall vote in the metadata Raft, nil while the configuration says who does.
	voters []topic.NodeID

	// configs are what was set for other resources than topics while the cluster runs.
	configs sorted[configured]

	// mutant is a bug put in on purpose; production has none.
	mutant Mutant
}

// registration is a broker and the sessions it ended, oldest first.
type registration struct {
	broker  topic.Broker
	retired []topic.Session
}

// tombstone remembers a deleted topic by the order of deletion.
type tombstone struct {
	id    topic.ID
	order uint64
}

// Empty is the image before the first command. Until SetDefaults, topics inherit a minimum of two
// in-sync replicas: whoever forgets to set it gets the safe one.
func Empty() *Image {
	safe := SetDefaults{MinInSync: 2}
	return &Image{level: 1, defaults: safe, inherited: safe}
}

// AppliedIndex is the Raft index up to which the image is complete.
func (im *Image) AppliedIndex() uint64 { return im.applied }

// Level is the finalized format level.
func (im *Image) Level() uint16 { return im.level }

// ClusterID is empty until one is set.
func (im *Image) ClusterID() string { return im.clusterID }

// Defaults is what the controller's configuration lets topics inherit.
func (im *Image) Defaults() SetDefaults { return im.defaults }

// Inherited is what topics do inherit.
func (im *Image) Inherited() SetDefaults { return im.inherited }

// Broker returns a registered broker, fenced or live.
func (im *Image) Broker(node topic.NodeID) (topic.Broker, bool) {
	if i, found := im.broker(node); found {
		return im.brokers[i].broker, true
	}
	return topic.Broker{}, false
}

// Brokers returns the live brokers, by id.
func (im *Image) Brokers() []topic.Broker {
	live := make([]topic.Broker, 0, len(im.brokers))
	for i := range im.brokers {
		if !im.brokers[i].broker.Fenced {
			live = append(live, im.brokers[i].broker)
		}
	}
	return live
}

// Registered returns all brokers, by id, the fenced among them.
func (im *Image) Registered() []topic.Broker {
	all := make([]topic.Broker, 0, len(im.brokers))
	for i := range im.brokers {
		all = append(all, im.brokers[i].broker)
	}
	return all
}

// Live reports whether m is a registered, unfenced broker in its present session.
func (im *Image) Live(m topic.Member) bool {
	i, found := im.broker(m.Node)
	return found && !im.brokers[i].broker.Fenced && im.brokers[i].broker.Session == m.Session
}

// TopicByName returns a topic; it must not be changed.
func (im *Image) TopicByName(name string) (*topic.Topic, bool) {
	return im.byName.get(orderName(name))
}

// TopicByID returns a topic; it must not be changed.
func (im *Image) TopicByID(id topic.ID) (*topic.Topic, bool) {
	return im.byID.get(orderID(id))
}

// Topics returns all topics by name in a fresh slice.
func (im *Image) Topics() []*topic.Topic {
	topics := make([]*topic.Topic, 0, im.byName.count)
	for t := range im.byName.all() {
		topics = append(topics, t)
	}
	return topics
}

// TopicCount is the number of topics.
func (im *Image) TopicCount() int { return im.byName.count }

// All walks the topics by name without making a slice.
func (im *Image) All() iter.Seq[*topic.Topic] { return im.byName.all() }

// Partition returns the placement of one partition; it must not be changed.
func (im *Image) Partition(p topic.Partition) (*topic.Placement, bool) {
	t, found := im.TopicByID(p.Topic)
	if !found || p.Index < 0 || int(p.Index) >= len(t.Partitions) {
		return nil, false
	}
	return t.Partitions[p.Index], true
}

// Deleted reports whether a committed command deleted the topic. False also means "too long ago to
// know" and "never existed".
func (im *Image) Deleted(id topic.ID) bool {
	_, found := im.tombstones.get(orderTombstone(id))
	return found
}

// MinInSync is the effective minimum of in-sync replicas of a partition: what its topic or the cluster
// configures, but never more than its replication factor (see topic.Placement.Factor).
func (im *Image) MinInSync(t *topic.Topic, p *topic.Placement) int {
	return minInSync(im.inherited, t.Configs, p.Factor())
}

// MinInSyncWanted is what the topic or the cluster configures, whatever the replication factor.
func (im *Image) MinInSyncWanted(t *topic.Topic) int {
	return minInSync(im.inherited, t.Configs, math.MaxInt32)
}

// broker returns the place of a node in brokers, or the place where it belongs.
func (im *Image) broker(node topic.NodeID) (int, bool) {
	i := sort.Search(len(im.brokers), func(i int) bool { return im.brokers[i].broker.ID >= node })
	return i, i < len(im.brokers) && im.brokers[i].broker.ID == node
}

func orderName(name string) func(*topic.Topic) int {
	return func(t *topic.Topic) int { return strings.Compare(t.Name, name) }
}

func orderID(id topic.ID) func(*topic.Topic) int {
	return func(t *topic.Topic) int { return bytes.Compare(t.ID[:], id[:]) }
}

func orderTombstone(id topic.ID) func(tombstone) int {
	return func(s tombstone) int { return bytes.Compare(s.id[:], id[:]) }
}

func orderBurial(order uint64) func(tombstone) int {
	return func(s tombstone) int {
		switch {
		case s.order < order:
			return -1
		case s.order > order:
			return 1
		}
		return 0
	}
}

// fold is the name under which Kafka's metrics would know a topic: dots are underscores there, so
// two topics of one fold would share their metrics, and the second is refused.
func fold(name string) string { return strings.ReplaceAll(name, ".", "_") }

// collides reports whether a name can share its fold with another.
func collides(name string) bool { return strings.ContainsAny(name, "._") }

func orderFold(name string) func(string) int {
	folded := fold(name)
	return func(s string) int { return strings.Compare(fold(s), folded) }
}
