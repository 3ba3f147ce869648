package e2e

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
)

// policies makes topics that are compacted.
func (d *dialogue) policies() {
	for name, policy := range map[string]string{"diff-k": "compact", "diff-kd": "compact,delete"} {
		q := kmsg.NewPtrCreateTopicsRequest()
		q.TimeoutMillis = 10_000
		q.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: name, NumPartitions: 1, ReplicationFactor: 1,
			Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "cleanup.policy", Value: &policy}}}}
		if _, err := d.broker.Request(d.ctx, q); err != nil {
			d.Fatal(err)
		}
		eventually(d, coordinatorWithin, "a compacted topic", func() error {
			if d.topicID(name) == ([16]byte{}) {
				return fmt.Errorf("%s is unknown", name)
			}
			return nil
		})
	}
}

func built(edit func(*batch.Builder), records ...batch.Record) []byte {
	b := batch.NewBuilder(0)
	edit(b)
	for _, r := range records {
		b.Add(r)
	}
	raw, err := b.Build()
	if err != nil {
		panic(err) // only codecs fail, and there is none
	}
	return raw
}

// appends: what is refused of batches.
func (d *dialogue) appends() {
	plain, one := func(*batch.Builder) {}, batch.Record{Timestamp: 1, Value: []byte("v")}
	keyed := batch.Record{Timestamp: 1, Key: []byte("k"), Value: []byte("v")}
	damaged := built(plain, one)
	damaged[len(damaged)-1] ^= 1
	cut := built(plain, one)
	short := cut[:len(cut)-3]
	counted := built(plain, one, one)
	counted[60]++ // the number of records
	batch.Seal(counted)
	magic := built(plain, one)
	magic[16] = 3
	for _, s := range []struct {
		step, topic string
		partition   int32
		acks        int16
		raw         []byte
	}{
		{"produce", "diff-a", 0, -1, built(plain, one)},
		{"produce to the leader only", "diff-a", 0, 1, built(plain, one)},
		{"produce to a strange topic", "diff-z", 0, -1, built(plain, one)},
		{"produce to an unknown partition", "diff-a", 99, -1, built(plain, one)},
		{"produce with acks of 2", "diff-a", 0, 2, built(plain, one)},
		{"produce a damaged batch", "diff-a", 0, -1, damaged},
		{"produce a batch that is cut", "diff-a", 0, -1, short},
		{"produce a batch of another count", "diff-a", 0, -1, counted},
		{"produce an unknown magic", "diff-a", 0, -1, magic},
		{"produce nothing", "diff-a", 0, -1, []byte{}},
		{"produce two batches", "diff-a", 0, -1, append(built(plain, one), built(plain, one)...)},
		{"produce a marker", "diff-a", 0, -1, built(func(b *batch.Builder) { b.Control = true }, one)},
		{"produce without a key", "diff-k", 0, -1, built(plain, one)},
		{"produce with a key", "diff-k", 0, -1, built(plain, keyed)},
		{"produce too much", "diff-a", 0, -1, built(plain, batch.Record{Timestamp: 1, Value: make([]byte, 1<<20)})},
		{"produce with an id without a sequence", "diff-a", 0, -1, built(func(b *batch.Builder) { b.ProducerID, b.ProducerEpoch = 5, 0 }, one)},
		{"produce from the middle", "diff-a", 0, -1, built(func(b *batch.Builder) { b.ProducerID, b.ProducerEpoch, b.BaseSequence = 6, 0, 9 }, one)},
	} {
		q := d.producing(s.topic, s.partition, s.raw)
		q.Acks = s.acks
		d.ask(s.step, q, showProduced)
	}
	for _, s := range []struct {
		step string
		r    reading
	}{
		{"fetch beyond the end", reading{topic: "diff-a", offset: 99}},
		{"fetch before the start", reading{topic: "diff-a", offset: -1}},
		{"fetch an unknown partition", reading{topic: "diff-a", partition: 99}},
		{"fetch a stranger", reading{topic: "diff-z"}},
	} {
		d.read(s.step, s.r)
	}
}

