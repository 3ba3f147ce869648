package group

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group/assign"
)

// mixed is one group whose members speak either protocol, the log of its partition, and topics that come
// and grow, all driven by one random source. As in world, the leader fails often.
type mixed struct {
	*testing.T
	rand *rand.Rand
	cfg  Config
	m    *Machine
	now  Time
	next Token
	fx   Effects

	committed, flying []Record
	parked            []parked
	asked             map[Token]*rider
	riders            []*rider
	topics            []assign.Topic
	catalog           *Catalog
	// assign is how soon after a division the next one may come.
	assign int64
}

// kind is what protocol a member speaks.
type kind int

const (
	modern kind = iota
	eager
	cooperative
)

// rider is a member as its consumer sees it.
type rider struct {
	number   int
	kind     kind
	instance *string
	alive    bool
	id       string
	epoch    int32
	// uses is what it consumes, told what it may; it takes some time to give up what it may not.
	uses, told assign.Slots
	pattern    bool
	// joined: it has heard of its place, and asks for the assignment next (classic).
	joined bool
	leader []JoinedMember
	waits  Token
}

func newMixed(t *testing.T, seed uint64) *mixed {
	w := &mixed{
		T: t, rand: rand.New(rand.NewPCG(seed, 11)), asked: map[Token]*rider{},
		now: Time{Mono: 1, Wall: 1_000_000},
		cfg: Config{
			SessionMinMillis: 1, SessionMaxMillis: 1 << 40, MembersMax: 100, MetadataBytesMax: 100,
			RetentionMillis: 1 << 40, RecordBytesMax: 1 << 20,
			Consumers: ConsumerConfig{
				MembersMax: 100, SessionMillis: 1000, Assignors: assign.Names(), Upgrades: true, Downgrades: true,
			},
		},
	}
	w.grow()
	w.m = New(&w.cfg, "g")
	w.m.Refresh(w.catalog, w.now, &w.fx)
	w.assign = []int64{0, 0, 140, 1000}[seed/4%4]
	kinds := [][]kind{{modern}, {modern, eager}, {modern, cooperative}, {modern, eager, cooperative}}[seed%4]
	for i := range 5 {
		r := &rider{number: i, kind: kinds[w.rand.IntN(len(kinds))], pattern: w.rand.IntN(3) == 0}
		if i == 4 {
			id := "static"
			r.instance = &id
		}
		w.riders = append(w.riders, r)
	}
	return w
}

// grow adds a topic that members subscribe to, or partitions to one.
func (w *mixed) grow() {
	if n := len(w.topics); n > 0 && (n == 3 || w.rand.IntN(2) == 0) {
		w.topics = slices.Clone(w.topics)
		w.topics[w.rand.IntN(n)].Partitions++
	} else {
		one := assign.Topic{Name: fmt.Sprint("t", n), Partitions: int32(1 + w.rand.IntN(4))}
		copy(one.ID[:], one.Name)
		w.topics = append(slices.Clone(w.topics), one)
	}
	w.catalog = NewCatalog(slices.Clone(w.topics))
}

func (w *mixed) do(r *rider, e Event) {
	w.asked[e.token()] = r
	w.m.Step(e, w.now, &w.fx)
	w.turn()
}

func (w *mixed) turn() {
	w.flying = append(w.flying, w.fx.Records...)
	for _, r := range w.fx.Replies {
		if r.AfterRecords {
			w.parked = append(w.parked, parked{r, len(w.committed) + len(w.flying)})
		} else {
			w.deliver(r)
		}
	}
	w.fx.Reset()
	w.release()
}

func (w *mixed) release() {
	var ready []Reply
	w.parked = slices.DeleteFunc(w.parked, func(p parked) bool {
		if p.needs > len(w.committed) {
			return false
		}
		ready = append(ready, p.Reply)
		return true
	})
	for _, r := range ready {
		w.deliver(r)
	}
}

func (w *mixed) commit(n int) {
	w.committed = append(w.committed, w.flying[:n]...)
	w.flying = slices.Clone(w.flying[n:])
	w.release()
}

