package node

import (
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// Balance says when leaderships go back to the preferred leaders.
type Balance struct {
	// Every is leader.imbalance.check.interval.seconds; 0: never (auto.leader.rebalance.enable=false).
	Every time.Duration
	// Soon is how long after a broker has come back its leaderships do, once it is in sync, and how often that is
	// looked at; 0: Every. Without that the first one of brokers that were all restarted leads everything until then.
	Soon time.Duration
	// Percent is leader.imbalance.per.broker.percentage: the share of the partitions that prefer a broker
	// which it may lack without anything being done.
	Percent int
}

// balancer remembers when leaderships were looked at, and who has come back. A broker that comes twice within Every may
// do so again and again, and each of its deaths would interrupt all of its partitions: it waits for Every.
type balancer struct {
	cfg Balance
	// everyAt is when all brokers are looked at, soonAt when those who are expected to take what is theirs are.
	everyAt, soonAt time.Duration
	// came is when each broker came last.
	came map[topic.NodeID]arrival
	// expected are those that have come back and lack leaderships, or may.
	expected map[topic.NodeID]bool
}

// arrival is the registration of a session, or its return after it was fenced.
type arrival struct {
	session topic.Session
	at      time.Duration
	live    bool
}

// begin forgets what the controller before has seen: everybody may have just come.
func (b *balancer) begin(im *cluster.Image, now time.Duration) {
	*b = balancer{cfg: b.cfg, everyAt: now + b.cfg.Every, came: map[topic.NodeID]arrival{}, expected: map[topic.NodeID]bool{}}
	for _, broker := range im.Brokers() {
		b.came[broker.ID] = arrival{session: broker.Session, at: now - b.cfg.Every, live: true}
		b.expect(broker.ID, now)
	}
}

// follow takes in who has come, and who has gone.
func (b *balancer) follow(im *cluster.Image, now time.Duration) {
	for _, broker := range im.Brokers() {
		before, known := b.came[broker.ID]
		if before.live && before.session == broker.Session {
			continue
		}
		b.came[broker.ID] = arrival{session: broker.Session, at: now, live: true}
		if known && now-before.at < b.cfg.Every {
			delete(b.expected, broker.ID)
		} else {
			b.expect(broker.ID, now)
		}
	}
	for id, last := range b.came {
		last.live = im.Live(topic.Member{Node: id, Session: last.session})
		b.came[id] = last
	}
}

func (b *balancer) expect(id topic.NodeID, now time.Duration) {
	if b.cfg.Soon > 0 {
		b.expected[id], b.soonAt = true, now+b.cfg.Soon
	}
}

// due is what is to be given back now.
func (b *balancer) due(im *cluster.Image, now time.Duration) cluster.ElectPreferred {
	switch {
	case b.cfg.Every <= 0:
		return cluster.ElectPreferred{}
	case now >= b.everyAt:
		b.everyAt = now + b.cfg.Every
		due, _ := im.Imbalanced(b.cfg.Percent, finishesMax, func(topic.NodeID) bool { return true })
		return due
	case len(b.expected) == 0 || now < b.soonAt:
		return cluster.ElectPreferred{}
	}
	b.soonAt = now + b.cfg.Soon
	due, lacking := im.Imbalanced(b.cfg.Percent, finishesMax, func(id topic.NodeID) bool { return b.expected[id] })
	clear(b.expected)
	for _, id := range lacking {
		b.expected[id] = true
	}
	return due
}