// deletions: records are deleted on request.
func (d *dialogue) deletions() {
	type asked = kmsg.DeleteRecordsRequestTopicPartition
	for range 3 {
		d.ask("produce what is deleted", d.producing("diff-a", 1, built(func(*batch.Builder) {}, batch.Record{Timestamp: 1, Value: []byte("v")})), showProduced)
	}
	for _, s := range []struct {
		step, topic string
		p           asked
	}{
		{"delete records to two", "diff-a", asked{Partition: 1, Offset: 2}},
		{"delete records to one", "diff-a", asked{Partition: 1, Offset: 1}},
		{"delete records beyond the end", "diff-a", asked{Partition: 1, Offset: 99}},
		{"delete records below nothing", "diff-a", asked{Partition: 1, Offset: -2}},
		{"delete records to the end", "diff-a", asked{Partition: 1, Offset: -1}},
		{"delete records to the end again", "diff-a", asked{Partition: 1, Offset: -1}},
		{"delete records of an unknown partition", "diff-a", asked{Partition: 99, Offset: 0}},
		{"delete records of a stranger", "diff-z", asked{Offset: 0}},
		{"delete records of a compacted topic", "diff-k", asked{Offset: -1}},
		{"delete records of one that is also compacted", "diff-kd", asked{Offset: -1}},
		{"delete records of the offsets", "__consumer_offsets", asked{Offset: 0}},
	} {
		q := kmsg.NewPtrDeleteRecordsRequest()
		q.TimeoutMillis = 10_000
		q.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: s.topic, Partitions: []asked{s.p}}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			p := r.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
			return fmt.Sprint(codeName(p.ErrorCode), " ", p.LowWatermark)
		})
	}
	d.ends("start after the deletion", "diff-a", 1, -2, 0)
	d.read("fetch what is deleted", reading{topic: "diff-a", partition: 1})
}

// values: which values of configs are refused, by either API.
func (d *dialogue) values() {
	for _, s := range []struct{ key, value string }{
		{"retention.ms", "-1"}, {"retention.ms", "-2"}, {"retention.bytes", "-1"}, {"retention.bytes", "x"},
		{"segment.bytes", "1"}, {"segment.bytes", "1048576"}, {"segment.ms", "0"}, {"segment.index.bytes", "0"}, {"segment.jitter.ms", "-1"},
		{"compression.type", "zip"}, {"compression.type", "zstd"}, {"compression.gzip.level", "99"}, {"compression.zstd.level", "99"},
		{"compression.lz4.level", "0"}, {"cleanup.policy", "x"}, {"cleanup.policy", "compact,delete"}, {"cleanup.policy", ""},
		{"max.message.bytes", "-1"}, {"max.decompressed.message.bytes", "0"}, {"max.decompressed.message.bytes", "-1"},
		{"max.decompressed.message.bytes", "4096"}, {"remote.copy.lag.ms", "-2"}, {"message.timestamp.type", "x"}, {"message.timestamp.type", "LogAppendTime"},
		{"message.timestamp.before.max.ms", "-1"}, {"message.timestamp.after.max.ms", "-1"}, {"min.cleanable.dirty.ratio", "2"},
		{"min.cleanable.dirty.ratio", "0.5"}, {"unclean.leader.election.enable", "maybe"}, {"max.compaction.lag.ms", "0"},
		{"min.compaction.lag.ms", "-1"}, {"delete.retention.ms", "-1"}, {"file.delete.delay.ms", "-1"}, {"flush.messages", "0"},
		{"flush.ms", "-1"}, {"preallocate", "x"}, {"min.insync.replicas", "0"}, {"min.insync.replicas", "9"}, {"index.interval.bytes", "-1"},
		{"remote.storage.enable", "true"}, {"local.retention.ms", "-3"}, {"leader.replication.throttled.replicas", "x"},
		{"leader.replication.throttled.replicas", "0:1,1:1"}, {"follower.replication.throttled.replicas", "*"},
	} {
		q := kmsg.NewPtrIncrementalAlterConfigsRequest()
		q.ValidateOnly = true
		q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: ofTopic, ResourceName: "diff-b", Configs: []configEdit{{Name: s.key, Value: &s.value}}}}
		d.ask(fmt.Sprintf("set %s=%s", s.key, s.value), q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
		})
	}
	type edit = kmsg.AlterConfigsRequestResourceConfig
	value := func(s string) *string { return &s }
	for _, s := range []struct {
		step, name string
		kind       kmsg.ConfigResourceType
		edits      []edit
	}{
		{"replace with a bad value", "diff-b", ofTopic, []edit{{Name: "retention.ms", Value: value("x")}}},
		{"replace with an unknown key", "diff-b", ofTopic, []edit{{Name: "no.such", Value: value("x")}}},
		{"replace with null", "diff-b", ofTopic, []edit{{Name: "retention.ms"}}},
		{"replace one key twice", "diff-b", ofTopic, []edit{{Name: "retention.ms", Value: value("1000")}, {Name: "retention.ms", Value: value("2000")}}},
		{"replace those of a stranger", "diff-z", ofTopic, []edit{{Name: "retention.ms", Value: value("1000")}}},
		{"replace with nothing", "diff-b", ofTopic, nil},
		{"replace those of an unknown broker", "9", ofBroker, []edit{{Name: "max.connections", Value: value("5")}}},
		{"replace those of an unknown kind", "x", 77, nil},
	} {
		q := kmsg.NewPtrAlterConfigsRequest()
		q.ValidateOnly = true
		q.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: s.kind, ResourceName: s.name, Configs: s.edits}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode)
		})
	}
}

