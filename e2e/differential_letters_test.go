package e2e

import (
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
)

const (
	lettersGroup  = "diff-dead"
	lettersTopic  = "diff-work"
	lettersQueue  = "dlq.diff-work"
	lettersMember = "c2hhcmUtdGhpcmQtLS0tLQ"
)

// letters is what becomes of records that cannot be used (KIP-1191), and what is refused of its configs.
func (d *dialogue) letters() {
	for _, s := range []struct{ name, key, value string }{
		{lettersGroup, "errors.deadletterqueue.topic.name", "dlq.not-there"},
		{lettersGroup, "errors.deadletterqueue.topic.name", "without-the-prefix"},
		{lettersGroup, "errors.deadletterqueue.topic.name", "__dlq.internal"},
		{lettersGroup, "errors.deadletterqueue.topic.name", "dlq.a/b"},
		{lettersGroup, "errors.deadletterqueue.topic.name", "dlq." + strings.Repeat("x", 250)},
		{lettersGroup, "errors.deadletterqueue.topic.name", " "},
		{lettersGroup, "errors.deadletterqueue.topic.name", ""},
		{lettersGroup, "errors.deadletterqueue.copy.record.enable", "maybe"},
		{lettersGroup, "errors.deadletterqueue.copy.record.enable", "true"},
		{lettersGroup, "share.assignment.interval.ms", "15001"},
		{lettersGroup, "share.assignment.interval.ms", "0"},
	} {
		d.setsConfig(fmt.Sprintf("group %s=%.20s", s.key, s.value), ofGroup, s.name, true, s.key, s.value)
	}
	d.topics(lettersTopic)
	d.topicOf(lettersQueue)
	d.setsConfig("no topic of letters", ofTopic, lettersQueue, true, "errors.deadletterqueue.group.enable", "maybe")
	d.setsConfig("a topic of letters", ofTopic, lettersQueue, false, "errors.deadletterqueue.group.enable", "true")
	for _, set := range [][2]string{
		{"share.auto.offset.reset", "earliest"}, {"share.delivery.count.limit", "2"},
		{"errors.deadletterqueue.topic.name", lettersQueue}, {"errors.deadletterqueue.copy.record.enable", "true"},
	} {
		d.setsConfig("letters: "+set[0], ofGroup, lettersGroup, false, set[0], set[1])
	}
	d.ask("letters: produce", d.producing(lettersTopic, 2, built(func(*batch.Builder) {},
		batch.Record{Timestamp: 1, Key: []byte("k0"), Value: []byte("v0"), Headers: []batch.RecordHeader{{Key: "h", Value: []byte("x")}}},
		batch.Record{Timestamp: 1, Value: []byte("v1")}, batch.Record{Timestamp: 1, Key: []byte("k2")})), showProduced)
	d.dead()
}

// setsConfig notes how a config is taken.
func (d *dialogue) setsConfig(step string, kind kmsg.ConfigResourceType, name string, validate bool, key, value string) {
	d.Helper()
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.ValidateOnly = validate
	q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kind, ResourceName: name,
		Configs: []configEdit{{Name: key, Value: &value}}}}
	d.ask(step, q, func(r kmsg.Response) string {
		return codeName(r.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
	})
}

// topicOf makes a topic of one partition.
func (d *dialogue) topicOf(name string) {
	d.Helper()
	q := kmsg.NewPtrCreateTopicsRequest()
	q.TimeoutMillis = 10_000
	q.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: name, NumPartitions: 1, ReplicationFactor: 1}}
	if _, err := d.broker.Request(d.ctx, q); err != nil {
		d.Fatal(err)
	}
	eventually(d, coordinatorWithin, name, func() error {
		if d.topicID(name) == ([16]byte{}) {
			return errors.New("not there")
		}
		return nil
	})
}

