package cluster

import (
	"strconv"

	"outrigger/broker/topic"
)

// apply registers a session. See "Sessions" in the package comment.
func (c RegisterBroker) apply(b *Batch) Result {
	fresh := c.Broker
	fresh.Fenced = false
	if fresh.ID < 0 || fresh.Session == 0 || fresh.Disk.IsZero() {
		return Result{Status: Refused}
	}
	var present registration
	i, found := b.im.broker(fresh.ID)
	if found {
		present = b.im.brokers[i]
	}
	switch {
	case present.isRetired(fresh.Session):
		return Result{Status: Stale}
	// At the first level a version that knows no levels may have to carry this out alike.
	case b.im.level > topic.FirstLevel && !fresh.Levels.Hold(b.im.level):
		return Result{Status: Refused}
	case present.broker.Session == fresh.Session:
		return b.registerAgain(present, fresh)
	case !c.Unconditional && c.Replaces != present.broker.Session && b.im.mutant != LetsLateRegistrationsReplace:
		return Result{Status: Refused}
	case b.im.Contradicted(fresh) != nil:
		return Result{Status: Refused}
	case !found:
		b.setBroker(registration{broker: fresh})
		return Result{}
	}
	ended := topic.Member{Node: fresh.ID, Session: present.broker.Session}
	sameDisk := present.broker.Disk == fresh.Disk || b.im.mutant == TrustsWipedDisks
	is := doubtful
	switch {
	case !sameDisk:
		is = lost
	case c.FlushAlways || c.CleanStop:
		is = whole
	}
	next := registration{broker: fresh, retired: present.retire()}
	if b.im.mutant == LetsLateRegistrationsReplace {
		next.retired = nil
	}
	b.setBroker(next)
	b.succession(ended, fresh.Session, is)
	return Result{}
}

// Contradicted returns a live broker that the given one cannot run beside, nil if there is none: a batch
// that one of them takes has to fit the messages and the log of every other.
func (im *Image) Contradicted(fresh topic.Broker) *topic.Broker {
	for i := range im.brokers {
		other := &im.brokers[i].broker
		if !other.Fenced && other.ID != fresh.ID && fresh.MessageBytesMax != 0 && other.MessageBytesMax != 0 &&
			fresh.MessageBytesMax != other.MessageBytesMax {
			return other
		}
	}
	return nil
}

// Outsized returns a topic that may hold larger batches than a broker carries, nil if there is none.
func (im *Image) Outsized(most int32) *topic.Topic {
	for t := range im.All() {
		asked, err := strconv.ParseInt(t.Configs[ConfigMessageBytes], 10, 64)
		if err == nil && asked > int64(most) {
			return t
		}
	}
	return nil
}

// registerAgain is a repeated registration, or a fenced broker that woke up: the same process with
// the same memory and disk. It is live again and out of every in-sync set; where nobody leads and it
// is eligible, it leads.
func (b *Batch) registerAgain(present registration, fresh topic.Broker) Result {
	if present.broker.Disk != fresh.Disk {
		return Result{Status: Refused}
	}
	woken := present.broker.Fenced
	if woken && b.im.Contradicted(fresh) != nil {
		return Result{Status: Refused}
	}
	b.setBroker(registration{broker: fresh, retired: present.retired})
	if woken {
		b.sweep(func(t *topic.Topic, p *topic.Placement) *topic.Placement {
			if p.Leader != topic.NoNode || !p.Hosts(fresh.ID) {
				return nil
			}
			return b.succeed(t, p, p.ISR, unchanged)
		})
	}
	return Result{}
}

// succession replaces an ended session by the next one of the same node in every placement.
func (b *Batch) succession(ended topic.Member, session topic.Session, is worth) {
	heir := topic.Member{Node: ended.Node, Session: session}
	inherit := func(m topic.Member) (topic.Member, worth) {
		switch {
		case m.Node != ended.Node:
			return m, whole
		case m != ended && is == whole:
			return heir, doubtful
		}
		return heir, is
	}
	b.sweep(func(t *topic.Topic, p *topic.Placement) *topic.Placement {
		if !p.Hosts(ended.Node) {
			return nil
		}
		if b.im.mutant == KeepsLeadersOfEndedSessions && p.LeaderSession == ended.Session {
			next := clone(p)
			next.LeaderSession = session
			next.ISR = append(without(p.ISR, ended), heir)
			next.PartitionEpoch++
			return next
		}
		return b.succeed(t, p, without(p.ISR, ended), inherit)
	})
}

// apply takes a session out of everything.
func (c FenceBroker) apply(b *Batch) Result {
	if len(c.Reason) > ReasonBytesMax {
		return Result{Status: Refused}
	}
	return b.fence(topic.Member{Node: c.Node, Session: c.Session}, false)
}

// apply is a fence that the session asked for itself and that it does not come back from. Leaders
// are chosen among the live in-sync replicas as ever; where nobody else is in sync, the partition
// waits for the node's next session, in which it is eligible.
func (c ResignBroker) apply(b *Batch) Result {
	return b.fence(topic.Member{Node: c.Node, Session: c.Session}, true)
}

// fence is one record for all partitions of a broker: "ready" and acks=all would otherwise wait for
// the dead member in each of them. Fencing a fenced session again changes nothing.
func (b *Batch) fence(gone topic.Member, forGood bool) Result {
	i, found := b.im.broker(gone.Node)
	if !found {
		return Result{Status: Unknown}
	}
	present := b.im.brokers[i]
	if present.broker.Session != gone.Session {
		return Result{Status: Stale}
	}
	if present.broker.Fenced && (!forGood || present.isRetired(gone.Session)) {
		return Result{}
	}
	if forGood {
		present.retired = present.retire()
	}
	present.broker.Fenced = true
	b.setBroker(present)
	b.sweep(func(t *topic.Topic, p *topic.Placement) *topic.Placement {
		if !p.InSync(gone) || b.im.mutant == KeepsFencedInSync {
			return nil
		}
		return b.succeed(t, p, without(p.ISR, gone), unchanged)
	})
	return Result{}
}

func (r registration) isRetired(session topic.Session) bool {
	for _, ended := range r.retired {
		if ended == session {
			return true
		}
	}
	return false
}

// retire returns the ended sessions with the present one among them, in fresh memory.
func (r registration) retire() []topic.Session {
	if r.isRetired(r.broker.Session) {
		return r.retired
	}
	kept := r.retired
	if len(kept) >= retiredMax {
		kept = kept[len(kept)-retiredMax+1:]
	}
	return append(append([]topic.Session(nil), kept...), r.broker.Session)
}