// clusters: features, quorum, directories, reassignments, and growth beside what is refused elsewhere.
func (d *dialogue) clusters() {
	type update = kmsg.UpdateFeaturesRequestFeatureUpdate
	for _, s := range []struct {
		step    string
		updates []update
	}{
		{"validate a feature in no way", []update{{Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 0}}},
		{"validate a feature in an unknown way", []update{{Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 9}}},
		{"validate the level that is", []update{{Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 1}}},
		{"validate an upgrade that lowers", []update{{Feature: "transaction.version", MaxVersionLevel: 1, UpgradeType: 1}}},
		{"validate a downgrade", []update{{Feature: "transaction.version", MaxVersionLevel: 1, UpgradeType: 2}}},
		{"validate a level that nobody has", []update{{Feature: "transaction.version", MaxVersionLevel: 99, UpgradeType: 1}}},
		{"validate a negative level", []update{{Feature: "transaction.version", MaxVersionLevel: -1, UpgradeType: 1}}},
		{"validate one feature twice", []update{{Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 1}, {Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 1}}},
	} {
		q := kmsg.NewPtrUpdateFeaturesRequest()
		q.TimeoutMillis, q.FeatureUpdates, q.ValidateOnly = 5000, s.updates, true
		d.ask(s.step, q, func(r kmsg.Response) string { return codeName(r.(*kmsg.UpdateFeaturesResponse).ErrorCode) })
	}
	for _, s := range []struct {
		step, topic string
		partition   int32
	}{{"quorum of the metadata", "__cluster_metadata", 0}, {"quorum of its other partition", "__cluster_metadata", 1}} {
		q := kmsg.NewPtrDescribeQuorumRequest()
		q.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: s.topic, Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{Partition: s.partition}}}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			q := r.(*kmsg.DescribeQuorumResponse)
			said := codeName(q.ErrorCode)
			for _, t := range q.Topics {
				for _, p := range t.Partitions {
					said += fmt.Sprintf(" %s leader %d voters %d observers %d", codeName(p.ErrorCode), p.LeaderID, len(p.CurrentVoters), len(p.Observers))
				}
			}
			return said
		})
	}
	for _, kind := range []int8{1, 2, 3} {
		q := kmsg.NewPtrDescribeClusterRequest()
		q.EndpointType = kind
		d.ask(fmt.Sprint("describe cluster, endpoints ", kind), q, func(r kmsg.Response) string {
			c := r.(*kmsg.DescribeClusterResponse)
			return fmt.Sprint(codeName(c.ErrorCode), " ", len(c.Brokers), " ", c.EndpointType)
		})
	}
	d.moving()
	d.directories()
	d.moreGrowths()
}

