package broker

import (
	"context"
	"maps"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"outrigger/broker/group"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/txn"
)

const (
	groupMetrics = "kafka_server_group_coordinator_metrics_"
	groupManager = "kafka_coordinator_group_groupmetadatamanager_numgroups"
	shareMetrics = "kafka_server_share_coordinator_metrics_"
	exporter     = "kafka_consumergroup_"
	// censusWithin is how long all shards together may take to show what they have for one look at /metrics.
	censusWithin = 2 * time.Second
)

// coordination is what /metrics shows of the groups and transactions that this node coordinates, under the
// names of Kafka's coordinators and of kafka_exporter. The shards are asked when it is: it costs nothing
// otherwise. A shard that does not answer in time, or is loading, is left out.
type coordination struct{ broker *Broker }

func newCoordination(b *Broker) *coordination { return &coordination{broker: b} }

// Gauges of the coordinators of this node.
var (
	descShards = describe(groupMetrics+"num_partitions", "Partitions of the offsets topic coordinated here.", "state")
	descGroups = describe(groupMetrics+"group_count", "Groups coordinated here, by protocol.", "protocol")
	descModern = describe(groupMetrics+"consumer_group_count", "Groups of KIP-848 coordinated here, by state.", "state")
	descShares = describe(groupMetrics+"share_group_count", "Share groups coordinated here, by state.", "state")
	descAll    = describe(groupManager, "Groups coordinated here.")
	descStates = map[group.State]*prometheus.Desc{
		group.Empty:      describe(groupManager+"empty", "Groups without members."),
		group.Stable:     describe(groupManager+"stable", "Groups whose members have their assignments."),
		group.Preparing:  describe(groupManager+"preparingrebalance", "Groups that wait for their members to join."),
		group.Completing: describe(groupManager+"completingrebalance", "Groups that wait for their leader's assignment."),
	}
	descHeld      = describe("kafka_coordinator_group_groupmetadatamanager_numoffsets", "Committed offsets kept here.")
	descMembers   = describe(exporter+"members", "Members of the group.", "consumergroup")
	descCommit    = describe(exporter+"current_offset", "Committed offset.", "consumergroup", "topic", "partition")
	descLag       = describe(exporter+"lag", "High watermark less committed offset, as this broker knows them.", "consumergroup", "topic", "partition")
	descCommits   = describe(exporter+"current_offset_sum", "Committed offsets of a topic, added up.", "consumergroup", "topic")
	descLags      = describe(exporter+"lag_sum", "Lag of a topic, added up.", "consumergroup", "topic")
	descTxns      = describe("outrigger_transactions", "Transactional ids coordinated here, by state.", "state")
	descOldestTxn = describe("outrigger_transactions_oldest_seconds", "Age of the oldest transaction that is open or being ended.")
	descPruned    = describe(shareMetrics+"last_pruned_offset", "Where this broker last cut the partition of the states of share groups.", "topic", "partition")
	coordinating  = []*prometheus.Desc{
		descShards, descGroups, descModern, descShares, descAll, descHeld, descMembers, descCommit, descLag, descCommits,
		descLags, descTxns, descOldestTxn, descPruned, descStates[group.Empty], descStates[group.Stable],
		descStates[group.Preparing], descStates[group.Completing],
	}
)

// Describe implements prometheus.Collector.
func (coordination) Describe(out chan<- *prometheus.Desc) {
	for _, d := range coordinating {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *coordination) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), censusWithin)
	defer cancel()
	c.groups(ctx, out)
	c.transactions(ctx, out)
	c.pruned(out)
}

// pruned shows the partitions that this node has cut since it coordinates them.
func (c *coordination) pruned(out chan<- prometheus.Metric) {
	for i, shard := range c.broker.shareStates.table.Load().shards {
		if shard == nil || shard.over() {
			continue
		}
		if at := shard.cutAt.Load(); at > 0 {
			out <- gauge(descPruned, at, shareTopic, strconv.Itoa(i))
		}
	}
}

// groupCensus is what one shard, or all, tell of their groups.
type groupCensus struct {
	// states counts the groups of each protocol by their state.
	states  map[string]map[group.State]int
	offsets int
	// room is how many more series of single groups there may be, shown are the groups that have some.
	room  int
	shown map[string]groupShown
}

type groupShown struct {
	members int
	offsets []group.CommitOffset
}

func newGroupCensus(room int) *groupCensus {
	return &groupCensus{
		states: map[string]map[group.State]int{classicType: {}, consumerType: {}, shareType: {}},
		room:   room, shown: map[string]groupShown{},
	}
}

