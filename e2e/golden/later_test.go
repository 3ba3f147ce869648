package golden

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/wal"
)

// Topics that a second broker is needed for. It is no voter, and is gone when the directory of the first one is
// kept.
const (
	mendedTopic = "mended" // replicas on both, of which the kept one was damaged, set aside and filled again
	leftTopic   = "left"   // was on both, and was taken off the second one while that was gone
	movingTopic = "moving" // moves to the second one, for ever
	sharedTopic = "shared" // a share group has some of it
	sharers     = "sharers"
)

// later is what clients read of what came after the first formats.
type later struct {
	// Topics are as in content.
	Topics map[string]partition
	// Placements maps partitions to their replicas, and what moves.
	Placements map[string]string
	// Throttles are configs of brokers and topics.
	Throttles map[string]string
	// Shared is where the share group begins.
	Shared int64
	// Kept is how many records the compaction of the compacted topic has left.
	Kept int
	// Quarantined are the files that were set aside for their damage.
	Quarantined []string
}

// writeLater has the first run of a broker on dir mend its log with the help of a second broker, which then
// goes. It returns the broker, that runs.
func writeLater(t *testing.T, binary, dir string) *broker {
	t.Helper()
	at := addresses(t, 1)[0]
	first := []string{"nats.cluster.listen=" + at, "controller.quorum.voters=1@" + at}
	b := start(t, binary, dir, first...)
	second := start(t, binary, filepath.Join(t.TempDir(), "second"), "node.id=2", first[1])
	b.eventually("the second broker is there", func(ctx context.Context) error { return b.brokers(ctx, 2) })
	for _, name := range []string{mendedTopic, leftTopic} {
		b.createOnBoth(name)
	}
	client, end := b.client()
	for n := range 30 {
		b.produce(client, mendedTopic, 0, fmt.Sprint(n), "mended")
		b.produce(client, leftTopic, 0, fmt.Sprint(n), "left")
	}
	end()
	b.stop(syscall.SIGKILL)
	flip(t, dir)
	b = start(t, binary, dir, first...)
	b.eventually("the damaged log is set aside and filled again", func(ctx context.Context) error {
		if len(quarantined(t, dir)) == 0 {
			return errors.New("nothing is set aside")
		}
		return b.inSync(ctx, mendedTopic, leftTopic)
	})
	second.stop(syscall.SIGTERM)
	b.eventually("the second broker is gone", func(ctx context.Context) error { return b.brokers(ctx, 1) })
	return b
}

// flip damages the middle one of the groups of a broker's log.
func flip(t *testing.T, dir string) {
	t.Helper()
	var groups []wal.DumpRecord
	_, err := wal.Dump(wal.OS(), filepath.Join(dir, "wal"), func(r wal.DumpRecord) {
		if r.Group != nil && r.Group.Records > 0 {
			groups = append(groups, r)
		}
	})
	must(t, err)
	if len(groups) < 3 {
		t.Fatalf("the log holds %d groups", len(groups))
	}
	middle := groups[len(groups)/2]
	file, err := os.OpenFile(middle.Name, os.O_RDWR, 0)
	must(t, err)
	one, at := make([]byte, 1), middle.At.Offset+middle.Bytes/2
	_, err = file.ReadAt(one, at)
	must(t, err)
	one[0] ^= 8
	_, err = file.WriteAt(one, at)
	must(t, errors.Join(err, file.Close()))
}

func quarantined(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "wal", "quarantine-*", "*"))
	must(t, err)
	for i := range found {
		found[i], err = filepath.Rel(dir, found[i])
		must(t, err)
	}
	return found
}

// brokers wants so many live ones.
func (b *broker) brokers(ctx context.Context, want int) error {
	admin, end := b.admin()
	defer end()
	live, err := admin.ListBrokers(ctx)
	if err == nil && len(live) != want {
		err = fmt.Errorf("%d brokers are live", len(live))
	}
	return err
}

