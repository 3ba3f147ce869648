package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

// TestElectionsAreJudgedByTheImage: what needs none, what cannot be, and what is done.
func TestElectionsAreJudgedByTheImage(t *testing.T) {
	h := start(t)
	for _, name := range []string{"led", "strayed", "behind", "down", "lost", "orphan"} {
		h.create(name, 1)
	}
	h.cluster.addBroker(topic.Broker{ID: 2, Session: 5})
	h.cluster.addBroker(topic.Broker{ID: 3, Session: 6, Fenced: true})
	in := func(nodes ...topic.NodeID) []topic.Member {
		var isr []topic.Member
		for _, node := range nodes {
			isr = append(isr, topic.Member{Node: node, Session: map[topic.NodeID]topic.Session{1: 1, 2: 5, 3: 6}[node]})
		}
		return isr
	}
	placements := map[string]*topic.Placement{
		"led":     {Replicas: []topic.NodeID{1, 2}, ISR: in(1, 2), Leader: 1},
		"strayed": {Replicas: []topic.NodeID{2, 1}, ISR: in(2, 1), Leader: 1},
		"behind":  {Replicas: []topic.NodeID{2, 1}, ISR: in(1), Leader: 1},
		"down":    {Replicas: []topic.NodeID{3, 1}, ISR: in(1), Leader: 1},
		"lost":    {Replicas: []topic.NodeID{3}, Leader: topic.NoNode},
		"orphan":  {Replicas: []topic.NodeID{3, 2}, Leader: topic.NoNode},
	}
	place := func() {
		h.cluster.publish(func(v *soleView) {
			for i, known := range v.topics {
				placed := *known
				placed.Partitions = []*topic.Placement{placements[known.Name]}
				v.topics[i] = &placed
			}
		})
	}
	c := h.dial()
	for kind, want := range map[int8]map[string]code{
		electPreferred: {
			"led": codeElectionNotNeeded, "strayed": codeNone, "behind": codePreferredNotAvailable,
			"down": codePreferredNotAvailable, "lost": codePreferredNotAvailable, "orphan": codePreferredNotAvailable,
		},
		electUnclean: {
			"led": codeElectionNotNeeded, "strayed": codeElectionNotNeeded, "behind": codeElectionNotNeeded,
			"down": codeElectionNotNeeded, "lost": codeEligibleNotAvailable, "orphan": codeNone,
		},
	} {
		place()
		q := kmsg.NewPtrElectLeadersRequest()
		q.Version, q.ElectionType, q.TimeoutMillis = 2, kind, 5000
		for name := range want {
			q.Topics = append(q.Topics, kmsg.ElectLeadersRequestTopic{Topic: name, Partitions: []int32{0}})
		}
		for _, answered := range c.ask(q).(*kmsg.ElectLeadersResponse).Topics {
			expectCode(t, answered.Topic, answered.Partitions[0].ErrorCode, want[answered.Topic])
		}
		if got, want := mustTopic(h, "strayed").Partitions[0].Leader, topic.NodeID(2-kind); got != want {
			t.Errorf("type %d: strayed is led by %d, want %d: only the preferred leader takes over from a leader", kind, got, want)
		}
		place()
		q.Topics = nil
		all := c.ask(q).(*kmsg.ElectLeadersResponse).Topics
		needed := 0
		for _, each := range want {
			if each != codeElectionNotNeeded {
				needed++
			}
		}
		if len(all) != needed {
			t.Errorf("type %d, all partitions: got %+v, want the %d that needed it", kind, all, needed)
		}
	}
	q := kmsg.NewPtrElectLeadersRequest()
	q.Version, q.ElectionType = 2, 7
	expectCode(t, "unknown type", c.ask(q).(*kmsg.ElectLeadersResponse).ErrorCode, codeInvalidRequest)
}
