package cluster

import (
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/topic"
)

// The model in this file asks the question that the sets exist for: whoever is elected cleanly, does
// its log hold everything that any leader ever committed? One partition on three nodes; logs, views
// and acknowledgements as loose as a network makes them, and the image as the only judge.

// replica is a node of the model.
type replica struct {
	node    topic.NodeID
	session int
	disk    int
	up      bool
	// log holds values that are unique over the run; epochs says under which leader epoch each was
	// written.
	log    []int
	epochs []topic.Epoch
	// view is the image as this node has it, perhaps an old one.
	view *Image
	// acked is what followers acknowledged to this node while it led under ackedEpoch.
	acked      map[topic.Member]int
	ackedEpoch topic.Epoch
	// proposed is the in-sync set under way, counted until the view shows its outcome.
	proposed *ISRChange
	// reconciled is the epoch in which the log was made to match the leader's.
	reconciled topic.Epoch
	// committed is the high watermark as leader of ackedEpoch.
	committed int
	// damaged is the index of a value that the disk does not give back, -1 if there is none; seen is
	// the leader epoch of the view.
	damaged int
	seen    topic.Epoch
}

// lineage is the model: three replicas, the image, and what was ever committed.
type lineage struct {
	*world
	dice      *rand.Rand
	id        topic.ID
	replicas  []*replica
	flight    []Command
	committed []int
	nextValue int
	// damages: disks may spoil what they hold. moves: replicas move.
	damages, moves bool
	// finished counts reassignments that came to their end, evictions the logs dropped.
	finished, evictions int
	// elections counts those that gave the partition a leader, repairs the logs cut at their damage.
	elections, repairs int
}

func newLineage(t testing.TB, seed uint64, least string) *lineage {
	return newLineageOf(t, seed, least, 3)
}

// newMovingLineage has five nodes, three of which hold the partition at first.
func newMovingLineage(t testing.TB, seed uint64, least string) *lineage {
	l := newLineageOf(t, seed, least, 5)
	l.moves = true
	return l
}

func newLineageOf(t testing.TB, seed uint64, least string, nodes int) *lineage {
	l := &lineage{world: newWorld(t, nodes), dice: rand.New(rand.NewPCG(seed, 2)), damages: seed%2 == 1}
	l.id = l.create("t", 1, minimum(least), 1, 2, 3)
	for node := topic.NodeID(1); node <= topic.NodeID(nodes); node++ {
		l.replicas = append(l.replicas, &replica{node: node, session: 1, disk: 1, up: true, view: l.im,
			reconciled: topic.NoEpoch, ackedEpoch: topic.NoEpoch, seen: topic.NoEpoch, damaged: -1})
	}
	return l
}

func (r *replica) member() topic.Member { return member(r.node, r.session) }

func (r *replica) placement(id topic.ID) *topic.Placement {
	p, _ := r.view.Partition(topic.Partition{Topic: id})
	return p
}

// leads reports whether r believes to lead.
func (r *replica) leads(id topic.ID) bool {
	p := r.placement(id)
	return r.up && p.Leader == r.node && p.LeaderSession == sessionOf(r.node, r.session)
}

func (l *lineage) step() {
	r := l.replicas[l.dice.IntN(len(l.replicas))]
	if l.moves && l.dice.IntN(60) == 0 {
		l.move()
		return
	}
	switch n := l.dice.IntN(100); {
	case n < 15:
		l.see(r)
	case n < 35:
		l.appendTo(r)
	case n < 60:
		l.replicate(r, l.replicas[l.dice.IntN(len(l.replicas))])
	case n < 69 || n < 72 && !l.damages:
		l.commit(r)
	case n < 72:
		l.damage(r)
	case n < 80:
		l.propose(r)
	case n < 90:
		l.deliver()
	case n < 93:
		l.flight = append(l.flight, fence(r.node, r.session))
	case n < 96:
		l.crash(r)
	case n < 97 && l.dice.IntN(2) == 0:
		l.flight = append(l.flight, ElectPreferred{Partitions: []topic.Partition{{Topic: l.id}}})
	case n < 97:
		least := string(rune('1' + l.dice.IntN(3)))
		l.flight = append(l.flight, configure(l.id, minimum(least)))
	default:
		l.restart(r)
	}
}

// see lets a node catch up with the image. A new epoch of its own begins with no acknowledgements.
func (l *lineage) see(r *replica) {
	r.view = l.im
	p := r.placement(l.id)
	if r.proposed != nil && r.proposed.PartitionEpoch != p.PartitionEpoch {
		r.proposed = nil
	}
	if r.leads(l.id) && r.ackedEpoch != p.LeaderEpoch {
		r.ackedEpoch, r.acked, r.committed = p.LeaderEpoch, map[topic.Member]int{}, 0
		r.reconciled, r.proposed = p.LeaderEpoch, nil
		// The session elected is this very process. (A late registration can also elect a process
		// that died meanwhile, which nobody will ever follow.)
		if len(r.log) < len(l.committed) || !slices.Equal(r.log[:len(l.committed)], l.committed) {
			l.t.Fatalf("%s begins with %v, but %v is committed", show(p), r.log, l.committed)
		}
	}
	if r.up && r.damaged >= 0 {
		l.repair(r, p)
	}
	r.seen = p.LeaderEpoch
	if r.up && len(r.log) > 0 && l.im.Live(r.member()) && l.im.Evicts(r.node, topic.Partition{Topic: l.id}) {
		r.cut(0)
		l.evictions++
	}
	if r.up && !l.im.Live(r.member()) {
		l.flight = append(l.flight, l.registration(r, false))
	}
}

