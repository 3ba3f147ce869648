package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupBench is a broker with a topic "orders" of two partitions that hold ten records each.
type groupBench struct {
	*single
	ctx    context.Context
	client *kgo.Client
	admin  *kadm.Client
}

func startGroupBench(t *testing.T) *groupBench {
	t.Helper()
	b := &groupBench{single: startSingle(t, filepath.Join(t.TempDir(), "data"),
		"--set", "group.initial.rebalance.delay.ms=0")}
	var cancel context.CancelFunc
	b.ctx, cancel = context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	b.client, b.admin = b.dial()
	if _, err := b.admin.CreateTopic(b.ctx, 2, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	var records []*kgo.Record
	for i := range 20 {
		records = append(records, &kgo.Record{Topic: "orders", Partition: int32(i % 2), Value: []byte(strconv.Itoa(i))})
	}
	if err := b.client.ProduceSync(b.ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *groupBench) dial(options ...kgo.Opt) (*kgo.Client, *kadm.Client) {
	b.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10 * time.Millisecond),
	}, options...)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return client, kadm.NewClient(client)
}

// group runs a `group` command.
func (b *groupBench) group(arguments ...string) outcome {
	b.Helper()
	return run(b.T, nil, append([]string{"group", "--bootstrap-server", b.kafka}, arguments...)...)
}

// want wants a command to succeed and to print something.
func (b *groupBench) want(texts []string, arguments ...string) string {
	b.Helper()
	got := b.group(arguments...)
	for _, text := range texts {
		if got.code != 0 || !strings.Contains(squeezed(got.stdout), text) {
			b.Errorf("%v: got %d %s\n%s\nwant 0 and %q", arguments, got.code, got.stderr, got.stdout, text)
		}
	}
	return got.stdout
}

// refuses wants a command to fail with a sentence.
func (b *groupBench) refuses(sentence string, arguments ...string) {
	b.Helper()
	if got := b.group(arguments...); got.code != exitFailure || !strings.Contains(got.lastLine(), sentence) {
		b.Errorf("%v: got %d %s\n%s\nwant %d and %q", arguments, got.code, got.lastLine(), got.stdout, exitFailure, sentence)
	}
}