func (d *dialogue) moving() {
	for _, s := range []struct {
		step   string
		topics []kmsg.ListPartitionReassignmentsRequestTopic
	}{
		{"reassignments of all", nil}, {"reassignments of no topic", []kmsg.ListPartitionReassignmentsRequestTopic{}},
		{"reassignments of a stranger", []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "diff-z", Partitions: []int32{0}}}},
		{"reassignments of an unknown partition", []kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "diff-a", Partitions: []int32{99}}}},
	} {
		q := kmsg.NewPtrListPartitionReassignmentsRequest()
		q.TimeoutMillis, q.Topics = 5000, s.topics
		d.ask(s.step, q, func(r kmsg.Response) string {
			l := r.(*kmsg.ListPartitionReassignmentsResponse)
			return fmt.Sprint(codeName(l.ErrorCode), " ", len(l.Topics))
		})
	}
	for _, s := range []struct {
		step string
		to   []int32
		free bool
	}{{"reassign to more replicas, factor fixed", []int32{1, 9}, false}, {"reassign to more replicas", []int32{1, 9}, true}} {
		q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		q.TimeoutMillis, q.AllowReplicationFactorChange = 10_000, s.free
		q.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: "diff-a", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: s.to}}}}
		d.ask(s.step, q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.AlterPartitionAssignmentsResponse).Topics[0].Partitions[0].ErrorCode)
		})
	}
}

func (d *dialogue) directories() {
	for _, s := range []struct {
		step   string
		topics []kmsg.DescribeLogDirsRequestTopic
	}{
		{"directories of a topic", []kmsg.DescribeLogDirsRequestTopic{{Topic: "diff-a", Partitions: []int32{0, 1, 99}}}},
		{"directories of a stranger", []kmsg.DescribeLogDirsRequestTopic{{Topic: "diff-z", Partitions: []int32{0}}}},
	} {
		q := kmsg.NewPtrDescribeLogDirsRequest()
		q.Topics = s.topics
		d.ask(s.step, q, func(r kmsg.Response) string {
			said := codeName(r.(*kmsg.DescribeLogDirsResponse).ErrorCode)
			for _, dir := range r.(*kmsg.DescribeLogDirsResponse).Dirs {
				said += " " + codeName(dir.ErrorCode)
				for _, t := range dir.Topics {
					said += fmt.Sprint(" ", t.Topic, len(t.Partitions))
				}
			}
			return said
		})
	}
}

func (d *dialogue) moreGrowths() {
	type wanted = kmsg.CreatePartitionsRequestTopic
	type to = kmsg.CreatePartitionsRequestTopicAssignment
	for _, s := range []struct {
		step string
		all  []wanted
	}{
		{"validate one twice", []wanted{{Topic: "diff-c", Count: 6}, {Topic: "diff-c", Count: 7}}},
		{"validate a negative count", []wanted{{Topic: "diff-c", Count: -1}}},
		{"validate too many assignments", []wanted{{Topic: "diff-c", Count: 5, Assignment: []to{{Replicas: []int32{1}}, {Replicas: []int32{1}}}}}},
		{"validate an empty assignment", []wanted{{Topic: "diff-c", Count: 5, Assignment: []to{{Replicas: []int32{}}}}}},
		{"validate growth of a bad name", []wanted{{Topic: "a/b", Count: 5}}},
		{"validate growth", []wanted{{Topic: "diff-c", Count: 5}}},
	} {
		q := kmsg.NewPtrCreatePartitionsRequest()
		q.TimeoutMillis, q.ValidateOnly, q.Topics = 10_000, true, s.all
		d.ask(s.step, q, func(r kmsg.Response) (said string) {
			for _, t := range r.(*kmsg.CreatePartitionsResponse).Topics {
				said += t.Topic + ":" + codeName(t.ErrorCode) + " "
			}
			return said
		})
	}
}