// move brings a reassignment, its end or its recall on the way.
func (l *lineage) move() {
	p := l.partition(l.id, 0)
	at := topic.Partition{Topic: l.id}
	switch n := l.dice.IntN(10); {
	case n < 6 && p.Moving():
		l.flight = append(l.flight, FinishReassignments{Items: []ReassignmentEnd{{at, p.PartitionEpoch}}})
	case n == 6:
		l.flight = append(l.flight, Reassign{Items: []topic.Reassignment{{Partition: at, PartitionEpoch: p.PartitionEpoch}}})
	default:
		var target []topic.NodeID
		for _, i := range l.dice.Perm(len(l.replicas))[:1+l.dice.IntN(4)] {
			target = append(target, l.replicas[i].node)
		}
		l.flight = append(l.flight, Reassign{Items: []topic.Reassignment{
			{Partition: at, PartitionEpoch: p.PartitionEpoch, Target: target}}})
	}
}

// damage spoils a value that a node has on disk, or brings its quarantine on its way.
func (l *lineage) damage(r *replica) {
	switch {
	case !r.up:
	case r.damaged < 0 && len(r.log) > 0 && l.dice.IntN(2) == 0:
		r.damaged = l.dice.IntN(len(r.log))
	case r.damaged >= 0:
		l.flight = append(l.flight, QuarantineReplicas{Member: r.member(), Items: []ReplicaQuarantine{{
			Partition: topic.Partition{Topic: l.id}, LeaderEpoch: r.placement(l.id).LeaderEpoch}}})
	}
}

// repair cuts a damaged log when it follows in a new epoch and counts for nothing, in no session: what
// an earlier one counts for, the registration of this one inherits.
func (l *lineage) repair(r *replica, p *topic.Placement) {
	_, inSync := memberOf(p.ISR, r.node)
	_, eligible := memberOf(p.Eligible, r.node)
	if inSync || eligible || p.LeaderEpoch == r.seen {
		return
	}
	r.cut(r.damaged)
	l.repairs++
}

// cut shortens a log; damage behind the cut is gone.
func (r *replica) cut(n int) {
	r.log, r.epochs = r.log[:n:n], r.epochs[:n:n]
	if r.damaged >= n {
		r.damaged = -1
	}
}

func (l *lineage) registration(r *replica, clean bool) RegisterBroker {
	c := register2(r.node, r.session, r.disk)
	c.CleanStop = clean
	return c
}

func (l *lineage) appendTo(r *replica) {
	if !r.leads(l.id) || r.ackedEpoch != r.placement(l.id).LeaderEpoch {
		return
	}
	l.nextValue++
	r.log = append(r.log, l.nextValue)
	r.epochs = append(r.epochs, r.ackedEpoch)
}

// replicate brings one record from leader to follower, or reconciles, if both believe in one epoch.
func (l *lineage) replicate(leader, follower *replica) {
	if leader == follower || !follower.up || !leader.leads(l.id) || leader.ackedEpoch != leader.placement(l.id).LeaderEpoch {
		return
	}
	p := follower.placement(l.id)
	if p.LeaderEpoch != leader.ackedEpoch || p.Leader != leader.node || !p.Hosts(follower.node) ||
		!leader.placement(l.id).Hosts(follower.node) {
		return
	}
	if follower.reconciled != leader.ackedEpoch {
		same := 0
		for same < min(len(leader.log), len(follower.log)) && leader.log[same] == follower.log[same] {
			same++
		}
		follower.cut(same)
		follower.reconciled = leader.ackedEpoch
	}
	if n := len(follower.log); n < len(leader.log) && n != leader.damaged {
		follower.log = append(follower.log, leader.log[n])
		follower.epochs = append(follower.epochs, leader.epochs[n])
	}
	if l.dice.IntN(3) > 0 { // Acknowledgements get lost.
		leader.acked[follower.member()] = max(leader.acked[follower.member()], len(follower.log))
	}
}

// commit moves a leader's high watermark as far as its view, its proposal and the acknowledgements
// allow, and remembers what was promised.
func (l *lineage) commit(r *replica) {
	p := r.placement(l.id)
	if !r.leads(l.id) || r.ackedEpoch != p.LeaderEpoch {
		return
	}
	t, _ := r.view.TopicByID(l.id)
	if len(p.ISR) < r.view.MinInSync(t, p) {
		return
	}
	maximal := append([]topic.Member(nil), p.ISR...)
	if r.proposed != nil {
		maximal = append(maximal, r.proposed.ISR...)
	}
	high := len(r.log)
	for _, m := range maximal {
		if m != r.member() {
			high = min(high, r.acked[m])
		}
	}
	r.committed = max(r.committed, high)
	if r.committed > len(l.committed) {
		if !slices.Equal(r.log[:len(l.committed)], l.committed) {
			l.t.Fatalf("node %d commits %v over %v", r.node, r.log[:high], l.committed)
		}
		l.committed = slices.Clone(r.log[:r.committed])
	}
}

