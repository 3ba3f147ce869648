package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

// crowd is many groups of many members, without the connections.
type crowd struct {
	*harness
	groups, members int
	mu              sync.Mutex
	joined          map[string][]*group.Joined
}

func (c *crowd) do(name string, e func(group.Token) group.Event) (any, error) {
	t := c.Broker.groups.token()
	return c.Broker.groups.do(context.Background(), name, t, e(t), time.Minute)
}

// settle has one member join and ask for its assignment until both are of one generation, as clients do.
func (c *crowd) settle(name string) (*group.Joined, error) {
	id := ""
	for {
		result, err := c.do(name, func(t group.Token) group.Event {
			return group.Join{
				Token: t, MemberID: id, NewID: memberID("crowd", nil), ClientID: "crowd", Host: "/10.0.0.1",
				ProtocolType: "consumer", SessionMillis: 60_000, RebalanceMillis: 60_000,
				Protocols: []group.Protocol{{Name: "range", Metadata: make([]byte, 100)}},
			}
		})
		if err != nil {
			return nil, fmt.Errorf("join: %w", err)
		}
		j := result.(*group.Joined)
		id = j.MemberID
		assignments := map[string][]byte{}
		for _, m := range j.Members {
			assignments[m.ID] = make([]byte, 100)
		}
		if len(j.Members) > 0 && len(j.Members) < c.members {
			continue // the leader waits for the whole group, and joins again
		}
		_, err = c.do(name, func(t group.Token) group.Event {
			return group.Sync{Token: t, MemberID: id, Generation: j.Generation, Assignments: assignments}
		})
		switch {
		case err == nil:
			return j, nil
		case !errors.Is(err, group.ErrRebalancing):
			return nil, fmt.Errorf("sync: %w", err)
		}
	}
}

// everyMember runs something for all members at once, and returns how long each took.
func (c *crowd) everyMember(do func(name string, number int) error) []time.Duration {
	c.Helper()
	took := make([]time.Duration, c.groups*c.members)
	var all sync.WaitGroup
	for g := range c.groups {
		for m := range c.members {
			all.Go(func() {
				began := time.Now()
				if err := do(fmt.Sprint("group-", g), m); err != nil {
					c.Errorf("group %d, member %d: %v", g, m, err)
				}
				took[g*c.members+m] = time.Since(began)
			})
		}
	}
	all.Wait()
	slices.Sort(took)
	return took
}

func (c *crowd) tell(what string, took []time.Duration, whole time.Duration) {
	at := func(share float64) time.Duration {
		return took[int(float64(len(took)-1)*share)].Round(10 * time.Microsecond)
	}
	c.Logf("%s: %d in %v; all sent at once, p50 %v, p99 %v, worst %v", what, len(took),
		whole.Round(time.Millisecond), at(0.5), at(0.99), at(1))
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestThousandGroupsOfTenLoseNobody: all join at once, beat, commit, and are all there after a change of
// leadership. It shows what they cost.
func TestThousandGroupsOfTenLoseNobody(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand members take seconds")
	}
	h := startOver(t, 64<<20, func(c *Config) { c.Groups.InitialDelay = 100 * time.Millisecond })
	h.create("t", 10)
	h.coordinates("group-0")
	c := &crowd{harness: h, groups: 1000, members: 10, joined: map[string][]*group.Joined{}}
	before := heapBytes()
	began := time.Now()
	took := c.everyMember(func(name string, _ int) error {
		j, err := c.settle(name)
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.joined[name] = append(c.joined[name], j)
		}
		return err
	})
	c.tell("join and sync", took, time.Since(began))
	grown := heapBytes() - before
	t.Logf("memory: %d KiB, %d bytes per member, batches in the log's memory included", grown>>10, grown/10_000)
	if grown > 200<<20 {
		t.Errorf("memory: got %d bytes, want at most 200 MiB", grown)
	}

	began = time.Now()
	took = c.everyMember(func(name string, n int) error { return c.beat(name, n) })
	c.tell("heartbeat", took, time.Since(began))
	began = time.Now()
	took = c.everyMember(func(name string, n int) error {
		j := c.joined[name][n]
		_, err := c.do(name, func(t group.Token) group.Event {
			return group.Commit{Token: t, MemberID: j.MemberID, Generation: j.Generation, Offsets: []group.CommitOffset{
				{Place: group.Place{Topic: "t", Partition: int32(n)}, Offset: group.Offset{Offset: 7, ExpiresAt: -1}},
			}}
		})
		return err
	})
	c.tell("commit", took, time.Since(began))

	began = time.Now()
	for index := range int32(50) {
		h.cluster.move(t, offsetsTopic, index, testNode, 1)
	}
	took = c.everyMember(func(name string, n int) error {
		for {
			err := c.beat(name, n)
			if !errors.Is(err, errNotCoordinator) && !errors.Is(err, errCoordinatorLoading) {
				return err
			}
			runtime.Gosched()
		}
	})
	c.tell("heartbeat answered by the next coordinator", took, time.Since(began))
}

func (c *crowd) beat(name string, n int) error {
	j := c.joined[name][n]
	_, err := c.do(name, func(t group.Token) group.Event {
		return group.Heartbeat{Token: t, MemberID: j.MemberID, Generation: j.Generation}
	})
	return err
}

// BenchmarkHeartbeat is one member's heartbeat, from the handler to the shard and back.
func BenchmarkHeartbeat(b *testing.B) {
	h := startGroups(b)
	h.coordinates("g")
	j := h.join("g")
	q := kmsg.NewPtrHeartbeatRequest()
	q.Group, q.MemberID, q.Generation = "g", j.MemberID, j.Generation
	b.ReportAllocs()
	for b.Loop() {
		if r := h.heartbeat(b.Context(), nil, q).(*kmsg.HeartbeatResponse); r.ErrorCode != 0 {
			b.Fatalf("heartbeat: %v", code(r.ErrorCode))
		}
	}
}
