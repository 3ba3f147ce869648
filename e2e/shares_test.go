package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sharing is a share group, and what its members have seen.
type sharing struct {
	*cluster
	topic, group string
	// queue is where dead letters go; members reject what ends with a zero.
	queue string
	mu    sync.Mutex
	// delivered counts how often each value was, accepted are those whose acknowledgement was answered.
	delivered map[string]int
	accepted  map[string]bool
}

// sharingMember is one member, whose network can be cut.
type sharingMember struct {
	*sharing
	client *kgo.Client
	cut    atomic.Bool
	mu     sync.Mutex
	conns  []net.Conn
	// failed counts acknowledgements that were not answered with success.
	failed atomic.Int64
}

func (s *sharing) join() *sharingMember {
	s.t.Helper()
	m := &sharingMember{sharing: s}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...), kgo.ShareGroup(s.group), kgo.ConsumeTopics(s.topic),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.FetchMaxWait(200*time.Millisecond), kgo.ShareMaxRecords(20),
		kgo.Dialer(m.dial), kgo.ShareAckCallback(func(_ *kgo.Client, results kgo.ShareAckResults) {
			if results.Error() != nil {
				m.failed.Add(1)
			}
		}))
	if err != nil {
		s.t.Fatal(err)
	}
	m.client = client
	return m
}

func (m *sharingMember) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.cut.Load() {
		return nil, errors.New("the network is cut")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err == nil {
		m.mu.Lock()
		m.conns = append(m.conns, conn)
		m.mu.Unlock()
	}
	return conn, err
}

// die ends a member as a kill does: its connections end, and it says nothing.
func (m *sharingMember) die() {
	m.cut.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, conn := range m.conns {
		_ = conn.Close() // it may have ended before
	}
}

// poll takes what the member is given. A record that was accepted before must not come again.
func (m *sharingMember) poll(ctx context.Context) (values []string) {
	m.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
		values = append(values, string(r.Value))
		if useless(string(r.Value)) {
			r.Ack(kgo.AckReject)
		}
	})
	m.sharing.mu.Lock()
	defer m.sharing.mu.Unlock()
	for _, v := range values {
		m.delivered[v]++
		if m.accepted[v] {
			m.t.Errorf("%s is given again, although its acknowledgement was answered", v)
		}
	}
	return values
}

// useless are the values that members reject.
func useless(value string) bool { return strings.HasSuffix(value, "0") }

// work takes records and accepts or rejects them until ctx ends.
func (m *sharingMember) work(ctx context.Context) {
	for ctx.Err() == nil {
		values := m.poll(ctx)
		failed := m.failed.Load()
		m.client.MarkAcks(kgo.AckAccept)
		if err := m.client.FlushAcks(ctx); err != nil || m.failed.Load() != failed {
			continue // some are not known to be accepted
		}
		m.sharing.mu.Lock()
		for _, v := range values {
			m.accepted[v] = true
		}
		m.sharing.mu.Unlock()
	}
}

// configure has the group begin at the start of partitions, and have a dead-letter queue.
func (s *sharing) configure(ctx context.Context, client *kgo.Client) {
	s.t.Helper()
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := func(kind kmsg.ConfigResourceType, name string, set map[string]string) {
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kind, name
		for key, value := range set {
			c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			c.Name, c.Value = key, &value
			r.Configs = append(r.Configs, c)
		}
		q.Resources = append(q.Resources, r)
	}
	resource(kmsg.ConfigResourceTypeGroupConfig, s.group, map[string]string{
		"share.auto.offset.reset": "earliest", "errors.deadletterqueue.topic.name": s.queue,
		"errors.deadletterqueue.copy.record.enable": "true",
	})
	resource(kmsg.ConfigResourceTypeTopic, s.queue, map[string]string{"errors.deadletterqueue.group.enable": "true"})
	answer, err := q.RequestWith(ctx, client)
	if err != nil {
		s.t.Fatalf("set configs: %v", err)
	}
	for _, r := range answer.Resources {
		if r.ErrorCode != 0 {
			s.t.Fatalf("set configs of %s: %+v", r.ResourceName, r)
		}
	}
}

// letters wants a dead letter of every record that is useless, and none of one that was accepted.
func (s *sharing) letters(ctx context.Context, admin *kadm.Client, all []string) {
	s.t.Helper()
	ends, err := admin.ListCommittedOffsets(ctx, s.queue)
	if err != nil {
		s.t.Fatal(err)
	}
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...), kgo.ConsumeTopics(s.queue),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	found := map[string]int{}
	for read := int64(0); read < total && ctx.Err() == nil; {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			read++
			found[string(r.Value)]++
			if len(r.Headers) == 0 || r.Headers[0].Key != "__dlq.errors.topic" || string(r.Headers[0].Value) != s.topic {
				s.t.Errorf("letter of %s: got headers %v", r.Value, r.Headers)
			}
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range all {
		switch {
		case useless(v) && found[v] == 0:
			s.t.Errorf("no letter tells of %s, which was rejected", v)
		case !useless(v) && found[v] > 0 && s.accepted[v]:
			s.t.Errorf("a letter tells of %s, which was accepted", v)
		}
	}
	s.t.Logf("%d letters of %d records", total, len(found))
}

