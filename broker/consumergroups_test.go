package broker

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startConsumers is startGroups for groups whose members beat often.
func startConsumers(tb testing.TB, edit ...func(*Config)) *harness {
	tb.Helper()
	often := func(c *Config) { c.Groups.ConsumerInterval = 20 * time.Millisecond }
	return startGroups(tb, append([]func(*Config){often}, edit...)...)
}

// modern is a franz-go consumer of the KIP-848 protocol that commits by hand.
func (h *harness) modern(groupID, name string, options ...kgo.Opt) *kgo.Client {
	return h.member(groupID, name, append([]kgo.Opt{kgo.ServerSideBalancer()}, options...)...)
}

// described asks for a KIP-848 group until it is as wanted.
func (h *harness) described(name string, want func(*kmsg.ConsumerGroupDescribeResponseGroup) bool) {
	h.Helper()
	q := kmsg.NewPtrConsumerGroupDescribeRequest()
	q.Version, q.Groups = 1, []string{name}
	c := h.dial()
	eventually(h, "group is as wanted", func() bool {
		g := &c.ask(q).(*kmsg.ConsumerGroupDescribeResponse).Groups[0]
		return g.ErrorCode == 0 && want(g)
	})
}

// evenly: n members, all with the same number of partitions, and nothing on its way.
func evenly(n, each int) func(*kmsg.ConsumerGroupDescribeResponseGroup) bool {
	return func(g *kmsg.ConsumerGroupDescribeResponseGroup) bool {
		return g.State == "Stable" && len(g.Members) == n &&
			!slices.ContainsFunc(g.Members, func(m kmsg.ConsumerGroupDescribeResponseGroupMember) bool {
				has := 0
				for _, t := range m.Assignment.TopicPartitions {
					has += len(t.Partitions)
				}
				return has != each
			})
	}
}

// drive polls in the background until the test ends: a client gives partitions back only when it is
// polled.
func (h *harness) drive(client *kgo.Client, seen func(*kgo.Record)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(seen)
		}
	}()
	h.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestModernConsumersShareTopicsAsTheyComeAndGrow: franz-go's consumers of KIP-848 get equal shares, also
// of partitions and topics that come later, and what one of them committed is where the next one begins.
func TestModernConsumersShareTopicsAsTheyComeAndGrow(t *testing.T) {
	h := startConsumers(t)
	h.create("work-a", 4)
	first := h.modern("g", "work-.*", kgo.ConsumeRegex())
	h.drive(first, func(*kgo.Record) {})
	h.described("g", evenly(1, 4))
	second := h.modern("g", "work-.*", kgo.ConsumeRegex())
	h.drive(second, func(*kgo.Record) {})
	h.described("g", evenly(2, 2))
	h.create("work-b", 2)
	h.described("g", evenly(2, 3))
	if _, err := kadm.NewClient(h.client()).CreatePartitions(deadline(t), 2, "work-b"); err != nil {
		t.Fatalf("create partitions: %v", err)
	}
	h.described("g", evenly(2, 4))
	first.LeaveGroup()
	h.described("g", evenly(1, 8))
}

// TestModernGroupIsRestoredFromItsLog: a coordinator that takes over knows members, epochs and
// assignments, and nobody notices.
func TestModernGroupIsRestoredFromItsLog(t *testing.T) {
	h := startConsumers(t)
	h.create("work", 4)
	h.produceTo("work", numbered("v", 10)...)
	client := h.modern("g", "work", kgo.InstanceID("one"))
	if err := client.CommitRecords(deadline(t), poll(t, client, 10)...); err != nil {
		t.Fatalf("commit: %v", err)
	}
	var before kmsg.ConsumerGroupDescribeResponseGroup
	h.described("g", func(g *kmsg.ConsumerGroupDescribeResponseGroup) bool {
		before = *g
		return evenly(1, 4)(g)
	})
	index := groupPartition("g", 4)
	h.cluster.move(t, offsetsTopic, index, 2, 1)
	h.cluster.move(t, offsetsTopic, index, testNode, 2)
	h.described("g", func(g *kmsg.ConsumerGroupDescribeResponseGroup) bool {
		return evenly(1, 4)(g) && g.Epoch == before.Epoch && g.Members[0].MemberID == before.Members[0].MemberID &&
			g.Members[0].MemberEpoch == before.Members[0].MemberEpoch && *g.Members[0].InstanceID == "one"
	})
	h.produceTo("work", numbered("w", 3)...)
	poll(t, client, 3)
}