// squeezed makes one space of many, and none of those that begin a line.
func squeezed(table string) string {
	var text strings.Builder
	for line := range strings.Lines(table) {
		text.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return text.String()
}

// shareBeat is a heartbeat of a member of a share group: epoch 0 joins, -1 leaves.
func (b *groupBench) shareBeat(group, member string, epoch int32) *kmsg.ShareGroupHeartbeatResponse {
	b.Helper()
	q := kmsg.NewPtrShareGroupHeartbeatRequest()
	q.GroupID, q.MemberID, q.MemberEpoch, q.SubscribedTopicNames = group, member, epoch, []string{"orders"}
	var response *kmsg.ShareGroupHeartbeatResponse
	eventually(b.T, "a share group's coordinator answers", func() (ok bool) {
		var err error
		if response, err = q.RequestWith(b.ctx, b.client); err != nil {
			b.Fatal(err)
		}
		err = kerr.ErrorForCode(response.ErrorCode)
		if err != nil && !kerr.IsRetriable(err) {
			b.Fatalf("heartbeat of %s in %s: %v", member, group, err)
		}
		return err == nil
	})
	return response
}

// shareStart is from where on a share group shares a partition.
func (b *groupBench) shareStart(group string, partition int32) int64 {
	b.Helper()
	described, err := b.admin.DescribeShareGroupOffsets(b.ctx, group)
	if err != nil {
		b.Fatal(err)
	}
	return described[group].Offsets["orders"][partition].StartOffset
}

// shareID is the id of a member, which the client of a share group draws.
const shareID = "nLSOQWSbRvC0kzXuV3n1Qg"

// A share group commits nothing: where it begins is moved by requests of its own, and its members are not
// among those of other groups.
func TestOffsetsOfShareGroupsAreReset(t *testing.T) {
	b := startGroupBench(t)
	b.shareBeat("workers", shareID, 0)
	reset := func(more ...string) []string {
		return append([]string{"reset-offsets", "workers", "--topic", "orders"}, more...)
	}
	b.refuses("group workers has 1 members", reset("--to-earliest")...)
	b.shareBeat("workers", shareID, -1)
	before := b.shareStart("workers", 1)
	b.want([]string{"orders 1 - 4", "nothing is changed without --execute"}, reset("--to-offset", "4")...)
	if got := b.shareStart("workers", 1); got != before {
		t.Errorf("offset after a reset that was only shown: got %d, want %d", got, before)
	}
	b.want([]string{"orders 0 - 4", "orders 1 - 4"}, reset("--to-offset", "4", "--execute")...)
	b.want([]string{"orders 0 4 0", "orders 1 4 0"}, "reset-offsets", "workers", "--all-topics", "--to-earliest")
	if got := b.shareStart("workers", 1); got != 4 {
		t.Errorf("offset after the reset: got %d, want 4", got)
	}
	// Where a group is to begin can be said before it is there.
	b.want([]string{"orders 1 - 0"}, "reset-offsets", "new", "--type", "share", "--topic", "orders", "--to-earliest", "--execute")
	if got := b.shareStart("new", 1); got != 0 {
		t.Errorf("offset of a group that was not there: got %d, want 0", got)
	}
	b.refuses("group new is of type share and not classic", "reset-offsets", "new", "--type", "classic", "--all-topics", "--to-latest")
}

// Offsets go where Kafka's kafka-consumer-groups would put them.
func TestOffsetsAreResetAsKafkasToolDoes(t *testing.T) {
	b := startGroupBench(t)
	reset := func(more ...string) []string { return append([]string{"reset-offsets", "billing"}, more...) }
	b.want([]string{"orders 1 - 6"}, reset("--topic", "orders:1", "--to-offset", "6", "--execute")...)
	if out := b.want([]string{"orders 1 6 6", "orders 0 - 10"}, reset("--all-topics", "--to-current")...); strings.Count(out, "orders") != 2 {
		t.Errorf("to-current: got\n%s, want two partitions", out)
	}
	if out := b.want([]string{"orders 1 6 4"}, reset("--topic", "orders:1", "--shift-by", "-2")...); strings.Contains(out, "orders  0") {
		t.Errorf("one partition: got\n%s, want nothing of the other", out)
	}
	b.want([]string{"orders 0 - 0", "orders 1 6 0"}, reset("--topic", "orders", "--by-duration", "PT1H")...)
	b.want([]string{"orders 0 - 10", "orders 1 6 10"}, reset("--topic", "orders", "--by-duration", "0s")...)
	b.refuses("topic orders has no partition 7, it has 2 (UNKNOWN_TOPIC_OR_PARTITION)", reset("--topic", "orders:7", "--to-latest")...)
	b.refuses("list offsets of nothing: ", reset("--topic", "nothing", "--to-latest")...)

	exported := b.group(reset("--all-topics", "--to-current", "--export")...)
	if want := "orders,0,10\norders,1,6\n"; exported.stdout != want || exported.code != 0 {
		t.Errorf("export: got %+v, want %q", exported, want)
	}
	file := filepath.Join(t.TempDir(), "offsets.csv")
	if err := os.WriteFile(file, []byte("audit,orders,0,9\nbilling,orders,0,3\nbilling,orders,1,99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.want([]string{"orders 0 - 3", "orders 1 6 10"}, reset("--from-file", file, "--execute")...)
	b.refuses("--from-file "+file+" is refused: it has no offsets of group other", "reset-offsets", "other", "--from-file", file)
	committed, err := b.admin.FetchOffsets(b.ctx, "billing")
	if err != nil {
		t.Fatal(err)
	}
	if first, second := committed["orders"][0].At, committed["orders"][1].At; first != 3 || second != 10 {
		t.Errorf("committed: got %d and %d, want 3 and 10", first, second)
	}
}

// joined polls until a member of a group of the consumer protocol, or of the classic one, has partitions.
func (b *groupBench) joined(options ...kgo.Opt) *kgo.Client {
	b.Helper()
	client, _ := b.dial(append([]kgo.Opt{kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, options...)...)
	for len(client.PollFetches(b.ctx).Records()) == 0 {
		if b.ctx.Err() != nil {
			b.Fatal("no member was given records")
		}
	}
	return client
}

// modern has a client take the protocol of KIP-848.
func (b *groupBench) modern() kgo.Opt {
	//nolint:staticcheck // the key is franz-go's
	return kgo.WithContext(context.WithValue(b.ctx, "opt_in_kafka_next_gen_balancer_beta", true))
}

// Which partitions a member has is what one asks of a group that does not get on.
func TestGroupsOfEveryProtocolAreListedAndShownWithWhoHasWhat(t *testing.T) {
	b := startGroupBench(t)
	b.joined(kgo.ConsumerGroup("old"), kgo.InstanceID("desk"))
	b.joined(kgo.ConsumerGroup("new"), b.modern())
	b.shareBeat("shared", shareID, 0)
	b.shareBeat("shared", shareID, 1)
	for _, name := range []string{"old", "new", "shared"} {
		b.want([]string{" 2 orders:0-1\n"}, "describe", name)
		var shown []groupView
		text := b.want(nil, "describe", name, "--json")
		if err := json.Unmarshal([]byte(text), &shown); err != nil || len(shown) != 1 || len(shown[0].Members) != 1 {
			t.Fatalf("%s: got %s, %v", name, text, err)
		}
		if got := shown[0].Members[0].Assignment; len(got) != 1 || got[0].Topic != "orders" || !slices.Equal(got[0].Partitions, []int32{0, 1}) {
			t.Errorf("%s: got %+v, want both partitions of orders", name, got)
		}
	}
	for _, test := range []struct{ flags, want string }{
		{"", "new old shared"},
		{"--type classic", "old"},
		{"--type consumer,share", "new shared"},
		{"--state stable", "new old shared"},
		{"--state empty", ""},
		{"--state Stable --type Classic", "old"},
	} {
		text := b.want(nil, append([]string{"list", "--json"}, strings.Fields(test.flags)...)...)
		var listed []groupView
		if err := json.Unmarshal([]byte(text), &listed); err != nil {
			t.Fatalf("%s: %s, %v", test.flags, text, err)
		}
		var names []string
		for _, g := range listed {
			names = append(names, g.Group)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("list %s: got %s, want %s", test.flags, got, test.want)
		}
	}
	b.want([]string{"new Stable consumer consumer 1", "old Stable consumer classic 1", "shared Stable share share 1"}, "list")
	if got := b.group("list", "--state", "stabel"); got.code != exitConfig || !strings.Contains(got.lastLine(), "--state stabel is refused: want one of Empty, ") {
		t.Errorf("an unknown state: got %+v", got)
	}
}

func TestGroupsForgetOffsetsOfTopicsThatNobodyReads(t *testing.T) {
	b := startGroupBench(t)
	if _, err := b.admin.CreateTopic(b.ctx, 1, 1, nil, "gone"); err != nil {
		t.Fatal(err)
	}
	committed := kadm.Offsets{}
	committed.AddOffset("gone", 0, 0, -1)
	for p := range int32(2) {
		committed.AddOffset("orders", p, 4, -1)
	}
	for _, name := range []string{"idle", "busy"} {
		eventually(t, "a coordinator takes offsets", func() bool { return b.admin.CommitAllOffsets(b.ctx, name, committed) == nil })
	}
	b.want([]string{"idle has forgotten\nTOPIC PARTITION OFFSET\norders 1 4\n"}, "delete-offsets", "idle", "--topic", "orders:1")
	b.want([]string{"\ngone 0 0\norders 0 4\n"}, "delete-offsets", "idle", "--topic", "orders", "--topic", "gone")
	b.refuses("there is no such group", "delete-offsets", "nobody", "--topic", "orders")
	b.refuses("it has none of topic nothing", "delete-offsets", "busy", "--topic", "orders:0", "--topic", "nothing")

	b.joined(kgo.ConsumerGroup("busy"))
	got := b.group("delete-offsets", "busy", "--topic", "orders:1", "--topic", "gone", "--json")
	if got.code != exitFailure || !strings.Contains(got.stdout, `[{"topic":"gone","partition":0,"offset":0},{"topic":"orders","partition":1,"offset":`) ||
		!strings.Contains(got.lastLine(), "members of the group are subscribed to the topic; stop its consumers first (GROUP_SUBSCRIBED_TO_TOPIC)") {
		t.Errorf("of a topic that is read: got %+v", got)
	}

	b.want([]string{"orders 1 - 7"}, "reset-offsets", "shared", "--type", "share", "--topic", "orders", "--to-offset", "7", "--execute")
	b.refuses("a share group forgets whole topics; give --topic orders", "delete-offsets", "shared", "--topic", "orders:1")
	b.want([]string{"\norders 0 7\norders 1 7\n"}, "delete-offsets", "shared", "--topic", "orders")
}

func TestMembersAreRemovedFromGroups(t *testing.T) {
	b := startGroupBench(t)
	b.joined(kgo.ConsumerGroup("old"), kgo.InstanceID("desk"))
	b.joined(kgo.ConsumerGroup("new"), kgo.InstanceID("till"), b.modern())
	for name, instance := range map[string]string{"old": "desk", "new": "till"} {
		b.want([]string{"1 members"}, "describe", name)
		got := b.group("remove-members", name, "--instance-id", instance, "--instance-id", "nobody")
		if got.code != exitFailure || got.stdout != instance+" removed\n" || !strings.Contains(got.lastLine(), "remove member nobody of "+name+": it is not there") {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	for _, name := range []string{"one", "other"} {
		b.joined(kgo.ConsumerGroup(name))
	}
	b.want([]string{" removed"}, "remove-members", "one", "--all")
	id := b.firstMember("other")
	b.want([]string{id + " removed"}, "remove-members", "other", "--member", id)
	b.refuses("there is no such group", "remove-members", "nobody", "--all")
	b.shareBeat("shared", shareID, 0)
	b.refuses("members of a share group cannot be removed", "remove-members", "shared", "--all")
	if got := b.group("remove-members", "one"); got.code != exitConfig {
		t.Errorf("nobody named: got %+v", got)
	}
}

// firstMember is the id of a group's first member.
func (b *groupBench) firstMember(group string) string {
	b.Helper()
	var shown []groupView
	if err := json.Unmarshal([]byte(b.want(nil, "describe", group, "--json")), &shown); err != nil {
		b.Fatal(err)
	}
	return shown[0].Members[0].Member
}

// A group may end between the list and its description. That is no reason to show nothing of the others.
func TestGroupsThatAreGoneAreLeftOutUnlessTheyWereNamed(t *testing.T) {
	b := startGroupBench(t)
	b.want([]string{"orders 1 - 0"}, "reset-offsets", "idle", "--topic", "orders", "--to-earliest", "--execute")
	b.want([]string{"orders 1 - 0"}, "reset-offsets", "shared", "--type", "share", "--topic", "orders", "--to-earliest", "--execute")
	names := []string{"idle", "gone", "shared"}
	views, err := describeNamed(b.ctx, b.admin, names, true)
	if err != nil || len(views) != 2 || views[0].Group != "idle" || views[1].Group != "shared" {
		t.Errorf("from a list: got %+v, %v, want idle and shared", views, err)
	}
	if _, err := describeNamed(b.ctx, b.admin, names, false); err == nil || !strings.Contains(err.Error(), "describe group gone: there is no such group") {
		t.Errorf("by name: got %v, want gone to be refused", err)
	}
	b.want([]string{"idle", "shared"}, "describe")
}
