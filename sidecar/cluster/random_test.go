package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"outrigger/broker/topic"
)

// dice draws commands that often, but not always, make sense for the image.
type dice struct {
	*rand.Rand
	sessions map[topic.NodeID]int
}

func newDice(seed uint64) *dice {
	return &dice{Rand: rand.New(rand.NewPCG(seed, 1)), sessions: map[topic.NodeID]int{}}
}

func (d *dice) node() topic.NodeID { return topic.NodeID(d.IntN(5) + 1) }

func (d *dice) command(im *Image) Command {
	node := d.node()
	session := sessionOf(node, d.sessions[node])
	switch d.IntN(21) {
	case 0:
		d.sessions[node]++
		return d.registration(im, node)
	case 1:
		return d.registration(im, node)
	case 2, 3:
		return FenceBroker{Node: node, Session: session}
	case 4:
		return ResignBroker{Node: node, Session: session}
	case 5, 6, 7, 8:
		return d.alter(im)
	case 9:
		return d.creation()
	case 10:
		return d.deletion(im)
	case 11:
		return d.configs(im)
	case 12:
		return d.election(im)
	case 16:
		return d.preference(im)
	case 14, 15:
		return d.claims(im, member(node, d.sessions[node]))
	case 17:
		return d.reassignment(im)
	case 18:
		return d.finish(im)
	case 19:
		return d.voters(im)
	case 13:
		return d.quarantine(im, member(node, d.sessions[node]))
	default:
		return AllocateProducerIDs{Node: node, Session: session}
	}
}

func (d *dice) registration(im *Image, node topic.NodeID) Command {
	r := register(node, max(1, d.sessions[node]))
	if present, _ := im.Broker(node); d.IntN(10) > 0 {
		r.Replaces = present.Session
	}
	r.Unconditional = d.IntN(10) == 0
	if r.Unconditional {
		r.Replaces = 0
	}
	r.Broker.Disk = diskOf(node, d.IntN(8)/7)
	r.FlushAlways, r.CleanStop = d.IntN(3) > 0, d.IntN(2) == 0
	d.sessions[node] = max(1, d.sessions[node])
	return r
}

func (d *dice) topic(im *Image) *topic.Topic {
	topics := im.Topics()
	if len(topics) == 0 {
		return nil
	}
	return topics[d.IntN(len(topics))]
}

func (d *dice) alter(im *Image) Command {
	var c AlterISR
	for range d.IntN(4) {
		t := d.topic(im)
		if t == nil {
			break
		}
		i := d.IntN(len(t.Partitions))
		p := t.Partitions[i]
		change := ISRChange{Partition: topic.Partition{Topic: t.ID, Index: int32(i)},
			LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch - int32(d.IntN(10)/9),
			Leader: topic.Member{Node: p.Leader, Session: p.LeaderSession}}
		for _, node := range p.Replicas {
			if node == p.Leader || d.IntN(2) == 0 {
				change.ISR = append(change.ISR, member(node, d.sessions[node]))
			}
		}
		c.Changes = append(c.Changes, change)
	}
	return c
}

func (d *dice) creation() Command {
	c := creation(fmt.Sprintf("t%d", d.IntN(30)), int32(d.IntN(4)), int16(d.IntN(4)))
	c.ID[15] = byte(d.IntN(3))
	if d.IntN(2) == 0 {
		c.Configs = minimum(fmt.Sprint(d.IntN(4)))
	}
	if d.IntN(5) == 0 {
		c.Configs = map[string]string{ConfigUncleanElection: "true"}
	}
	return CreateTopics{Topics: []topic.Creation{c}}
}

func (d *dice) deletion(im *Image) Command {
	t := d.topic(im)
	if t == nil {
		return DeleteTopics{}
	}
	if d.IntN(3) == 0 {
		return DeleteTopics{IDs: []topic.ID{t.ID, t.ID}}
	}
	return CreatePartitions{Growths: []topic.Growth{{ID: t.ID, Total: int32(d.IntN(6))}}}
}

func (d *dice) configs(im *Image) Command {
	t := d.topic(im)
	if t == nil || d.IntN(4) == 0 {
		return SetDefaults{MinInSync: int32(d.IntN(3) + 1)}
	}
	change := topic.ConfigChange{Kind: topic.TopicConfigs, ID: t.ID, Epoch: t.ConfigEpoch,
		Values: minimum(fmt.Sprint(d.IntN(4)))}
	if d.IntN(2) == 0 {
		change.Kind, change.ID = topic.BrokerConfigs, topic.ID{}
		change.Name = [...]string{"", "", "1", "9", "01"}[d.IntN(5)]
		change.Epoch = im.Configs(change.Kind, change.Name).Epoch
		if change.Name != "" && d.IntN(3) > 0 || d.IntN(3) == 0 {
			change.Values = map[string]string{"max.connections": fmt.Sprint(d.IntN(3))}
		}
	}
	change.Epoch -= int32(d.IntN(6) / 5)
	return AlterConfigs{Changes: []topic.ConfigChange{change}}
}