// inSync wants both brokers to hold as much of each topic, in sync. In-sync sets alone would not do: until a broker
// that comes back is registered they name the one that went.
func (b *broker) inSync(ctx context.Context, names ...string) error {
	admin, end := b.admin()
	defer end()
	var set kadm.TopicsSet
	for _, name := range names {
		set.Add(name, 0)
	}
	dirs, err := admin.DescribeAllLogDirs(ctx, set)
	if err != nil {
		return err
	}
	meta, err := admin.Metadata(ctx, names...)
	if err != nil {
		return err
	}
	for _, name := range names {
		one, _ := dirs[1].LookupPartition(name, 0)
		two, _ := dirs[2].LookupPartition(name, 0)
		if p := meta.Topics[name].Partitions[0]; one.Size != two.Size || len(p.ISR) != 2 {
			return fmt.Errorf("%s: %d and %d bytes, in sync are %v", name, one.Size, two.Size, p.ISR)
		}
	}
	return nil
}

// createOnBoth creates a topic of one partition that the second broker leads.
func (b *broker) createOnBoth(name string) {
	b.Helper()
	client, end := b.client()
	defer end()
	q := kmsg.NewPtrCreateTopicsRequest()
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = name, -1, -1
	one.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: []int32{2, 1}}}
	for key, value := range map[string]string{"retention.ms": "-1", "min.insync.replicas": "1"} {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = key, &value
		one.Configs = append(one.Configs, c)
	}
	q.Topics = append(q.Topics, one)
	b.eventually("topic "+name+" is created", func(ctx context.Context) error {
		r, err := q.RequestWith(ctx, client)
		if err == nil && r.Topics[0].ErrorCode != 0 {
			err = fmt.Errorf("code %d, %s", r.Topics[0].ErrorCode, *r.Topics[0].ErrorMessage)
		}
		return err
	})
}

// fillLater writes what needs no second broker that is there.
func (b *broker) fillLater() {
	b.Helper()
	admin, end := b.admin()
	defer end()
	off := "-1"
	for _, name := range []string{movingTopic, sharedTopic} {
		b.create(admin, name, 1, map[string]*string{"retention.ms": &off})
	}
	client, end := b.client()
	defer end()
	for n := range 10 {
		b.produce(client, movingTopic, 0, "", fmt.Sprintf("moving %d", n))
		b.produce(client, sharedTopic, 0, "", fmt.Sprint(n))
	}
	b.share()
	b.reassign(admin, leftTopic, 1)
	b.reassign(admin, movingTopic, 2)
	set := func(name, value string) kadm.AlterConfig { return kadm.AlterConfig{Name: name, Value: &value} }
	b.eventually("throttles are set", func(ctx context.Context) error {
		_, all := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{set("reassignment.throttled.rate", "1000000")})
		_, one := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{set("leader.replication.throttled.rate", "2000000")}, 1)
		r, topic := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{set("leader.replication.throttled.replicas", "0:1")}, movingTopic)
		for _, answer := range r {
			topic = errors.Join(topic, answer.Err)
		}
		return errors.Join(all, one, topic)
	})
	dirty := []kadm.AlterConfig{set("min.cleanable.dirty.ratio", "0.01")}
	b.eventually("the compacted topic is compacted", func(ctx context.Context) error {
		if _, err := admin.AlterTopicConfigs(ctx, dirty, compactTopic); err != nil {
			return err
		}
		if n := b.metric("outrigger_compacted_logs_total"); n == 0 {
			return errors.New("no log was compacted")
		}
		return nil
	})
}

func (b *broker) reassign(admin *kadm.Client, name string, to int32) {
	b.Helper()
	var q kadm.AlterPartitionAssignmentsReq
	q.Assign(name, 0, []int32{to})
	b.eventually("a reassignment of "+name, func(ctx context.Context) error {
		r, err := admin.AlterPartitionAssignments(ctx, q)
		return errors.Join(err, r.Error())
	})
}