// dead rejects a record, uses one, and gives one back until it has been given too often.
func (d *dialogue) dead() {
	group, member, epoch := lettersGroup, lettersMember, int32(0)
	join := kmsg.NewPtrShareGroupHeartbeatRequest()
	join.GroupID, join.MemberID, join.SubscribedTopicNames = group, member, []string{lettersTopic}
	eventually(d, coordinatorWithin, "a member that dies", func() error {
		r, err := d.broker.Request(d.ctx, join)
		if err != nil {
			return err
		}
		return codeError(r.(*kmsg.ShareGroupHeartbeatResponse).ErrorCode)
	})
	given := func(step string) {
		eventually(d, coordinatorWithin, step, func() error {
			q := kmsg.NewPtrShareFetchRequest()
			q.GroupID, q.MemberID, q.ShareSessionEpoch = &group, &member, epoch
			q.MaxWaitMillis, q.MinBytes, q.MaxBytes, q.MaxRecords, q.BatchSize = 200, 1, 1<<20, 10, 10
			p := kmsg.NewShareFetchRequestTopicPartition()
			p.Partition = 2
			q.Topics = []kmsg.ShareFetchRequestTopic{{TopicID: d.topicID(lettersTopic), Partitions: []kmsg.ShareFetchRequestTopicPartition{p}}}
			r, err := d.broker.Request(d.ctx, q)
			if err != nil {
				return err
			}
			epoch++
			if said := showShared(r); strings.Contains(said, "records true") {
				d.said = append(d.said, exchanged{step, said})
				return nil
			}
			return errors.New("nothing is given")
		})
	}
	says := func(step string, first int64, types ...int8) {
		d.shareSays(shareRequest{step: step, group: group, member: member, epoch: epoch, topic: lettersTopic,
			partitions: []sharePartition{of(2, says(first, first+int64(len(types))-1, types...))}})
		epoch++
	}
	given("letters: given first")
	says("letters: reject, accept, release", 0, sharesReject, sharesAccept, sharesRelease)
	d.lettersAre("the letter of what was rejected", 1)
	given("letters: given again")
	says("letters: release again", 2, sharesRelease)
	d.lettersAre("the letter of what was given too often", 2)
	eventually(d, coordinatorWithin, "everything is done", func() error {
		q := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
		q.Groups = []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: group,
			Topics: []kmsg.DescribeShareGroupOffsetsRequestGroupTopic{{Topic: lettersTopic, Partitions: []int32{2}}}}}
		r, err := d.broker.Request(d.ctx, q)
		if err != nil {
			return err
		}
		if p := r.(*kmsg.DescribeShareGroupOffsetsResponse).Groups[0].Topics[0].Partitions[0]; p.Lag != 0 {
			return fmt.Errorf("lag %d", p.Lag)
		}
		return nil
	})
}

// lettersAre waits for so many letters, and notes the last one.
func (d *dialogue) lettersAre(step string, count int) {
	d.Helper()
	eventually(d, coordinatorWithin, step, func() error {
		q := kmsg.NewPtrFetchRequest()
		q.SessionEpoch, q.MaxWaitMillis, q.MaxBytes = -1, 100, 1<<20
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = lettersQueue, d.topicID(lettersQueue)
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes, p.CurrentLeaderEpoch = 1<<20, -1
		t.Partitions = append(t.Partitions, p)
		q.Topics = append(q.Topics, t)
		r, err := d.broker.Request(d.ctx, q)
		if err != nil {
			return err
		}
		batches, err := batch.Split(r.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches)
		if err != nil {
			return err
		}
		var all []string
		for _, b := range batches {
			for record, err := range batch.Records(b) {
				if err != nil {
					return err
				}
				said := fmt.Sprintf("%q=%q", record.Key, record.Value)
				for _, h := range record.Headers {
					said += fmt.Sprintf(" %s:%s", h.Key, h.Value)
				}
				all = append(all, said)
			}
		}
		if len(all) < count {
			return fmt.Errorf("%d letters", len(all))
		}
		d.said = append(d.said, exchanged{step, all[count-1]})
		return nil
	})
}