func (d *dice) election(im *Image) Command {
	waiting := im.Undecided()
	if len(waiting) == 0 {
		return ElectUnclean{}
	}
	u := waiting[d.IntN(len(waiting))]
	return ElectUnclean{Elections: []UncleanElection{{Partition: u.Partition,
		PartitionEpoch: u.Placement.PartitionEpoch, Node: topic.NoNode}}}
}

func (d *dice) preference(im *Image) Command {
	var c ElectPreferred
	for range d.IntN(4) {
		if t := d.topic(im); t != nil {
			c.Partitions = append(c.Partitions, topic.Partition{Topic: t.ID, Index: int32(d.IntN(len(t.Partitions) + 1))})
		}
	}
	return c
}

func (d *dice) reassignment(im *Image) Command {
	var c Reassign
	for range d.IntN(3) {
		t := d.topic(im)
		if t == nil {
			break
		}
		i := d.IntN(len(t.Partitions))
		item := topic.Reassignment{Partition: topic.Partition{Topic: t.ID, Index: int32(i)},
			PartitionEpoch: t.Partitions[i].PartitionEpoch - int32(d.IntN(10)/9)}
		for n := d.IntN(5); n > 0; n-- {
			item.Target = append(item.Target, d.node())
		}
		c.Items = append(c.Items, item)
	}
	return c
}

func (d *dice) finish(im *Image) Command {
	if d.IntN(4) == 0 {
		return UnregisterBroker{Node: d.node()}
	}
	return im.Finishes(3)
}

func (d *dice) voters(im *Image) Command {
	c := SetVoters{Before: im.Voters()}
	for node := topic.NodeID(1); node <= 5; node++ {
		if d.IntN(2) == 0 {
			c.After = append(c.After, node)
		}
	}
	return c
}

// claims are of a log of some length, now and then after an older epoch.
func (d *dice) claims(im *Image, m topic.Member) Command {
	c := ClaimLogs{Member: m}
	for _, u := range im.Undecided() {
		if d.IntN(3) > 0 {
			c.Items = append(c.Items, LogClaim{Partition: u.Partition,
				LeaderEpoch: u.Placement.LeaderEpoch - topic.Epoch(d.IntN(10)/9),
				TailEpoch:   u.Placement.LeaderEpoch - 1 - topic.Epoch(d.IntN(2)), End: topic.Offset(d.IntN(3))})
		}
	}
	return c
}

func (d *dice) quarantine(im *Image, m topic.Member) Command {
	c := QuarantineReplicas{Member: m}
	for range d.IntN(4) {
		if t := d.topic(im); t != nil {
			i := d.IntN(len(t.Partitions))
			c.Items = append(c.Items, ReplicaQuarantine{Partition: topic.Partition{Topic: t.ID, Index: int32(i)},
				LeaderEpoch: t.Partitions[i].LeaderEpoch - topic.Epoch(d.IntN(10)/9)})
		}
	}
	return c
}

// TestRandomCommandsKeepEveryInvariant lets world check each image, and compares three nodes: one
// publishes after every command, one after many, one restarts from a snapshot now and then.
func TestRandomCommandsKeepEveryInvariant(t *testing.T) {
	seeds, steps := uint64(40), 400
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		d := newDice(seed)
		w := newWorld(t, 0)
		lazy := Empty().Edit()
		restarted := Empty()
		for range steps {
			c := d.command(w.im)
			want := w.apply(c)
			got := lazy.Apply(w.index, c)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d index %d: %+v: got %v, want %v", seed, w.index, c, got, want)
			}
			batch := restarted.Edit()
			batch.Apply(w.index, c)
			restarted = batch.Image()
			if d.IntN(20) == 0 {
				restarted = reopened(t, restarted)
			}
		}
		if a, b, c := w.im.Hash(), lazy.Image().Hash(), restarted.Hash(); a != b || a != c {
			t.Fatalf("seed %d: hashes %x, %x and %x differ", seed, a, b, c)
		}
	}
}

// reopened is the image after a snapshot and a restart.
func reopened(t testing.TB, im *Image) *Image {
	t.Helper()
	fresh, err := DecodeImage(im.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Hash() != im.Hash() {
		t.Fatalf("hash after a snapshot: got %x, want %x", fresh.Hash(), im.Hash())
	}
	return fresh
}