func (b *broker) shareConfig() {
	b.Helper()
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	of := kmsg.NewIncrementalAlterConfigsRequestResource()
	of.ResourceType, of.ResourceName = kmsg.ConfigResourceTypeGroupConfig, sharers
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = "share.auto.offset.reset", kmsg.StringPtr("earliest")
	of.Configs = append(of.Configs, c)
	q.Resources = append(q.Resources, of)
	client, end := b.client()
	defer end()
	b.eventually("the share group is configured", func(ctx context.Context) error {
		r, err := q.RequestWith(ctx, client)
		if err == nil && r.Resources[0].ErrorCode != 0 {
			err = fmt.Errorf("code %d", r.Resources[0].ErrorCode)
		}
		return err
	})
}

// share has a share group take ten records, and give one back.
func (b *broker) share() {
	b.Helper()
	b.shareConfig()
	b.shared(10, func(r *kgo.Record) kgo.AckStatus {
		if string(r.Value) == "5" {
			return kgo.AckRelease
		}
		return kgo.AckAccept
	})
}

// shared has a member of the share group take so many records, and answer each. It returns their values.
func (b *broker) shared(want int, answer func(*kgo.Record) kgo.AckStatus) (values []string) {
	b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.kafka), kgo.ShareGroup(sharers), kgo.ConsumeTopics(sharedTopic),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.FetchMaxWait(200*time.Millisecond))
	must(b, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for len(values) < want {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if !slices.Contains(values, string(r.Value)) { // What is given back may come again.
				values = append(values, string(r.Value))
			}
			r.Ack(answer(r))
		})
		must(b, ctx.Err())
	}
	must(b, client.FlushAcks(ctx))
	return values
}

// readLater reads it all but what is set aside.
func (b *broker) readLater(dir string) later {
	b.Helper()
	l := later{Topics: map[string]partition{}, Quarantined: quarantined(b, dir)}
	admin, end := b.admin()
	defer end()
	names := []string{mendedTopic, leftTopic, movingTopic, sharedTopic, compactTopic}
	b.eventually("placements, offsets and throttles", func(ctx context.Context) error {
		l.Placements, l.Throttles = map[string]string{}, map[string]string{}
		if err := b.placements(ctx, admin, l.Placements, names); err != nil {
			return err
		}
		if err := b.throttles(ctx, admin, l.Throttles); err != nil {
			return err
		}
		ends, err := admin.ListEndOffsets(ctx, names...)
		ends.Each(func(o kadm.ListedOffset) { l.Topics[o.Topic] = partition{End: o.Offset} })
		return errors.Join(err, ends.Error())
	})
	for _, name := range names {
		one := l.Topics[name]
		one.All = b.hash(name, 0, one, kgo.ReadUncommitted(), nil)
		l.Topics[name] = one
	}
	l.Kept = b.count(compactTopic, l.Topics[compactTopic].End)
	delete(l.Topics, compactTopic) // which is compacted further
	l.Shared = b.sharedStart()
	return l
}

func (b *broker) placements(ctx context.Context, admin *kadm.Client, to map[string]string, names []string) error {
	meta, err := admin.Metadata(ctx, names...)
	if err != nil {
		return err
	}
	var set kadm.TopicsSet
	for _, name := range names {
		set.Add(name, 0)
		to[name] = fmt.Sprint(meta.Topics[name].Partitions[0].Replicas)
	}
	moves, err := admin.ListPartitionReassignments(ctx, set)
	for _, m := range moves.Sorted() {
		to[m.Topic] += fmt.Sprintf(" +%v -%v", m.AddingReplicas, m.RemovingReplicas)
	}
	return err
}

func (b *broker) throttles(ctx context.Context, admin *kadm.Client, to map[string]string) error {
	all, err := admin.DescribeBrokerConfigs(ctx)
	one, also := admin.DescribeBrokerConfigs(ctx, 1)
	topics, third := admin.DescribeTopicConfigs(ctx, movingTopic)
	for _, of := range slices.Concat(all, one, topics) {
		for _, c := range of.Configs {
			if strings.Contains(c.Key, "throttled") && strings.HasPrefix(c.Source.String(), "DYNAMIC") {
				to[of.Name+" "+c.Key] = c.MaybeValue()
			}
		}
	}
	return errors.Join(err, also, third)
}

