package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is one consumer of a group, whichever client it is.
type member interface {
	// read are the values that it has read until now.
	read() []string
	// stop leaves the group.
	stop()
}

// values are what a member has read.
type values struct {
	mu  sync.Mutex
	all []string
}

func (v *values) add(value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all = append(v.all, value)
}

func (v *values) read() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.all...)
}

// groupSpec says how the members of a group are to be.
type groupSpec struct {
	topic, group string
}

// franzMember is a consumer of this process.
type franzMember struct {
	values
	client *kgo.Client
	cancel context.CancelFunc
	ended  chan struct{}
}

func (c *cluster) franzMember(broker int, s groupSpec) *franzMember {
	c.t.Helper()
	m := &franzMember{ended: make(chan struct{})}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.kafka[broker]), kgo.ConsumerGroup(s.group), kgo.ConsumeTopics(s.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.Balancers(kgo.RangeBalancer()),
		kgo.HeartbeatInterval(200 * time.Millisecond), kgo.SessionTimeout(10 * time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.FetchMaxWait(100 * time.Millisecond),
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.client, m.cancel = client, cancel
	go m.run(ctx)
	c.t.Cleanup(m.stop)
	return m
}

func (m *franzMember) run(ctx context.Context) {
	defer close(m.ended)
	for ctx.Err() == nil {
		m.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { m.add(string(r.Value)) })
		// Between two generations nothing may be committed; what was read is read again.
		_ = m.client.CommitUncommittedOffsets(ctx)
	}
}

func (m *franzMember) stop() {
	m.cancel()
	<-m.ended
	m.client.Close()
}