func (c *coordination) groups(ctx context.Context, out chan<- prometheus.Metric) {
	all := newGroupCensus(c.broker.config.Metrics.Partitions)
	active, loading := 0, 0
	for _, shard := range c.broker.groups.table.Load().shards {
		if shard == nil || shard.over() {
			continue
		}
		if !shard.loaded.Load() {
			loading++
			continue
		}
		active++
		// Nothing that the shard touches is ours: it may look when nobody waits for it any more.
		room := all.room
		told, err := c.broker.groups.view(ctx, shard, func(groups shownGroups) any {
			one := newGroupCensus(room)
			for name, g := range groups {
				one.count(name, g.Machine)
			}
			return one
		})
		if err == nil {
			all.add(told.(*groupCensus))
		}
	}
	out <- gauge(descShards, active, "active")
	out <- gauge(descShards, loading, "loading")
	c.showGroups(all, out)
}

// count adds a group, with series of its own if there is room for them.
func (c *groupCensus) count(name string, m *group.Machine) {
	summary, offsets := m.Summary(), m.Offsets()
	c.states[typeOf(summary)][summary.State]++
	c.offsets += len(offsets)
	if len(offsets) < c.room {
		c.shown[name] = groupShown{members: m.Members(), offsets: offsets}
		c.room -= len(offsets) + 1
	}
}

// add adds what another shard tells, which knew how much room was left.
func (c *groupCensus) add(o *groupCensus) {
	for kind, states := range o.states {
		for state, n := range states {
			c.states[kind][state] += n
		}
	}
	c.offsets += o.offsets
	c.room = o.room
	maps.Copy(c.shown, o.shown)
}

func (c *coordination) showGroups(all *groupCensus, out chan<- prometheus.Metric) {
	total := 0
	for kind, states := range all.states {
		sum := 0
		for _, n := range states {
			sum += n
		}
		out <- gauge(descGroups, sum, kind)
		total += sum
	}
	out <- gauge(descAll, total)
	for state, d := range descStates {
		sum := 0
		for _, states := range all.states {
			sum += states[state]
		}
		out <- gauge(d, sum)
	}
	for _, state := range []group.State{group.Empty, group.Assigning, group.Reconciling, group.Stable} {
		out <- gauge(descModern, all.states[consumerType][state], state.String())
	}
	for _, state := range []group.State{group.Empty, group.Stable} {
		out <- gauge(descShares, all.states[shareType][state], state.String())
	}
	out <- gauge(descHeld, all.offsets)
	view := c.broker.cluster.View()
	for name, g := range all.shown {
		out <- gauge(descMembers, g.members, name)
		c.showOffsets(view, name, g.offsets, out)
	}
}

// showOffsets shows how far a group has come. The lag is shown where this broker has a replica.
func (c *coordination) showOffsets(view View, name string, offsets []group.CommitOffset, out chan<- prometheus.Metric) {
	type sum struct {
		commits, lags int64
		unknown       bool
	}
	sums := map[string]*sum{}
	for _, o := range offsets {
		place, offset := o.Place, o.Offset.Offset
		index := strconv.Itoa(int(place.Partition))
		out <- gauge(descCommit, offset, name, place.Topic, index)
		s := sums[place.Topic]
		if s == nil {
			s = &sum{}
			sums[place.Topic] = s
		}
		s.commits += offset
		log := c.logOf(view, place)
		if log == nil {
			s.unknown = true
			continue
		}
		lag := max(0, int64(log.State().HighWatermark)-offset)
		s.lags += lag
		out <- gauge(descLag, lag, name, place.Topic, index)
	}
	for topicName, s := range sums {
		out <- gauge(descCommits, s.commits, name, topicName)
		if !s.unknown {
			out <- gauge(descLags, s.lags, name, topicName)
		}
	}
}

func (c *coordination) logOf(view View, place group.Place) *partition.Log {
	t, ok := view.TopicByName(place.Topic)
	if !ok {
		return nil
	}
	return c.broker.logs.Log(topic.Partition{Topic: t.ID, Index: place.Partition})
}

// txnCensus is what one shard tells of its transactional ids; began is when the oldest transaction did.
type txnCensus struct {
	states map[txn.State]int
	began  int64
}

func (c *coordination) transactions(ctx context.Context, out chan<- prometheus.Metric) {
	states := map[txn.State]int{}
	now := time.Now().UnixMilli()
	began := now
	for _, shard := range c.broker.txns.table.Load().shards {
		if shard == nil || shard.over() || !shard.loaded.Load() {
			continue
		}
		told, err := c.broker.txns.view(ctx, shard, func(all shownTxns) any {
			one := txnCensus{states: map[txn.State]int{}, began: now}
			for _, t := range all {
				state, started := t.Progress()
				one.states[state]++
				if started >= 0 {
					one.began = min(one.began, started)
				}
			}
			return one
		})
		if err != nil {
			continue
		}
		one := told.(txnCensus)
		began = min(began, one.began)
		for state, n := range one.states {
			states[state] += n
		}
	}
	for state := txn.Empty; state < txn.Dead; state++ {
		out <- gauge(descTxns, states[state], state.String())
	}
	out <- prometheus.MustNewConstMetric(descOldestTxn, prometheus.GaugeValue, float64(now-began)/1000)
}