// count counts the records of a topic.
func (b *broker) count(name string, to int64) (n int) {
	b.Helper()
	client, end := b.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}),
		kgo.KeepControlRecords())
	defer end()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for next := int64(0); next < to; {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { n, next = n+1, r.Offset+1 })
		must(b, ctx.Err())
	}
	return n
}

// sharedStart is where the share group begins.
func (b *broker) sharedStart() (at int64) {
	b.Helper()
	client, end := b.client()
	defer end()
	q := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	of := kmsg.NewDescribeShareGroupOffsetsRequestGroup()
	of.GroupID = sharers
	of.Topics = []kmsg.DescribeShareGroupOffsetsRequestGroupTopic{{Topic: sharedTopic, Partitions: []int32{0}}}
	q.Groups = append(q.Groups, of)
	b.eventually("the share group's offsets", func(ctx context.Context) error {
		r, err := q.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		p := r.Groups[0].Topics[0].Partitions[0]
		at = p.StartOffset
		if r.Groups[0].ErrorCode != 0 || p.ErrorCode != 0 {
			err = fmt.Errorf("codes %d and %d", r.Groups[0].ErrorCode, p.ErrorCode)
		}
		return err
	})
	return at
}

// compareLater wants everything as it was; what was set aside is still there, and compaction may be
// further or, by a kill, less far.
func (b *broker) compareLater(dir string, want later) {
	b.Helper()
	got := b.readLater(dir)
	kept := got.Kept
	got.Kept = want.Kept
	if !reflect.DeepEqual(got, want) || kept >= 150 {
		b.Errorf("got %+v, %d records kept\nwant %+v", got, kept, want)
	}
	if want.Kept >= 150 || len(want.Quarantined) == 0 || want.Shared != 5 || len(want.Throttles) < 3 ||
		want.Placements[movingTopic] != "[2 1] +[2] -[1]" || want.Placements[leftTopic] != "[1]" || want.Placements[mendedTopic] != "[2 1]" {
		b.Errorf("too little was written: %+v", want)
	}
}

// goOnLater wants that what was under way can be ended: the move, the throttle, the share group's records, and the
// membership of the broker that never comes back.
func (b *broker) goOnLater(binary string) {
	b.Helper()
	if got := b.shared(1, func(*kgo.Record) kgo.AckStatus { return kgo.AckAccept }); !slices.Equal(got, []string{"5"}) {
		b.Errorf("the share group is given %v, want what was given back alone", got)
	}
	run := func(args ...string) string {
		out, err := exec.CommandContext(b.Context(), binary, append(args, "--bootstrap-server", b.kafka)...).CombinedOutput()
		if err != nil {
			b.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if got := run("cluster", "cancel"); !strings.HasPrefix(got, "taken back: "+movingTopic+"-0;") {
		b.Errorf("cancel: got %q", got)
	}
	admin, end := b.admin()
	defer end()
	b.reassign(admin, mendedTopic, 1)
	b.eventually("the second broker holds nothing", func(ctx context.Context) error {
		at := map[string]string{}
		err := b.placements(ctx, admin, at, []string{mendedTopic, leftTopic, movingTopic})
		for name, replicas := range at {
			if replicas != "[1]" {
				err = errors.Join(err, fmt.Errorf("%s is on %s", name, replicas))
			}
		}
		return err
	})
	run("cluster", "remove", "2")
	var view struct {
		Brokers       []struct{ Broker, Replicas int }
		Reassignments []json.RawMessage
	}
	must(b, json.Unmarshal([]byte(run("cluster", "status", "--json")), &view))
	if len(view.Brokers) != 1 || len(view.Reassignments) != 0 {
		b.Errorf("in the end: got %+v, want one broker and nothing that moves", view)
	}
	left := map[string]string{}
	b.eventually("throttles", func(ctx context.Context) error { return b.throttles(ctx, admin, left) })
	if maps.DeleteFunc(left, func(key, _ string) bool { return !strings.HasSuffix(key, "reassignment.throttled.rate") }); len(left) > 0 {
		b.Errorf("cancel has left %v", left)
	}
}
