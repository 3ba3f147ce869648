package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// soleCluster is a cluster of this node alone: it leads every partition that it holds a replica of,
// and what is durable is committed. It takes the sidecar's place in the tests.
type soleCluster struct {
	node  topic.NodeID
	store *partition.Store
	nextP atomic.Int64
	// held, while set, keeps high watermarks where they are: no follower acknowledges.
	held atomic.Bool
	// broken, when set, is what becomes of every change of the cluster.
	broken atomic.Pointer[error]
	// stuck, while set, has changes of levels wait until their time is up.
	stuck atomic.Bool
	// late, when set, is a change elsewhere of which this node has not heard.
	late atomic.Pointer[func(*soleView)]
	// rival, when set, is a change of configs that comes just before the next one.
	rival atomic.Pointer[topic.ConfigChange]
	// moves is how many reassignments another change comes before.
	moves atomic.Int64
	// calls of CreateTopics.
	created atomic.Int64

	mu      sync.Mutex
	view    *soleView
	changed chan struct{}
}

func newSoleCluster(node topic.NodeID) *soleCluster {
	return &soleCluster{
		node: node, changed: make(chan struct{}),
		view: &soleView{id: "AAAAAAAAAAAAAAAAAAAAAA", controller: node, level: topic.TerseLevel},
	}
}

// publish replaces the view by what edit makes of a copy.
func (c *soleCluster) publish(edit func(*soleView)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &soleView{
		id: c.view.id, controller: c.view.controller, brokers: slices.Clone(c.view.brokers),
		topics: slices.Clone(c.view.topics), configs: maps.Clone(c.view.configs), voters: c.view.voters,
		level: c.view.level,
	}
	edit(next)
	c.view = next
	close(c.changed)
	c.changed = make(chan struct{})
}

// addBroker registers a live broker.
func (c *soleCluster) addBroker(b topic.Broker) {
	c.publish(func(v *soleView) { v.brokers = append(v.brokers, b) })
}

// Sealed implements partition.Observer.
func (c *soleCluster) Sealed([]partition.Entry) {}

// Durable implements partition.Observer: with one replica, durable is committed.
func (c *soleCluster) Durable(ends []partition.DurableEnd) {
	if c.held.Load() {
		return
	}
	for _, end := range ends {
		if log := c.store.Log(end.Partition); log != nil {
			log.SetHighWatermark(end.DurableEnd)
			log.SetLowWatermark(log.State().StartDurable)
		}
	}
}

// hold stops commits, release lets them go on and catches up.
func (c *soleCluster) hold() { c.held.Store(true) }

func (c *soleCluster) release() {
	c.held.Store(false)
	for _, p := range c.store.Partitions() {
		log := c.store.Log(p)
		log.SetHighWatermark(log.State().DurableEnd)
		log.SetLowWatermark(log.State().StartDurable)
	}
}

// View implements Cluster.
func (c *soleCluster) View() View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