// TestGroupMigratesBetweenProtocolsUnderItsMembers: a classic consumer and one of KIP-848 share a group,
// which becomes classic again when the latter leaves.
func TestGroupMigratesBetweenProtocolsUnderItsMembers(t *testing.T) {
	h := startConsumers(t)
	h.create("work", 4)
	often := kgo.HeartbeatInterval(50 * time.Millisecond)
	classic := h.member("g", "work", often, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	h.drive(classic, func(*kgo.Record) {})
	admin := kadm.NewClient(h.client())
	eventually(t, "classic group is stable", func() bool { return describeOne(t, admin, "g").State == "Stable" })
	modern := h.modern("g", "work")
	h.drive(modern, func(*kgo.Record) {})
	h.described("g", evenly(2, 2))
	q := kmsg.NewPtrListGroupsRequest()
	q.Version, q.TypesFilter = 5, []string{"consumer"}
	listed := h.dial().ask(q).(*kmsg.ListGroupsResponse).Groups
	if len(listed) != 1 || listed[0].GroupType != "consumer" || listed[0].GroupState != "Stable" {
		t.Errorf("list: got %+v, want a stable consumer group", listed)
	}
	modern.LeaveGroup()
	eventually(t, "group is classic again", func() bool {
		g := describeOne(t, admin, "g")
		if g.State != "Stable" || len(g.Members) != 1 {
			return false
		}
		assigned, ok := g.Members[0].Assigned.AsConsumer()
		return ok && len(assigned.Topics) == 1 && len(assigned.Topics[0].Partitions) == 4
	})
}

// beatOf is a later heartbeat of consumerJoin's member.
func beatOf(name, member string, epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	q.Version, q.Group, q.MemberID, q.MemberEpoch, q.RebalanceTimeoutMillis = 1, name, member, epoch, -1
	return q
}

// TestConsumerHeartbeatsAreRefusedByTheirReasons: each refusal has the code that clients act on.
func TestConsumerHeartbeatsAreRefusedByTheirReasons(t *testing.T) {
	h := startConsumers(t, func(c *Config) { c.Groups.ConsumerMembersMax = 2 })
	h.create("known", 2)
	h.coordinates("g")
	c := h.dial()
	fixed := consumerJoin("g", "fixed")
	fixed.InstanceID = kmsg.StringPtr("i")
	for _, q := range []*kmsg.ConsumerGroupHeartbeatRequest{consumerJoin("g", "member"), fixed} {
		onlyCode(t, "join", c.ask(q).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode)
	}
	edited := func(q *kmsg.ConsumerGroupHeartbeatRequest, edit func(*kmsg.ConsumerGroupHeartbeatRequest)) kmsg.Request {
		edit(q)
		return q
	}
	for _, test := range []struct {
		name string
		q    kmsg.Request
		want code
	}{
		{"unknown member", beatOf("g", "nobody", 1), codeUnknownMemberID},
		{"epoch of the future", beatOf("g", "member", 99), codeFencedMemberEpoch},
		{"full", consumerJoin("g", "third"), codeGroupMaxSizeReached},
		{"no such group", beatOf("other", "member", 1), codeUnknownMemberID},
		{"instance id in use", edited(consumerJoin("g", "thief"), func(q *kmsg.ConsumerGroupHeartbeatRequest) {
			q.InstanceID = kmsg.StringPtr("i")
		}), codeUnreleasedInstanceID},
		{"assignor", edited(consumerJoin("g", "member"), func(q *kmsg.ConsumerGroupHeartbeatRequest) {
			q.ServerAssignor = kmsg.StringPtr("best")
		}), codeUnsupportedAssignor},
		{"pattern", edited(consumerJoin("g", "member"), func(q *kmsg.ConsumerGroupHeartbeatRequest) {
			q.SubscribedTopicRegex = kmsg.StringPtr("(a")
		}), codeInvalidRegularExpression},
		{"join without a timeout", edited(consumerJoin("g", "member"), func(q *kmsg.ConsumerGroupHeartbeatRequest) {
			q.RebalanceTimeoutMillis = -1
		}), codeInvalidRequest},
		{"no member id", consumerJoin("g", ""), codeInvalidRequest},
	} {
		r := c.ask(test.q).(*kmsg.ConsumerGroupHeartbeatResponse)
		expectCode(t, test.name, r.ErrorCode, test.want)
		if r.ErrorMessage == nil || *r.ErrorMessage == "" {
			t.Errorf("%s: got no message", test.name)
		}
	}
}

// TestOffsetsOfModernMembersAreFencedByTheirEpochs: only who is in its epoch commits and fetches; versions
// without epochs are refused.
func TestOffsetsOfModernMembersAreFencedByTheirEpochs(t *testing.T) {
	h := startConsumers(t)
	id := h.create("known", 2)
	h.coordinates("g")
	c := h.dial()
	onlyCode(t, "join", c.ask(consumerJoin("g", "member")).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode)
	commit := func(version int16, member string, epoch int32) int16 {
		q := simpleCommit("g", "known", 3)
		q.Version, q.MemberID, q.Generation, q.Topics[0].TopicID = version, member, epoch, id
		return commitCode(c.ask(q))
	}
	fetch := func(member string, epoch int32) int16 {
		q := fetchOffsets("g")
		q.Groups[0].MemberID, q.Groups[0].MemberEpoch = &member, epoch
		return c.ask(q).(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode
	}
	onlyCode(t, "commit by name", commit(9, "member", 1))
	onlyCode(t, "commit by id", commit(10, "member", 1))
	expectCode(t, "commit of an old epoch", commit(9, "member", 0), codeStaleMemberEpoch)
	expectCode(t, "commit of version 8", commit(8, "member", 1), codeUnsupportedVersion)
	expectCode(t, "commit of a stranger", commit(9, "other", 1), codeUnknownMemberID)
	expectCode(t, "commit of nobody", commit(9, "", -1), codeUnknownMemberID)
	onlyCode(t, "fetch", fetch("member", 1))
	expectCode(t, "fetch of an old epoch", fetch("member", 0), codeStaleMemberEpoch)
	expectCode(t, "fetch of a stranger", fetch("other", 1), codeUnknownMemberID)
	onlyCode(t, "fetch of an operator", c.ask(fetchOffsets("g")).(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode)

	q := kmsg.NewPtrDeleteGroupsRequest()
	q.Groups = []string{"g"}
	expectCode(t, "delete with a member", c.ask(q).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, codeNonEmptyGroup)
	onlyCode(t, "leave", c.ask(beatOf("g", "member", -1)).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode)
	onlyCode(t, "delete", c.ask(q).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode)
	expectCode(t, "delete again", c.ask(q).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode, codeGroupIDNotFound)
}

// TestGroupsHaveConfigsOfTheirOwn: what is set for a group is described, listed, bounded, and told to its
// members.
func TestGroupsHaveConfigsOfTheirOwn(t *testing.T) {
	h := startGroups(t)
	h.create("known", 2)
	h.coordinates("g")
	c := h.dial()
	const ofGroup = kmsg.ConfigResourceTypeGroupConfig
	for _, test := range []struct {
		name, key, value string
		want             code
	}{
		{"too short", configConsumerInterval, "4999", codeInvalidConfig},
		{"too long", configConsumerSession, "60001", codeInvalidConfig},
		{"no number", configConsumerSession, "long", codeInvalidConfig},
		{"of streams groups", "streams.session.timeout.ms", "50000", codeInvalidConfig},
		{"share: too short", configShareSession, "44999", codeInvalidConfig},
		{"share: good", configShareSession, "46000", codeNone},
		{"share: unknown reset", configShareReset, "none", codeInvalidConfig},
		{"share: reset", configShareReset, "by_duration:PT5M", codeNone},
		{"share: unknown isolation", configShareIsolation, "committed", codeInvalidConfig},
		{"share: isolation", configShareIsolation, "read_committed", codeNone},
		{"share: too many deliveries", configShareDeliveries, "11", codeInvalidConfig},
		{"share: no truth", configShareRenew, "yes", codeInvalidConfig},
		{"share: divisions too far apart", configShareAssign, "15001", codeInvalidConfig},
		{"good", configConsumerInterval, "7000", codeNone},
	} {
		expectCode(t, test.name, c.altered(alterationOf(ofGroup, "g", edit(test.key, opSet, test.value))).ErrorCode, test.want)
	}
	expectCode(t, "no group", c.altered(alterationOf(ofGroup, "", edit(configConsumerInterval, opSet, "7000"))).ErrorCode,
		codeInvalidRequest)
	configs := c.described(ofGroup, "g")
	interval, session := configs[configConsumerInterval], configs[configConsumerSession]
	if len(configs) != 14 || *configs[configShareReset].Value != "by_duration:PT5M" || *interval.Value != "7000" || interval.Source != kmsg.ConfigSourceGroupConfig ||
		*session.Value != "45000" || session.Source != kmsg.ConfigSourceDefaultConfig {
		t.Errorf("configs: got %+v, want an interval of its own and the default session", configs)
	}
	r := c.ask(consumerJoin("g", "member")).(*kmsg.ConsumerGroupHeartbeatResponse)
	if onlyCode(t, "join", r.ErrorCode); r.HeartbeatIntervalMillis != 7000 {
		t.Errorf("interval: got %d, want 7000", r.HeartbeatIntervalMillis)
	}
	q := kmsg.NewPtrListConfigResourcesRequest()
	q.Version, q.ResourceTypes = 1, []int8{int8(ofGroup)}
	listed := c.ask(q).(*kmsg.ListConfigResourcesResponse).ConfigResources
	if len(listed) != 1 || listed[0].Name != "g" {
		t.Errorf("listed: got %+v, want g", listed)
	}
	for _, key := range []string{configConsumerInterval, configShareSession, configShareReset, configShareIsolation} {
		onlyCode(t, "unset", c.altered(alterationOf(ofGroup, "g", edit(key, opDelete, "null"))).ErrorCode)
	}
	if listed := c.ask(q).(*kmsg.ListConfigResourcesResponse).ConfigResources; len(listed) != 0 {
		t.Errorf("listed after that: got %+v, want nothing", listed)
	}
}

// TestCatalogStaysTheSameUntilTopicsChange: elections and configs do not make every group look again.
func TestCatalogStaysTheSameUntilTopicsChange(t *testing.T) {
	h := startConsumers(t)
	h.create("known", 2)
	cache := &h.groups.topics
	before := cache.of(h.cluster)
	h.cluster.move(t, "known", 0, 2, 1)
	if cache.of(h.cluster) != before {
		t.Error("catalog changes with a leader")
	}
	h.create("another", 1)
	if cache.of(h.cluster) == before {
		t.Error("catalog does not change with a topic")
	}
}

// TestNamelessGroupsAreRefused: of no name, and of one of blanks where members say it.
func TestNamelessGroupsAreRefused(t *testing.T) {
	h := startConsumers(t)
	c := h.dial()
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Version, describe.Groups = 1, []string{""}
	expectCode(t, "describe", c.ask(describe).(*kmsg.ConsumerGroupDescribeResponse).Groups[0].ErrorCode, codeInvalidGroupID)
	expectCode(t, "delete offsets", c.ask(kmsg.NewPtrOffsetDeleteRequest()).(*kmsg.OffsetDeleteResponse).ErrorCode, codeInvalidGroupID)
	beat := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	beat.Version, beat.Group, beat.MemberID, beat.RebalanceTimeoutMillis = 1, " ", "m", 1000
	beat.SubscribedTopicNames, beat.Topics = []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	expectCode(t, "beat", c.ask(beat).(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode, codeInvalidRequest)
}