// fail replaces the leader, at any record: whatever was on its way may be lost from there on.
func (w *mixed) fail() {
	w.commit(w.rand.IntN(len(w.flying) + 1))
	w.flying, w.parked = nil, nil
	clear(w.asked)
	for _, r := range w.riders {
		r.waits = 0
	}
	replay := NewReplay()
	for _, r := range w.committed {
		if err := replay.Apply(r); err != nil {
			w.Fatalf("replay: %v", err)
		}
	}
	if w.m = replay.Machines(&w.cfg, w.now)["g"]; w.m == nil {
		w.m = New(&w.cfg, "g")
	}
	w.m.Refresh(w.catalog, w.now, &w.fx)
	w.m.Tick(w.now, &w.fx)
	w.turn()
}

// deliver is the member's side of an answer.
func (w *mixed) deliver(reply Reply) {
	r := w.asked[reply.Token]
	if r == nil {
		w.Fatalf("request %d is answered twice, or was never asked", reply.Token)
	}
	delete(w.asked, reply.Token)
	if r.waits != reply.Token {
		return // it has gone on without
	}
	r.waits = 0
	if !r.alive {
		return
	}
	if reply.Err != nil {
		w.refused(r, reply)
		return
	}
	switch result := reply.Result.(type) {
	case *ConsumerBeat:
		r.epoch = result.Epoch
		if result.Assigned != nil {
			w.assigned(r, *result.Assigned)
		}
	case *Joined:
		r.id, r.epoch, r.joined, r.leader = result.MemberID, result.Generation, true, result.Members
	case *Synced:
		r.joined = false
		slots, err := w.catalog.readAssignment(result.Assignment)
		if err != nil {
			w.Fatalf("read assignment: %v", err)
		}
		w.assigned(r, slots)
	}
}

func (w *mixed) refused(r *rider, reply Reply) {
	switch {
	case errors.Is(reply.Err, ErrMemberIDRequired):
		r.id = reply.Result.(*Joined).MemberID
	case errors.Is(reply.Err, ErrRebalancing):
		r.joined = true // as it were: the next thing is a join
		r.epoch = -1
	case errors.Is(reply.Err, ErrUnreleasedInstance), errors.Is(reply.Err, ErrNotConsumers),
		errors.Is(reply.Err, ErrUnknownTopics):
	case errors.Is(reply.Err, ErrUnknownMember), errors.Is(reply.Err, ErrFencedEpoch),
		errors.Is(reply.Err, ErrIllegalGeneration), errors.Is(reply.Err, ErrFencedInstance):
		r.uses, r.told, r.epoch, r.joined = nil, nil, 0, false
		if r.kind != modern {
			r.epoch = -1
		}
		if !errors.Is(reply.Err, ErrFencedEpoch) && !errors.Is(reply.Err, ErrIllegalGeneration) {
			r.id = ""
		}
	default:
		w.Fatalf("member %d: unexpected refusal: %v", r.number, reply.Err)
	}
}

// assigned: what is new is used at once, what is gone may take a while to be given up.
func (w *mixed) assigned(r *rider, slots assign.Slots) {
	r.told = slots
	r.uses = assign.SlotsOf(append(slices.Clone(r.uses), slots...))
	w.check()
}

// check: nobody uses what another uses.
func (w *mixed) check() {
	users := map[assign.Slot]int{}
	for _, r := range w.riders {
		for _, slot := range r.uses {
			if other, taken := users[slot]; taken {
				w.Fatalf("members %d and %d both use %v", other, r.number, slot)
			}
			users[slot] = r.number
		}
	}
}

func (w *mixed) token() Token {
	w.next++
	return w.next
}

// beat has a member say what it would say now.
func (w *mixed) beat(r *rider) {
	switch {
	case !r.alive || r.waits != 0 && r.kind != modern:
		return
	case r.kind == modern:
		w.beatModern(r)
	case r.id == "" || r.epoch < 0:
		w.join(r)
	case r.joined:
		w.sync(r)
	case r.kind == cooperative && !r.uses.Equal(r.told):
		r.uses = r.told
		w.join(r)
	default:
		r.waits = w.token()
		w.do(r, Heartbeat{Token: r.waits, MemberID: r.id, Instance: r.instance, Generation: r.epoch})
	}
}