// propose asks for a random set of followers: any may leave, and those may join that hold
// everything up to the high watermark and the start of the epoch.
func (l *lineage) propose(r *replica) {
	p := r.placement(l.id)
	if !r.leads(l.id) || r.ackedEpoch != p.LeaderEpoch || r.proposed != nil {
		return
	}
	start := 0
	for start < len(r.epochs) && r.epochs[start] < r.ackedEpoch {
		start++
	}
	isr := []topic.Member{r.member()}
	for _, other := range l.replicas {
		m := topic.Member{Node: other.node}
		if b, found := r.view.Broker(other.node); found {
			m.Session = b.Session
		}
		end, acked := r.acked[m]
		joins := acked && end >= r.committed && end >= start
		if other != r && l.dice.IntN(2) == 0 && (joins || p.InSync(m)) {
			isr = append(isr, m)
		}
	}
	r.proposed = &ISRChange{Partition: topic.Partition{Topic: l.id}, LeaderEpoch: p.LeaderEpoch,
		PartitionEpoch: p.PartitionEpoch, Leader: r.member(), ISR: isr}
	l.flight = append(l.flight, AlterISR{Changes: []ISRChange{*r.proposed}})
	if l.dice.IntN(4) == 0 {
		l.flight = append(l.flight, AlterISR{Changes: []ISRChange{*r.proposed}})
	}
}

// deliver commits one command in flight, in any order, or loses it.
func (l *lineage) deliver() {
	if len(l.flight) == 0 {
		return
	}
	i := l.dice.IntN(len(l.flight))
	c := l.flight[i]
	l.flight = slices.Delete(l.flight, i, i+1)
	if l.dice.IntN(10) == 0 {
		return
	}
	before := l.partition(l.id, 0)
	l.apply(c)
	after := l.partition(l.id, 0)
	if after.Unclean {
		l.t.Fatalf("an unclean election nobody asked for: %s", show(after))
	}
	if before.Moving() && !after.Moving() && equalNodes(before.Target, after.Replicas) {
		l.finished++
	}
	if after.LeaderEpoch != before.LeaderEpoch && after.Leader != topic.NoNode {
		l.elections++
	}
}

// crash kills a node; what it synced stays, unless its disk goes too. A damaged log ends before its
// damage from then on, and has another name.
func (l *lineage) crash(r *replica) {
	r.up = false
	switch {
	case l.dice.IntN(40) == 0:
		r.cut(0)
		r.disk++
	case r.damaged >= 0:
		r.cut(r.damaged)
		r.disk++
	}
}

func (l *lineage) restart(r *replica) {
	if r.up {
		return
	}
	r.session++
	r.up, r.acked, r.proposed = true, nil, nil
	r.ackedEpoch, r.reconciled, r.seen = topic.NoEpoch, topic.NoEpoch, topic.NoEpoch
	l.flight = append(l.flight, l.registration(r, false))
}

// TestNoCleanElectionLosesACommittedRecord runs the model from a minimum of one, two and three; the
// minimum changes on the way.
func TestNoCleanElectionLosesACommittedRecord(t *testing.T) {
	seeds, elections, committed, repairs := uint64(600), 0, 0, 0
	if testing.Short() {
		seeds = 10
	}
	for _, least := range []string{"1", "2", "3"} {
		for seed := range seeds {
			l := newLineage(t, seed, least)
			for range 3000 {
				l.step()
			}
			elections += l.elections
			committed += len(l.committed)
			repairs += l.repairs
		}
	}
	t.Logf("%d clean elections, %d committed records, %d repairs", elections, committed, repairs)
	if elections < int(seeds) || committed < int(seeds) || repairs == 0 {
		t.Errorf("got %d elections, %d committed records, %d repairs: the model idles", elections, committed, repairs)
	}
}

// TestNoMoveLosesACommittedRecord is the same while the partition moves among five nodes.
func TestNoMoveLosesACommittedRecord(t *testing.T) {
	seeds, finished, evictions, committed := uint64(400), 0, 0, 0
	if testing.Short() {
		seeds = 10
	}
	for _, least := range []string{"1", "2", "3"} {
		for seed := range seeds {
			l := newMovingLineage(t, seed, least)
			for range 4000 {
				l.step()
			}
			finished, evictions, committed = finished+l.finished, evictions+l.evictions, committed+len(l.committed)
		}
	}
	t.Logf("%d reassignments finished, %d logs dropped, %d committed records", finished, evictions, committed)
	if finished < int(seeds) || evictions == 0 || committed < int(seeds) {
		t.Errorf("got %d reassignments finished, %d logs dropped, %d committed records: the model idles",
			finished, evictions, committed)
	}
}
