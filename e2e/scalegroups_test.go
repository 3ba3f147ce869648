package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	crowdGroups  = 1000
	crowdMembers = 10
	// crowdVictim is the broker that is killed.
	crowdVictim = 2
	// crowdRounds of heartbeats are enough for everybody of KIP-848 to have its partition.
	crowdRounds = 30
	// crowdSession is longer than any step: nobody beats while others are counted.
	crowdSession = "60000"
)

// attendee is one member of a group, on a connection of its own, as every member has in life.
type attendee struct {
	caller
	at     *seat
	group  string
	number int

	id    string
	epoch int32 // generation, or epoch of KIP-848
	owned []int32
}

// attendance is all members of all groups.
type attendance struct {
	scaled
	topic [16]byte
	all   []*attendee
}

// newAttendance starts three brokers and makes the topic; members are yet to connect.
func newAttendance(t *testing.T) *attendance {
	t.Helper()
	needScale(t)
	c := &attendance{scaled: scaled{fleet: newFleet(t, 3, "http.debug.profiles=true", "min.insync.replicas=2",
		"group.consumer.session.timeout.ms="+crowdSession)}}
	c.step("start", c.startAll)
	c.connects()
	made, err := c.admin.CreateTopic(within(t, scaleWithin), crowdMembers, 3, nil, "t")
	if err != nil {
		t.Fatal(err)
	}
	c.topic = made.ID
	for g := range crowdGroups {
		for n := range crowdMembers {
			name := fmt.Sprintf("group-%d", g)
			c.all = append(c.all, &attendee{at: coordinatorOf(c.client, 0, name), group: name, number: n})
		}
	}
	// the first to ask has the topic of the groups made
	c.step("coordinators are there", func() {
		c.eventually(readyWithin, "a coordinator", func() error {
			_, err := c.all[0].at.address(within(t, scaleWithin))
			return err
		})
	})
	t.Cleanup(func() {
		for _, m := range c.all {
			m.close()
		}
	})
	return c
}

// connects makes the client that finds coordinators and leaders for all. It asks again as soon as the callers do.
func (s *scaled) connects() {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...), kgo.MetadataMinAge(callAgain),
		kgo.RetryBackoffFn(func(int) time.Duration { return callAgain }))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	s.client, s.admin = client, kadm.NewClient(client)
}

// everybody does something at once; how long it took each is logged.
func (c *attendance) everybody(what string, do func(ctx context.Context, m *attendee) error) {
	c.t.Helper()
	took := make([]time.Duration, len(c.all))
	c.step(what, func() {
		ctx, cancel := context.WithTimeout(context.Background(), scaleWithin)
		defer cancel()
		var all sync.WaitGroup
		for i, m := range c.all {
			all.Go(func() {
				began := time.Now()
				if err := do(ctx, m); err != nil {
					c.t.Errorf("%s: member %d of %s: %v", what, m.number, m.group, err)
				}
				took[i] = time.Since(began)
			})
		}
		all.Wait()
	})
	if c.tell(took); c.t.Failed() {
		c.t.FailNow()
	}
}

// tell logs how long each took.
func (s *scaled) tell(took []time.Duration) {
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[(len(took)-1)*percent/100].Round(time.Millisecond) }
	s.t.Logf("    of %d: median %v, 99 %% within %v, longest %v", len(took), at(50), at(99), at(100))
}