// done waits until nothing is left to be given to anybody.
func (s *sharing) done(admin *kadm.Client) {
	s.t.Helper()
	s.eventually(20*time.Second, "everything is done", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		described, err := admin.DescribeShareGroupOffsets(ctx, s.group)
		if err != nil {
			return err
		}
		g := described[s.group]
		if g.Err != nil {
			return g.Err
		}
		var left error
		partitions := 0
		g.Offsets.Each(func(o kadm.ShareOffset) {
			partitions++
			if o.Err != nil || o.Lag != 0 {
				left = fmt.Errorf("partition %d: start %d, lag %d, %w", o.Partition, o.StartOffset, o.Lag, o.Err)
			}
		})
		if partitions == 0 && left == nil {
			return errors.New("no partitions are described")
		}
		return left
	})
}

// cut waits until the log of a state begins where something was before.
func (s *sharing) cut(ctx context.Context, admin *kadm.Client) {
	s.t.Helper()
	s.eventually(20*time.Second, "the states are cut", func() error {
		starts, err := admin.ListStartOffsets(ctx, "__share_group_state")
		if err != nil {
			return err
		}
		cut := 0
		starts.Each(func(o kadm.ListedOffset) {
			if o.Err == nil && o.Offset > 0 {
				cut++
			}
		})
		if cut == 0 {
			return fmt.Errorf("none of %d partitions is", len(starts["__share_group_state"]))
		}
		return nil
	})
}

// TestShareGroupOutlivesKilledBrokersAndMembers: each record is given to somebody, none whose acknowledgement
// was answered is ever given again, what a member held that is gone comes to another one, and what was rejected
// is in the dead-letter queue, while the leaders of all of them are killed with -9.
func TestShareGroupOutlivesKilledBrokersAndMembers(t *testing.T) {
	s := &sharing{
		cluster: start(t, options{restart: true, args: []string{
			"--set", "group.share.session.timeout.ms=3000", "--set", "group.share.heartbeat.interval.ms=500",
			"--set", "share.coordinator.state.topic.prune.interval.ms=200",
			"--set", "share.coordinator.cold.partition.snapshot.interval.ms=300",
		}}), topic: "work", group: "workers", queue: "dlq.work",
		delivered: map[string]int{}, accepted: map[string]bool{},
	}
	s.createTopic(0, s.topic, 3, 3)
	s.createTopic(0, s.queue, 2, 3)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s.configure(ctx, client)
	var all []string
	feed := func(n int) {
		var values []string
		for range n {
			values = append(values, fmt.Sprint("v", len(all)+len(values)))
		}
		all = append(all, values...)
		s.write(s.topic, values)
	}
	feed(300)
	victim := s.join()
	for len(victim.poll(ctx)) == 0 && ctx.Err() == nil {
		continue
	}
	victim.die()

	var working sync.WaitGroup
	var members []*sharingMember
	workCtx, stop := context.WithCancel(ctx)
	for range 2 {
		m := s.join()
		members = append(members, m)
		working.Go(func() { m.work(workCtx) })
	}
	for _, broker := range []int{0, 1} {
		feed(300)
		s.signal(broker, syscall.SIGKILL)
		s.serves(broker)
	}
	began := time.Now()
	s.eventually(30*time.Second, "every record is given", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.delivered) < len(all) {
			return fmt.Errorf("%d of %d are", len(s.delivered), len(all))
		}
		return nil
	})
	s.done(kadm.NewClient(client))
	s.letters(ctx, kadm.NewClient(client), all)
	s.cut(ctx, kadm.NewClient(client))
	if out := s.run("group", "list", "--bootstrap-server", s.kafka[0]); !strings.Contains(out, "share") {
		t.Errorf("group list: got %q, want a share group in it", out)
	}
	if out := s.run("group", "describe", s.group, "--bootstrap-server", s.kafka[2]); !strings.Contains(out, "share protocol") ||
		!strings.Contains(out, s.topic) {
		t.Errorf("group describe: got %q, want a share group with topic %s", out, s.topic)
	}
	stop()
	working.Wait()
	again := 0
	for _, count := range s.delivered {
		again += count - 1
	}
	t.Logf("%d records, %d given again, %d acceptances answered; all done %v after the last kill", len(all), again,
		len(s.accepted), time.Since(began).Round(time.Millisecond))
	if len(s.accepted) < len(all)/2 {
		t.Errorf("accepted: got %d of %d, want most", len(s.accepted), len(all))
	}
	victim.cut.Store(false) // it is over; closing should not have to wait
	victim.client.Close()
	for _, m := range members {
		m.client.Close()
	}
}
