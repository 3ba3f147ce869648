package broker

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startGroups is start for groups whose first members do not wait for others.
func startGroups(tb testing.TB, edit ...func(*Config)) *harness {
	tb.Helper()
	quick := func(c *Config) {
		c.Groups.InitialDelay = -1
		c.Groups.Partitions = 4
	}
	return start(tb, append([]func(*Config){quick}, edit...)...)
}

// coordinates waits until this broker coordinates groups, in the present epochs.
func (h *harness) coordinates(name string) {
	h.Helper()
	q := kmsg.NewPtrFindCoordinatorRequest()
	q.CoordinatorKey = name
	eventually(h, "groups are coordinated", func() bool {
		if r := h.dial().ask(q).(*kmsg.FindCoordinatorResponse); r.ErrorCode != 0 {
			return false
		}
		for _, shard := range h.groups.table.Load().shards {
			// One of an older epoch is loaded, too, until the coordinator has noticed the move.
			if shard == nil || !shard.loaded.Load() || shard.over() || shard.epoch != shard.log.State().Role.Epoch {
				return false
			}
		}
		return len(h.groups.table.Load().shards) > 0
	})
}

// produceTo writes values to a topic.
func (h *harness) produceTo(name string, values ...string) {
	h.Helper()
	producer := h.client(kgo.DefaultProduceTopic(name))
	for _, v := range values {
		producer.Produce(deadline(h), kgo.StringRecord(v), func(_ *kgo.Record, err error) {
			if err != nil {
				h.Errorf("produce: %v", err)
			}
		})
	}
	if err := producer.Flush(deadline(h)); err != nil {
		h.Fatalf("flush: %v", err)
	}
}

// member is a consumer of a group that commits by hand.
func (h *harness) member(groupID, name string, options ...kgo.Opt) *kgo.Client {
	return h.client(append([]kgo.Opt{
		kgo.ConsumerGroup(groupID), kgo.ConsumeTopics(name), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200 * time.Millisecond),
	}, options...)...)
}

// poll reads n records.
func poll(tb testing.TB, client *kgo.Client, n int) []*kgo.Record {
	tb.Helper()
	var got []*kgo.Record
	for ctx := deadline(tb); len(got) < n; {
		fetches := client.PollRecords(ctx, n-len(got))
		if err := fetches.Err(); err != nil {
			tb.Fatalf("poll after %d of %d: %v", len(got), n, err)
		}
		got = append(got, fetches.Records()...)
	}
	return got
}

// TestGroupResumesWhereItHasCommitted: what one member commits is where the next one begins.
func TestGroupResumesWhereItHasCommitted(t *testing.T) {
	h := startGroups(t)
	h.create("work", 1)
	h.produceTo("work", numbered("v", 10)...)
	first := h.member("readers", "work")
	if err := first.CommitRecords(deadline(t), poll(t, first, 4)...); err != nil {
		t.Fatalf("commit: %v", err)
	}
	first.Close()
	got := poll(t, h.member("readers", "work"), 6)
	if got[0].Offset != 4 || string(got[0].Value) != "v4" {
		t.Errorf("next member begins at %d with %s, want 4 with v4", got[0].Offset, got[0].Value)
	}
}

// TestGroupIsRestoredFromItsLog: a coordinator that takes over knows members, generation and offsets.
func TestGroupIsRestoredFromItsLog(t *testing.T) {
	h := startGroups(t)
	h.create("work", 2)
	h.produceTo("work", numbered("v", 10)...)
	client := h.member("readers", "work")
	if err := client.CommitRecords(deadline(t), poll(t, client, 10)...); err != nil {
		t.Fatalf("commit: %v", err)
	}
	admin := kadm.NewClient(h.client())
	before := describeOne(t, admin, "readers")
	if before.State != "Stable" || len(before.Members) != 1 {
		t.Fatalf("group is %s with %d members, want Stable with 1", before.State, len(before.Members))
	}
	index := groupPartition("readers", 4)
	h.cluster.move(t, offsetsTopic, index, 2, 1)
	h.cluster.move(t, offsetsTopic, index, testNode, 2)
	after := describeOne(t, admin, "readers")
	if after.State != "Stable" || len(after.Members) != 1 ||
		after.Members[0].MemberID != before.Members[0].MemberID {
		t.Errorf("group after the change: got %+v, want %+v", after, before)
	}
	offsets, err := admin.FetchOffsets(deadline(t), "readers")
	if err != nil {
		t.Fatalf("fetch offsets: %v", err)
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	if sum != 10 {
		t.Errorf("offsets after the change sum up to %d, want 10: %v", sum, offsets)
	}
}

// describeOne describes one group once its coordinator can.
func describeOne(t *testing.T, admin *kadm.Client, name string) kadm.DescribedGroup {
	t.Helper()
	var found kadm.DescribedGroup
	eventually(t, "group can be described", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		described, err := admin.DescribeGroups(ctx, name)
		if err != nil {
			return false
		}
		found = described[name]
		return found.Err == nil
	})
	return found
}

// TestSyncNamesWhatItSpeaks: from version 5 on, a request that does not is refused, whoever asks.
func TestSyncNamesWhatItSpeaks(t *testing.T) {
	h := startGroups(t)
	h.coordinates("unnamed")
	kind, protocol := "consumer", "range"
	for _, c := range []struct {
		version        int16
		kind, protocol *string
		want           code
	}{
		{4, nil, nil, codeUnknownMemberID}, {5, nil, nil, codeInconsistentProtocol},
		{5, &kind, nil, codeInconsistentProtocol}, {5, &kind, &protocol, codeUnknownMemberID},
	} {
		q := kmsg.NewPtrSyncGroupRequest()
		q.Version, q.Group, q.MemberID, q.Generation = c.version, "unnamed", "stranger", 1
		q.ProtocolType, q.Protocol = c.kind, c.protocol
		expectCode(t, "sync", h.dial().ask(q).(*kmsg.SyncGroupResponse).ErrorCode, c.want)
	}
}
