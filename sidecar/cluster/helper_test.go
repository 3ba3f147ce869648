package cluster

import (
	"fmt"
	"testing"

	"outrigger/broker/topic"
)

// world applies commands to an image as a node does, and proves after each that the image is
// possible and nothing went backwards. It fails the test otherwise.
type world struct {
	t     testing.TB
	im    *Image
	index uint64
}

func newWorld(t testing.TB, brokers int) *world {
	w := &world{t: t, im: Empty()}
	for node := range brokers {
		w.must(register(topic.NodeID(node+1), 1))
	}
	return w
}

// apply sends the command through its bytes, as the Raft does.
func (w *world) apply(c Command) Result {
	w.t.Helper()
	decoded, err := Decode(Encode(c))
	if err != nil {
		w.t.Fatalf("decode %+v: %v", c, err)
	}
	w.index++
	batch := w.im.Edit()
	result := batch.Apply(w.index, decoded)
	next := batch.Image()
	if err := next.Check(); err != nil {
		w.t.Fatalf("after %+v: %v", c, err)
	}
	if err := next.CheckAfter(w.im); err != nil {
		w.t.Fatalf("after %+v: %v", c, err)
	}
	w.im = next
	return result
}

// must wants everything in the result to be OK.
func (w *world) must(c Command) Result {
	w.t.Helper()
	result := w.apply(c)
	if result.Status != OK {
		w.t.Fatalf("%+v: got %v, want ok", c, result.Status)
	}
	for i, status := range result.Items {
		if status != OK {
			w.t.Fatalf("%+v: item %d: got %v, want ok", c, i, status)
		}
	}
	return result
}

// gets wants one status, of the only item if there are items.
func (w *world) gets(want Status, c Command) {
	w.t.Helper()
	result := w.apply(c)
	got := result.Status
	if len(result.Items) > 0 {
		got = result.Items[0]
	}
	if got != want {
		w.t.Fatalf("%+v: got %v, want %v", c, got, want)
	}
}

// create makes a topic whose partitions all live on the given replicas.
func (w *world) create(name string, partitions int, configs map[string]string, replicas ...topic.NodeID) topic.ID {
	w.t.Helper()
	c := topic.Creation{ID: idOf(name), Name: name, Configs: configs}
	for range partitions {
		c.Assignments = append(c.Assignments, replicas)
	}
	w.must(CreateTopics{Topics: []topic.Creation{c}})
	return c.ID
}

func (w *world) partition(id topic.ID, index int32) *topic.Placement {
	w.t.Helper()
	p, found := w.im.Partition(topic.Partition{Topic: id, Index: index})
	if !found {
		w.t.Fatalf("partition %s/%d: not found", id, index)
	}
	return p
}

// alter is a leader's wish to have these members, on the placement as it is now.
func (w *world) alter(id topic.ID, isr ...topic.Member) AlterISR {
	w.t.Helper()
	p := w.partition(id, 0)
	return AlterISR{Changes: []ISRChange{{
		Partition: topic.Partition{Topic: id}, LeaderEpoch: p.LeaderEpoch,
		PartitionEpoch: p.PartitionEpoch,
		Leader:         topic.Member{Node: p.Leader, Session: p.LeaderSession}, ISR: isr,
	}}}
}

// wants compares partition 0 with its short form, see show.
func (w *world) wants(id topic.ID, want string) {
	w.t.Helper()
	if got := show(w.partition(id, 0)); got != want {
		w.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// show prints a placement: who leads at which epoch, and the three sets with sessions.
func show(p *topic.Placement) string {
	text := fmt.Sprintf("leader %d epoch %d isr %v eligible %v last %v",
		p.Leader, p.LeaderEpoch, showMembers(p.ISR), showMembers(p.Eligible), p.LastKnown)
	if p.Unclean {
		text += " unclean"
	}
	return text
}

func showMembers(members []topic.Member) []string {
	shown := []string{}
	for _, m := range members {
		shown = append(shown, fmt.Sprintf("%d.%d", m.Node, m.Session&0xff))
	}
	return shown
}

// sessionOf is the n-th session of a node; the low byte is n.
func sessionOf(node topic.NodeID, n int) topic.Session {
	return topic.Session(uint64(node)<<32 | uint64(n))
}

func member(node topic.NodeID, n int) topic.Member {
	return topic.Member{Node: node, Session: sessionOf(node, n)}
}

func diskOf(node topic.NodeID, n int) topic.DiskID {
	return topic.DiskID{1, byte(node), byte(n)}
}

func idOf(name string) topic.ID {
	var id topic.ID
	copy(id[1:], name)
	id[0] = 1
	return id
}

// register begins the n-th session of a node on its first disk, with everything synced, in the place of
// the one before it.
func register(node topic.NodeID, n int) RegisterBroker {
	var before topic.Session
	if n > 1 {
		before = sessionOf(node, n-1)
	}
	return RegisterBroker{FlushAlways: true, Replaces: before, Broker: topic.Broker{
		ID: node, Session: sessionOf(node, n), Disk: diskOf(node, 1),
		Endpoints: []topic.Endpoint{{Listener: "PLAINTEXT", Host: "127.0.0.1", Port: 9092}},
	}}
}

func fence(node topic.NodeID, n int) FenceBroker {
	return FenceBroker{Node: node, Session: sessionOf(node, n), Reason: "silent"}
}

func minimum(n string) map[string]string { return map[string]string{ConfigMinInSync: n} }

// Finishes lists the reassignments that can be ended, at most some, by topic id and partition.
func (im *Image) Finishes(some int) FinishReassignments {
	var c FinishReassignments
	for t := range im.byID.all() {
		for i, p := range t.Partitions {
			if !im.Finishable(t, p) {
				continue
			}
			if len(c.Items) == some {
				return c
			}
			c.Items = append(c.Items, ReassignmentEnd{
				Partition: topic.Partition{Topic: t.ID, Index: int32(i)}, PartitionEpoch: p.PartitionEpoch,
			})
		}
	}
	return c
}