// join has a member of the classic protocol join and get its assignment, from the leader that has seen everybody.
func (c *attendance) join(ctx context.Context, m *attendee) error {
	for {
		q := kmsg.NewPtrJoinGroupRequest()
		q.Version, q.Group, q.MemberID, q.ProtocolType = 9, m.group, m.id, "consumer"
		q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = 60_000, 60_000
		q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, 100)}}
		r, err := m.call(ctx, m.at, q)
		switch {
		case errors.Is(err, kerr.MemberIDRequired):
			m.id = r.(*kmsg.JoinGroupResponse).MemberID
			continue
		case errors.Is(err, kerr.RebalanceInProgress):
			continue
		case err != nil:
			return fmt.Errorf("join: %w", err)
		}
		joined := r.(*kmsg.JoinGroupResponse)
		if leads := joined.LeaderID == m.id; leads && len(joined.Members) < crowdMembers {
			continue // it waits for the whole group, and joins again
		}
		err = c.sync(ctx, m, joined)
		if !errors.Is(err, kerr.RebalanceInProgress) && !errors.Is(err, kerr.IllegalGeneration) {
			return err
		}
	}
}

func (c *attendance) sync(ctx context.Context, m *attendee, joined *kmsg.JoinGroupResponse) error {
	q := kmsg.NewPtrSyncGroupRequest()
	q.Version, q.Group, q.MemberID, q.Generation = 5, m.group, m.id, joined.Generation
	q.ProtocolType, q.Protocol = joined.ProtocolType, joined.Protocol
	for i, other := range joined.Members {
		q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{
			MemberID: other.MemberID, MemberAssignment: []byte{byte(i)}})
	}
	r, err := m.call(ctx, m.at, q)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	given := r.(*kmsg.SyncGroupResponse).MemberAssignment
	if len(given) != 1 {
		return fmt.Errorf("sync: got an assignment of %d bytes, want 1", len(given))
	}
	m.epoch, m.owned = joined.Generation, []int32{int32(given[0])}
	return nil
}

// beat is a heartbeat of the classic protocol, which must find the member where it was.
func (c *attendance) beat(ctx context.Context, m *attendee) error {
	q := kmsg.NewPtrHeartbeatRequest()
	q.Version, q.Group, q.MemberID, q.Generation = 4, m.group, m.id, m.epoch
	_, err := m.call(ctx, m.at, q)
	return err
}

// ride is a heartbeat of KIP-848; the first one joins.
func (c *attendance) ride(ctx context.Context, m *attendee) error {
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.Version, q.Group, q.MemberID, q.MemberEpoch = 1, m.group, m.id, m.epoch
	q.RebalanceTimeoutMillis, q.SubscribedTopicNames = 60_000, []string{"t"}
	q.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	if len(m.owned) > 0 {
		q.Topics = append(q.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: c.topic, Partitions: m.owned})
	}
	r, err := m.call(ctx, m.at, q)
	if err != nil {
		return err
	}
	said := r.(*kmsg.ConsumerGroupHeartbeatResponse)
	m.epoch = said.MemberEpoch
	if said.Assignment != nil {
		m.owned = nil
		for _, t := range said.Assignment.Topics {
			m.owned = append(m.owned, t.Partitions...)
		}
	}
	return nil
}

// stays is a heartbeat of KIP-848 that must change nothing.
func (c *attendance) stays(ctx context.Context, m *attendee) error {
	epoch, owned := m.epoch, slices.Clone(m.owned)
	if err := c.ride(ctx, m); err != nil {
		return err
	}
	if m.epoch != epoch || !slices.Equal(m.owned, owned) {
		return fmt.Errorf("got epoch %d and partitions %v, want %d and %v", m.epoch, m.owned, epoch, owned)
	}
	return nil
}

func (c *attendance) commit(ctx context.Context, m *attendee) error {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version, q.Group, q.MemberID, q.Generation = 9, m.group, m.id, m.epoch
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = m.owned[0], int64(1000+m.number)
	q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	_, err := m.call(ctx, m.at, q)
	return err
}

// settled: everybody has one partition, in each group another one.
func (c *attendance) settled() error {
	held := map[string]map[int32]bool{}
	for _, m := range c.all {
		if len(m.owned) != 1 {
			return fmt.Errorf("member %d of %s has partitions %v, want one", m.number, m.group, m.owned)
		}
		if held[m.group] == nil {
			held[m.group] = map[int32]bool{}
		}
		held[m.group][m.owned[0]] = true
	}
	for group, partitions := range held {
		if len(partitions) != crowdMembers {
			return fmt.Errorf("%s has %d partitions between them, want %d", group, len(partitions), crowdMembers)
		}
	}
	return nil
}