// write produces values to a topic, in any partition.
func (c *cluster) write(topic string, all []string) {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, v := range all {
		client.Produce(ctx, kgo.StringRecord(v), func(_ *kgo.Record, err error) {
			if err != nil {
				c.t.Errorf("produce %s: %v", v, err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		c.t.Fatalf("flush: %v", err)
	}
}

// readBy waits until the members have read all values, together.
func (c *cluster) readBy(members []member, all []string) {
	c.t.Helper()
	c.eventually(60*time.Second, "the group reads everything", func() error {
		seen := map[string]bool{}
		for _, m := range members {
			for _, v := range m.read() {
				seen[v] = true
			}
		}
		for _, v := range all {
			if !seen[v] {
				return fmt.Errorf("%s is not read, and %d of %d are", v, len(seen), len(all))
			}
		}
		return nil
	})
}

// admin is an admin client that bootstraps through one broker.
func (c *cluster) admin(broker int) *kadm.Client {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka[broker]), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// committed is the sum of a group's offsets, asked through a broker.
func (c *cluster) committed(broker int, group string) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	offsets, err := c.admin(broker).FetchOffsets(ctx, group)
	if err != nil {
		return 0, err
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum, offsets.Error()
}

func (c *cluster) described(broker int, group string) (kadm.DescribedGroup, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := c.admin(broker).DescribeGroups(ctx, group)
	if err != nil {
		return kadm.DescribedGroup{}, err
	}
	return all[group], all[group].Err
}

// stable waits until a group is, with so many members.
func (c *cluster) stable(group string, members int) kadm.DescribedGroup {
	c.t.Helper()
	var d kadm.DescribedGroup
	c.eventually(60*time.Second, "a stable group", func() (err error) {
		if d, err = c.described(0, group); err != nil {
			return err
		}
		if d.State != "Stable" || len(d.Members) != members {
			return fmt.Errorf("it is %s with %d members, want Stable with %d", d.State, len(d.Members), members)
		}
		return nil
	})
	return d
}

func lines(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%03d", prefix, i)
	}
	return all
}

var noDelay = options{restart: true, args: []string{"--set", "group.initial.rebalance.delay.ms=0"}}

// failure mode 46: consumers that bootstrap through different brokers are one group, and what they have
// committed survives the death of their coordinator. They go on where they were.
func TestGroupIsOneThroughAllBrokersAndOutlivesItsCoordinator(t *testing.T) {
	const partitions, each = 6, 120
	c := start(t, noDelay)
	s := groupSpec{topic: "orders", group: "billing"}
	c.createTopic(0, s.topic, partitions, 3)
	first := lines("first", each)
	c.write(s.topic, first)
	members := []member{c.franzMember(0, s), c.franzMember(1, s)}
	d := c.stable(s.group, 2)
	for _, m := range d.Members {
		assigned, _ := m.Assigned.AsConsumer()
		if len(assigned.Topics) != 1 || len(assigned.Topics[0].Partitions) != partitions/2 {
			t.Errorf("member %s has %+v, want half of the partitions", m.MemberID, assigned)
		}
	}
	c.readBy(members, first)
	for broker := range 3 {
		c.eventually(30*time.Second, "the same offsets through every broker", func() error {
			if sum, err := c.committed(broker, s.group); err != nil || sum != each {
				return fmt.Errorf("through broker %d: %d, %w", broker+1, sum, err)
			}
			return nil
		})
	}
	for kill := range 2 {
		d := c.stable(s.group, 2)
		victim := int(d.Coordinator.NodeID) - 1
		c.signal(victim, syscall.SIGKILL)
		began := time.Now()
		asked := (victim + 1) % 3
		c.eventually(20*time.Second, "offsets after the kill", func() error {
			sum, err := c.committed(asked, s.group)
			if err != nil {
				return err
			}
			if want := int64(each * (kill + 1)); sum != want {
				t.Fatalf("offsets after the kill sum up to %d, want %d", sum, want)
			}
			return nil
		})
		t.Logf("coordinator %d was replaced within %s", victim+1, time.Since(began).Round(time.Millisecond))
		more := lines(fmt.Sprint("more", kill), each)
		c.write(s.topic, more)
		c.readBy(members, more)
		c.eventually(30*time.Second, "everything committed", func() error {
			if sum, err := c.committed(asked, s.group); err != nil || sum != int64(each*(kill+2)) {
				return fmt.Errorf("%d, %w", sum, err)
			}
			return nil
		})
		c.healthy(60 * time.Second)
	}
	c.checkGroupCommand(s.group, members, each*3)
}

// checkGroupCommand: the command line shows the group, moves its offsets once its members are gone, and
// deletes it.
func (c *cluster) checkGroupCommand(group string, members []member, committed int64) {
	c.t.Helper()
	through := []string{"--bootstrap-server", c.kafka[0]}
	command := func(args ...string) string { return c.run(append(append([]string{"group"}, args...), through...)...) }
	if out := command("describe", group); !strings.Contains(out, "Stable") || !strings.Contains(out, "2 members") {
		c.t.Errorf("group describe says\n%s\nwant a stable group of 2", out)
	}
	refused := exec.Command(c.bin, append([]string{"group", "reset-offsets", group, "--all-topics", "--to-earliest", "--execute"}, through...)...)
	if out, err := refused.CombinedOutput(); err == nil || !strings.Contains(string(out), "2 members") {
		c.t.Errorf("reset of a group with members: got %v\n%s\nwant it to be refused", err, out)
	}
	for _, m := range members {
		m.stop()
	}
	command("reset-offsets", group, "--all-topics", "--to-earliest")
	if sum, err := c.committed(1, group); err != nil || sum != committed {
		c.t.Errorf("offsets after a reset that was only shown: got %d, %v, want %d", sum, err, committed)
	}
	var moved []struct{ From, To int64 }
	if err := json.Unmarshal([]byte(command("reset-offsets", group, "--all-topics", "--to-earliest", "--execute", "--json")), &moved); err != nil {
		c.t.Fatal(err)
	}
	for _, m := range moved {
		committed -= m.From
	}
	if sum, err := c.committed(2, group); err != nil || sum != 0 || committed != 0 {
		c.t.Errorf("offsets after the reset: got %d, %v, want 0; %d were not moved", sum, err, committed)
	}
	command("delete", group)
	if out := command("list"); strings.Contains(out, group) {
		c.t.Errorf("group list says\n%s\nwant %s to be gone", out, group)
	}
}

// A coordinator that was stopped and goes on answers what it was asked meanwhile before it can know that
// another has taken its place: it must not tell the offsets of its own time.
func TestPausedCoordinatorTellsNoOldOffsets(t *testing.T) {
	c := start(t, noDelay)
	const topic, group = "paused", "paused"
	c.createTopic(0, topic, 1, 3)
	refused := 0
	for offset := int64(1); offset <= 3; offset += 2 {
		c.commitThrough(0, topic, group, offset)
		var d kadm.DescribedGroup
		c.eventually(20*time.Second, "a coordinator", func() (err error) {
			d, err = c.described(0, group)
			return err
		})
		if g, err := c.pausedAnswer(int(d.Coordinator.NodeID)-1, topic, group, offset); err != nil {
			t.Logf("the paused coordinator's connection ended: %v", err)
		} else if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			refused++
			t.Logf("the paused coordinator says %v", err)
		} else if len(g.Topics) != 1 || g.Topics[0].Partitions[0].Offset != offset+1 {
			t.Errorf("the paused coordinator says %+v, want an error or %d", g, offset+1)
		}
		c.healthy(60 * time.Second)
	}
	if refused == 0 {
		t.Errorf("no paused coordinator has answered after its pause")
	}
}

// commitThrough commits an offset of partition 0, knowing one broker at first.
func (c *cluster) commitThrough(broker int, topic, group string, offset int64) {
	c.t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, offset, -1)
	c.eventually(30*time.Second, "a commit", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		defer cancel()
		return c.admin(broker).CommitAllOffsets(ctx, group, offsets)
	})
}

// pausedAnswer stops the coordinator, has it asked for the offset meanwhile, commits the next one with its
// successor, and returns what it says when it goes on.
func (c *cluster) pausedAnswer(
	victim int, topic, group string, offset int64,
) (kmsg.OffsetFetchResponseGroup, error) {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka[victim]), kgo.RequestTimeoutOverhead(time.Minute))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	ask := func() (kmsg.OffsetFetchResponseGroup, error) {
		q := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		q.Groups = append(q.Groups, g)
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		r, err := client.Broker(victim+1).Request(ctx, q)
		if err != nil {
			return kmsg.OffsetFetchResponseGroup{}, err
		}
		return r.(*kmsg.OffsetFetchResponse).Groups[0], nil
	}
	if g, err := ask(); err != nil || len(g.Topics) != 1 || g.Topics[0].Partitions[0].Offset != offset {
		c.t.Fatalf("before the pause: got %+v, %v, want %d", g, err, offset)
	}
	pid := c.pid(victim)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
	// The signal takes a moment, in which the coordinator may answer yet, and rightly.
	c.eventually(5*time.Second, "a stopped process", func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), ") T ") {
			err = fmt.Errorf("it is not: %s", stat)
		}
		return err
	})
	type answer struct {
		group kmsg.OffsetFetchResponseGroup
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		g, err := ask()
		answers <- answer{g, err}
	}()
	c.commitThrough((victim+1)%3, topic, group, offset+1)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		c.t.Fatal(err)
	}
	got := <-answers
	return got.group, got.err
}