func (w *mixed) beatModern(r *rider) {
	if r.id == "" {
		r.id, r.epoch = fmt.Sprintf("m%d-%d", r.number, w.token()), 0
	}
	e := ConsumerHeartbeat{
		Token: w.token(), MemberID: r.id, Epoch: r.epoch, Instance: r.instance, RebalanceMillis: -1, SessionMillis: 1000,
		AssignMillis: w.assign,
	}
	if w.rand.IntN(2) == 0 {
		r.uses = r.told // it has finished giving up what it may not have
	}
	if r.epoch == 0 {
		r.uses, r.told = nil, nil
	}
	if r.epoch == 0 || w.rand.IntN(3) > 0 {
		owned := slices.Clone(r.uses)
		if owned == nil {
			owned = assign.Slots{}
		}
		e.Owned, e.RebalanceMillis = &owned, 1<<30
		everything := "t.*"
		if r.pattern {
			e.Pattern = &everything
		} else {
			e.Names = w.names()
		}
	}
	r.waits = e.Token
	w.do(r, e)
}

func (w *mixed) names() []string { return []string{"t0", "t1", "t2"} }

func (w *mixed) join(r *rider) {
	said := kmsg.NewConsumerMemberMetadata()
	said.Version, said.Topics = 3, w.names()
	if r.kind == eager {
		r.uses, r.told = nil, nil
	} else {
		r.uses = r.told
		for _, run := range byTopic(r.uses) {
			o := kmsg.NewConsumerMemberMetadataOwnedPartition()
			o.Topic = w.catalog.nameOf(run[0].Topic)
			for _, slot := range run {
				o.Partitions = append(o.Partitions, slot.Partition)
			}
			said.OwnedPartitions = append(said.OwnedPartitions, o)
		}
	}
	r.waits, r.joined = w.token(), false
	w.do(r, Join{
		Token: r.waits, MemberID: r.id, NewID: fmt.Sprintf("c%d-%d", r.number, r.waits), Instance: r.instance,
		ProtocolType: "consumer", NamesFirst: true, SessionMillis: 1000, RebalanceMillis: 1 << 30,
		Protocols: []Protocol{{"sticky", said.AppendTo(nil)}},
	})
}

// sync brings an assignment, if the member leads: everybody gets a share, less what others still have.
func (w *mixed) sync(r *rider) {
	e := Sync{Token: w.token(), MemberID: r.id, Instance: r.instance, Generation: r.epoch}
	if len(r.leader) > 0 {
		e.Assignments = w.lead(r.leader)
	}
	r.leader, r.waits = nil, e.Token
	w.do(r, e)
}

func (w *mixed) lead(all []JoinedMember) map[string][]byte {
	owners := map[assign.Slot]string{}
	members := make([]assign.Member, len(all))
	for i, m := range all {
		said, _ := readSubscription(m.Metadata)
		owned := w.catalog.owned(said)
		for _, slot := range owned {
			owners[slot] = m.ID
		}
		names := map[string]bool{}
		for _, name := range said.names {
			names[name] = true
		}
		members[i] = assign.Member{ID: m.ID, Topics: w.catalog.named(names), Target: owned}
	}
	given := map[string][]byte{}
	for i, slots := range assign.Uniform(members) {
		slots = slices.DeleteFunc(slots, func(s assign.Slot) bool {
			return owners[s] != "" && owners[s] != all[i].ID
		})
		given[all[i].ID] = w.catalog.assignmentOf(slots)
	}
	return given
}