// failsOver kills a coordinator of a third of the groups: everybody is in the same place with the next one.
func (c *attendance) failsOver(beat func(ctx context.Context, m *attendee) error, described func() error) {
	c.t.Helper()
	c.kill(crowdVictim)
	c.everybody("kill -9 of one: heartbeat answered", beat)
	c.everybody("commit after it", c.commit)
	c.step("it serves again", func() {
		c.start(crowdVictim)
		c.serves(crowdVictim)
	})
	c.everybody("heartbeat when it is back", beat)
	c.step("all groups described, all offsets fetched", func() {
		c.eventually(scaleWithin, "all groups with all members", described)
		c.eventually(scaleWithin, "all offsets", c.committedAll)
	})
}

// committedAll looks for every member's offset.
func (c *attendance) committedAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), scaleWithin)
	defer cancel()
	fetched := c.admin.FetchManyOffsets(ctx, c.groups()...)
	for _, m := range c.all {
		r := fetched[m.group]
		if r.Err != nil {
			return fmt.Errorf("offsets of %s: %w", m.group, r.Err)
		}
		if o, _ := r.Fetched.Lookup("t", m.owned[0]); o.At != int64(1000+m.number) {
			return fmt.Errorf("offset of %s partition %d: got %d, want %d", m.group, m.owned[0], o.At, 1000+m.number)
		}
	}
	return nil
}

func (c *attendance) groups() (names []string) {
	for _, m := range c.all {
		if m.number == 0 {
			names = append(names, m.group)
		}
	}
	return names
}

// TestTenThousandMembersOverSockets of 1,000 classic groups, each on a connection of its own, join three brokers
// at once, beat, commit, and lose nobody when a broker is killed with -9.
func TestTenThousandMembersOverSockets(t *testing.T) {
	c := newAttendance(t)
	c.everybody("connect, join and sync", c.join)
	if err := c.settled(); err != nil {
		t.Fatal(err)
	}
	c.everybody("heartbeat", c.beat)
	c.everybody("commit", c.commit)
	c.failsOver(c.beat, func() error {
		found, err := c.admin.DescribeGroups(within(t, scaleWithin), c.groups()...)
		if err := errors.Join(err, found.Error()); err != nil {
			return err
		}
		for name, g := range found {
			if g.State != "Stable" || len(g.Members) != crowdMembers {
				return fmt.Errorf("%s is %s with %d members, want Stable with %d", name, g.State, len(g.Members), crowdMembers)
			}
		}
		return nil
	})
}

// TestTenThousandModernMembersOverSockets is the same with the groups of KIP-848.
func TestTenThousandModernMembersOverSockets(t *testing.T) {
	c := newAttendance(t)
	for _, m := range c.all {
		m.id = fmt.Sprintf("%s-%d", m.group, m.number)
	}
	c.everybody("connect and join", c.ride)
	for round := 1; c.settled() != nil; round++ {
		if round > crowdRounds {
			t.Fatalf("after %d rounds: %v", crowdRounds, c.settled())
		}
		c.everybody(fmt.Sprintf("heartbeat, round %d", round), c.ride)
	}
	c.everybody("heartbeat of who has its partition", c.stays)
	c.everybody("commit", c.commit)
	c.failsOver(c.stays, func() error {
		found, err := c.admin.DescribeConsumerGroups(within(t, scaleWithin), c.groups()...)
		if err != nil {
			return err
		}
		for name, g := range found {
			if g.Err != nil || g.State != "Stable" || len(g.Members) != crowdMembers {
				return fmt.Errorf("%s is %s with %d members, want Stable with %d: %w", name, g.State, len(g.Members), crowdMembers, g.Err)
			}
		}
		return nil
	})
}
