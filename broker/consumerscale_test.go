package broker

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"outrigger/broker/group"
	"outrigger/broker/group/assign"
)

// rider is a member of the consumer protocol, without the connection.
type rider struct {
	id    string
	epoch int32
	owned assign.Slots
}

// ride has a member beat once, as a client does after each outcome. A busy machine may ask for patience.
func (c *crowd) ride(name string, r *rider) error {
	e := group.ConsumerHeartbeat{
		MemberID: r.id, Epoch: r.epoch, ClientID: "crowd", Host: "/10.0.0.1", RebalanceMillis: 60_000,
		SessionMillis: 60_000, Names: []string{"t"}, Owned: &r.owned,
	}
	result, err := c.do(name, func(t group.Token) group.Event {
		e.Token = t
		return e
	})
	switch {
	case errors.Is(err, group.ErrFencedEpoch), errors.Is(err, group.ErrUnknownMember):
		r.epoch, r.owned = 0, assign.Slots{}
		return nil
	case asksAgain(err):
		return nil
	case err != nil:
		return err
	}
	beat := result.(*group.ConsumerBeat)
	r.epoch = beat.Epoch
	if beat.Assigned != nil {
		r.owned = *beat.Assigned
	}
	return nil
}

// TestThousandModernGroupsOfTenLoseNobody: all join at once, get one partition each, commit, and are all
// there, with the same partition, after a change of leadership. It shows what they cost.
func TestThousandModernGroupsOfTenLoseNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand members take seconds")
	}
	h := startOver(t, 64<<20)
	id := h.create("t", 10)
	h.coordinates("group-0")
	c := &crowd{harness: h, groups: 1000, members: 10}
	riders := make(map[string][]*rider, c.groups)
	for g := range c.groups {
		name := fmt.Sprint("group-", g)
		for n := range c.members {
			riders[name] = append(riders[name], &rider{id: fmt.Sprint(name, "-", n), owned: assign.Slots{}})
		}
	}
	before, began := heapBytes(), time.Now()
	took := c.everyMember(func(name string, n int) error { return c.ride(name, riders[name][n]) })
	c.tell("join", took, time.Since(began))
	for round := 0; ; round++ {
		began = time.Now()
		took = c.everyMember(func(name string, n int) error { return c.ride(name, riders[name][n]) })
		if c.tell("heartbeat", took, time.Since(began)); t.Failed() || round == 20 {
			t.Fatal("not everybody has a partition")
		}
		if c.settled(riders) {
			break
		}
	}
	grown := heapBytes() - before
	t.Logf("memory: %d KiB, %d bytes per member, batches in the log's memory included", grown>>10, grown/10_000)
	if grown > 200<<20 {
		t.Errorf("memory: got %d bytes, want at most 200 MiB", grown)
	}
	began = time.Now()
	took = c.everyMember(func(name string, n int) error {
		r := riders[name][n]
		for {
			_, err := c.do(name, func(t group.Token) group.Event {
				return group.Commit{Token: t, MemberID: r.id, Generation: r.epoch, KnowsEpochs: true,
					Offsets: []group.CommitOffset{{
						Place:  group.Place{Topic: "t", Partition: r.owned[0].Partition},
						Offset: group.Offset{Offset: 7, ExpiresAt: -1, TopicID: id},
					}}}
			})
			if !asksAgain(err) {
				return err
			}
		}
	})
	c.tell("commit", took, time.Since(began))

	began = time.Now()
	for index := range int32(50) {
		h.cluster.move(t, offsetsTopic, index, testNode, 1)
	}
	took = c.everyMember(func(name string, n int) error {
		r := riders[name][n]
		for {
			was, had := r.epoch, r.owned
			result, err := c.do(name, func(t group.Token) group.Event {
				return group.ConsumerHeartbeat{
					Token: t, MemberID: r.id, Epoch: r.epoch, RebalanceMillis: -1, SessionMillis: 60_000, Owned: &had,
				}
			})
			if asksAgain(err) {
				runtime.Gosched()
				continue
			}
			if beat, ok := result.(*group.ConsumerBeat); err == nil && ok && (beat.Epoch != was || beat.Assigned != nil) {
				return fmt.Errorf("after the change: epoch %d and %v, want %d and what it had", beat.Epoch, beat.Assigned, was)
			}
			return err
		}
	})
	c.tell("heartbeat answered by the next coordinator", took, time.Since(began))
}

// settled: every member has one partition, each another one.
func (c *crowd) settled(riders map[string][]*rider) bool {
	for _, all := range riders {
		var held []assign.Slot
		for _, r := range all {
			if len(r.owned) != 1 {
				return false
			}
			held = append(held, r.owned...)
		}
		if len(assign.SlotsOf(held)) != c.members {
			return false
		}
	}
	return true
}