// leave has a member go, with a word or without.
func (w *mixed) leave(r *rider) {
	id, epoch, kind := r.id, r.epoch, r.kind
	r.alive, r.uses, r.told, r.id, r.epoch, r.joined = false, nil, nil, "", 0, false
	r.waits, r.leader = 0, nil // it hears no answer any more
	if kind != modern {
		r.epoch = -1
	}
	if id == "" || w.rand.IntN(3) == 0 {
		return
	}
	t := w.token()
	switch {
	case kind != modern:
		w.do(r, Leave{Token: t, Members: []Leaver{{ID: id, Instance: r.instance}}})
	case r.instance != nil && epoch > 0:
		w.do(r, ConsumerHeartbeat{Token: t, MemberID: id, Instance: r.instance, Epoch: leaveStaticEpoch, SessionMillis: 1000})
	default:
		w.do(r, ConsumerHeartbeat{Token: t, MemberID: id, Instance: r.instance, Epoch: leaveEpoch})
	}
}

// act has something happen.
func (w *mixed) act() {
	r := w.riders[w.rand.IntN(len(w.riders))]
	switch w.rand.IntN(20) {
	case 0:
		if r.alive {
			w.leave(r)
		} else {
			r.alive = true
			if r.kind != modern {
				r.epoch = -1
			}
		}
	case 1:
		w.grow()
	case 2:
		w.m.Refresh(w.catalog, w.now, &w.fx)
		w.turn()
	case 3:
		w.pass(w.rand.Int64N(400))
	case 4, 5, 6:
		w.commit(w.rand.IntN(len(w.flying) + 1))
	default:
		w.beat(r)
	}
}

// pass lets time go by. Whoever lives has just been heard of: only the dead expire.
func (w *mixed) pass(millis int64) {
	for _, r := range w.riders {
		w.beat(r)
	}
	w.m.Rearm(w.now)
	for _, one := range w.silent() {
		one.expires = w.now.Mono + 100
	}
	w.m.rewind()
	w.now.Mono += millis
	w.m.Tick(w.now, &w.fx)
	w.turn()
}

// silent are the members whose client is dead.
func (w *mixed) silent() []*consumer {
	if w.m.consumers == nil {
		for _, one := range w.m.members {
			if !w.lives(one.id) {
				one.expires = w.now.Mono + 100
			}
		}
		return nil
	}
	var dead []*consumer
	for _, one := range w.m.consumers.members {
		if !w.lives(one.id) {
			dead = append(dead, one)
		}
	}
	return dead
}

func (w *mixed) lives(id string) bool {
	return slices.ContainsFunc(w.riders, func(r *rider) bool {
		return r.alive && (r.id == id || id == fmt.Sprintf("c%d-%d", r.number, r.waits))
	})
}

// settle lets everything arrive, with everybody alive beating. In the end each partition is used by one.
func (w *mixed) settle() {
	for step := range 200 {
		w.commit(len(w.flying))
		for _, r := range w.riders {
			if step == 100 && r.kind != modern && r.alive && w.m.consumers == nil {
				r.epoch = -1 // it has seen that there are more partitions
			}
		}
		w.m.Refresh(w.catalog, w.now, &w.fx)
		w.turn()
		w.commit(len(w.flying))
		w.pass(150)
	}
	living, used := 0, 0
	for _, r := range w.riders {
		if r.alive {
			living++
			r.uses = r.told
			used += len(r.uses)
		}
	}
	want := 0
	for _, t := range w.topics {
		want += int(t.Partitions)
	}
	w.check()
	if living > 0 && used != want {
		w.Fatalf("in the end %d partitions of %d are used by %d members", used, want, living)
	}
	if s := w.m.Summary().State; living > 0 && s != Stable {
		w.Fatalf("in the end the group is %v", s)
	}
}

// TestNoPartitionIsUsedByTwoMembersWhateverFails: members of both protocols come and go, topics grow, and
// the leader fails at any record. Nobody ever uses what another one uses, and in the end everything is
// used.
func TestNoPartitionIsUsedByTwoMembersWhateverFails(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newMixed(t, seed)
			every := 2 + w.rand.IntN(60)
			for range 300 {
				w.act()
				if w.rand.IntN(every) == 0 {
					w.fail()
				}
			}
			w.settle()
		})
	}
}