// Changed implements Cluster.
func (c *soleCluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// Fresh implements Cluster.
func (c *soleCluster) Fresh(context.Context) error {
	if broken := c.broken.Load(); broken != nil {
		return *broken
	}
	if late := c.late.Swap(nil); late != nil {
		c.publish(*late)
	}
	return nil
}

// CreateTopics implements Cluster.
func (c *soleCluster) CreateTopics(_ context.Context, creations []topic.Creation) []error {
	c.created.Add(1)
	errs := make([]error, len(creations))
	for i, creation := range creations {
		errs[i] = c.create(creation)
	}
	return errs
}

func (c *soleCluster) create(creation topic.Creation) (err error) {
	if broken := c.broken.Load(); broken != nil {
		return *broken
	}
	c.publish(func(v *soleView) {
		if known, ok := v.TopicByName(creation.Name); ok {
			if known.ID != creation.ID {
				err = fmt.Errorf("%w: %s", topic.ErrNameTaken, creation.Name)
			}
			return
		}
		t := &topic.Topic{
			ID: creation.ID, Name: creation.Name, Configs: creation.Configs, Internal: creation.Internal,
		}
		for range creation.Partitions {
			t.Partitions = append(t.Partitions, c.lead(t))
		}
		at, _ := slices.BinarySearchFunc(v.topics, t, byName)
		v.topics = slices.Insert(v.topics, at, t)
	})
	return err
}

// lead opens the next partition of t here, as its leader.
func (c *soleCluster) lead(t *topic.Topic) *topic.Placement {
	log := c.store.Create(topic.Partition{Topic: t.ID, Index: int32(len(t.Partitions))})
	log.Assume(leading(0))
	return &topic.Placement{
		Replicas: []topic.NodeID{c.node}, ISR: []topic.Member{{Node: c.node, Session: 1}},
		Leader: c.node, LeaderSession: 1,
	}
}

func leading(epoch topic.Epoch) partition.Role {
	return partition.Role{Leading: true, Epoch: epoch, AcceptAll: true, AcceptOne: true, Ready: true}
}

// DeleteTopics implements Cluster.
func (c *soleCluster) DeleteTopics(_ context.Context, ids []topic.ID) []error {
	errs := make([]error, len(ids))
	for i, id := range ids {
		errs[i] = topic.ErrUnknown
		if broken := c.broken.Load(); broken != nil {
			errs[i] = *broken
			continue
		}
		c.publish(func(v *soleView) {
			v.topics = slices.DeleteFunc(v.topics, func(t *topic.Topic) bool {
				if t.ID != id {
					return false
				}
				errs[i] = nil
				for p := range t.Partitions {
					errs[i] = c.store.Remove(topic.Partition{Topic: id, Index: int32(p)})
				}
				return true
			})
		})
	}
	return errs
}

// CreatePartitions implements Cluster.
func (c *soleCluster) CreatePartitions(_ context.Context, growths []topic.Growth) []error {
	errs := make([]error, len(growths))
	for i, growth := range growths {
		errs[i] = topic.ErrUnknown
		c.publish(func(v *soleView) {
			for at, t := range v.topics {
				if t.ID != growth.ID {
					continue
				}
				grown := *t
				grown.Partitions = slices.Clone(t.Partitions)
				for int32(len(grown.Partitions)) < growth.Total {
					grown.Partitions = append(grown.Partitions, c.lead(&grown))
				}
				v.topics[at], errs[i] = &grown, nil
			}
		})
	}
	return errs
}

// AlterConfigs implements Cluster.
func (c *soleCluster) AlterConfigs(_ context.Context, changes []topic.ConfigChange) []error {
	errs := make([]error, len(changes))
	for i, change := range changes {
		errs[i] = c.alterConfigs(change)
	}
	return errs
}

func (c *soleCluster) alterConfigs(change topic.ConfigChange) error {
	if broken := c.broken.Load(); broken != nil {
		return *broken
	}
	if rival := c.rival.Swap(nil); rival != nil {
		if err := c.alterConfigs(*rival); err != nil {
			return err
		}
	}
	err := topic.ErrStale
	c.publish(func(v *soleView) {
		if change.Kind != topic.TopicConfigs {
			resource := configured{change.Kind, change.Name}
			if set := v.configs[resource]; set.Epoch == change.Epoch {
				if v.configs == nil {
					v.configs = map[configured]topic.ConfigSet{}
				}
				v.configs[resource], err = topic.ConfigSet{Values: change.Values, Epoch: set.Epoch + 1}, nil
			}
			return
		}
		for at, t := range v.topics {
			if t.ID == change.ID && t.ConfigEpoch == change.Epoch {
				altered := *t
				altered.Configs, altered.ConfigEpoch = change.Values, t.ConfigEpoch+1
				v.topics[at], err = &altered, nil
			}
		}
	})
	return err
}

// ElectLeaders implements Cluster: whoever is first leads.
func (c *soleCluster) ElectLeaders(_ context.Context, _ bool, elections []topic.Election) []error {
	errs := make([]error, len(elections))
	for i, e := range elections {
		errs[i] = topic.ErrUnknown
		c.publish(func(v *soleView) {
			for at, t := range v.topics {
				if t.ID != e.Partition.Topic {
					continue
				}
				moved := *t
				moved.Partitions = slices.Clone(t.Partitions)
				placement := *moved.Partitions[e.Partition.Index]
				placement.Leader = placement.Replicas[0]
				moved.Partitions[e.Partition.Index] = &placement
				v.topics[at], errs[i] = &moved, nil
			}
		})
	}
	return errs
}

// Reassign implements Cluster: by compare-and-set, and without checks.
func (c *soleCluster) Reassign(_ context.Context, items []topic.Reassignment) []error {
	errs := make([]error, len(items))
	for i, item := range items {
		errs[i] = topic.ErrStale
		c.publish(func(v *soleView) {
			for at, t := range v.topics {
				if t.ID != item.Partition.Topic || t.Partitions[item.Partition.Index].PartitionEpoch != item.PartitionEpoch {
					continue
				}
				moved := *t
				moved.Partitions = slices.Clone(t.Partitions)
				placement := *moved.Partitions[item.Partition.Index]
				placement.PartitionEpoch++
				if item.Target == nil {
					placement.Replicas, placement.Origin, placement.Target = placement.Origin, nil, nil
				} else {
					placement.Origin, placement.Target = placement.Replicas, item.Target
				}
				moved.Partitions[item.Partition.Index] = &placement
				v.topics[at], errs[i] = &moved, nil
			}
		})
		if rival := c.moves.Add(-1); rival >= 0 {
			errs[i] = topic.ErrStale
		}
	}
	return errs
}

// UnregisterBroker implements Cluster: live brokers stay.
func (c *soleCluster) UnregisterBroker(_ context.Context, node topic.NodeID) (err error) {
	c.publish(func(v *soleView) {
		v.brokers = slices.DeleteFunc(v.brokers, func(b topic.Broker) bool {
			if b.ID == node && !b.Fenced {
				err = topic.ErrInUse
			}
			return b.ID == node && b.Fenced
		})
	})
	return err
}

// SetVoters implements Cluster.
func (c *soleCluster) SetVoters(_ context.Context, change topic.VoterChange) (err error) {
	c.publish(func(v *soleView) {
		if err = topic.ErrStale; slices.Equal(v.voters, change.Before) {
			v.voters, err = change.After, nil
		}
	})
	return err
}

// Quorum implements Cluster.
func (c *soleCluster) Quorum(context.Context) (topic.Quorum, error) {
	if broken := c.broken.Load(); broken != nil {
		return topic.Quorum{}, *broken
	}
	return topic.Quorum{
		Leader: c.node, Term: 3, Commit: 9,
		Voters:   []topic.QuorumReplica{{Node: c.node, Disk: topic.DiskID{1}, LastIndex: 9, CaughtUp: true}},
		Learners: []topic.QuorumReplica{{Node: 7}, {Node: 8, LastIndex: 5, SilentMillis: 60_000}},
	}, nil
}

// FinalizeLevel implements Cluster: there is nobody who could lack a level.
func (c *soleCluster) FinalizeLevel(ctx context.Context, level uint16) error {
	if c.stuck.Load() {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", topic.ErrOutcomeUnknown, ctx.Err())
	}
	if broken := c.broken.Load(); broken != nil {
		return *broken
	}
	c.publish(func(v *soleView) { v.level = level })
	return nil
}

// ProducerIDs implements Cluster, with small blocks.
func (c *soleCluster) ProducerIDs(context.Context) (int64, int32, error) {
	if broken := c.broken.Load(); broken != nil {
		return 0, 0, *broken
	}
	const block = 3
	return c.nextP.Add(block) - block, block, nil
}

// move makes another broker the leader of a partition, in the image and in the log.
func (c *soleCluster) move(tb testing.TB, name string, index int32, to topic.NodeID, epoch topic.Epoch) {
	tb.Helper()
	c.elect(name, index, to, epoch)
	role := partition.Role{Epoch: epoch}
	if to == c.node {
		role = leading(epoch)
	}
	c.log(tb, name, index).Assume(role)
}

// elect makes another broker the leader of a partition, in the image alone.
func (c *soleCluster) elect(name string, index int32, to topic.NodeID, epoch topic.Epoch) {
	c.publish(func(v *soleView) {
		for at, t := range v.topics {
			if t.Name != name {
				continue
			}
			moved := *t
			moved.Partitions = slices.Clone(t.Partitions)
			placement := *moved.Partitions[index]
			placement.Leader, placement.LeaderEpoch = to, epoch
			if to != topic.NoNode && !placement.Hosts(to) {
				placement.Replicas = append(slices.Clone(placement.Replicas), to)
			}
			moved.Partitions[index] = &placement
			v.topics[at] = &moved
		}
	})
}

// log is the log of a partition, by name.
func (c *soleCluster) log(tb testing.TB, name string, index int32) *partition.Log {
	tb.Helper()
	t, ok := c.View().TopicByName(name)
	if !ok {
		tb.Fatalf("topic %s: not in the view", name)
	}
	return c.store.Log(topic.Partition{Topic: t.ID, Index: index})
}

// soleView is a published image.
type soleView struct {
	id         string
	level      uint16 // above the first
	controller topic.NodeID
	brokers    []topic.Broker
	topics     []*topic.Topic
	configs    map[configured]topic.ConfigSet // of brokers
	voters     []topic.NodeID
}

// Voters implements View.
func (v *soleView) Voters() []topic.NodeID { return v.voters }

// configured names a resource that is no topic.
type configured struct {
	kind topic.ConfigKind
	name string
}

// Configs implements View.
func (v *soleView) Configs(kind topic.ConfigKind, name string) topic.ConfigSet {
	return v.configs[configured{kind, name}]
}

// Configured implements View.
func (v *soleView) Configured(kind topic.ConfigKind) []string {
	var names []string
	for c := range v.configs {
		if c.kind == kind {
			names = append(names, c.name)
		}
	}
	slices.Sort(names)
	return names
}

func byName(a, b *topic.Topic) int { return strings.Compare(a.Name, b.Name) }

func (v *soleView) ClusterID() string        { return v.id }
func (v *soleView) Level() uint16            { return max(v.level, topic.FirstLevel) }
func (v *soleView) Controller() topic.NodeID { return v.controller }

func (v *soleView) Brokers() []topic.Broker {
	return slices.DeleteFunc(slices.Clone(v.brokers), func(b topic.Broker) bool { return b.Fenced })
}

func (v *soleView) Registered() []topic.Broker { return v.brokers }

func (v *soleView) Topics() []*topic.Topic { return v.topics }

func (v *soleView) Broker(id topic.NodeID) (topic.Broker, bool) {
	for _, b := range v.brokers {
		if b.ID == id {
			return b, true
		}
	}
	return topic.Broker{}, false
}

func (v *soleView) TopicByName(name string) (*topic.Topic, bool) {
	for _, t := range v.topics {
		if t.Name == name {
			return t, true
		}
	}
	return nil, false
}

func (v *soleView) TopicByID(id topic.ID) (*topic.Topic, bool) {
	for _, t := range v.topics {
		if t.ID == id {
			return t, true
		}
	}
	return nil, false
}
