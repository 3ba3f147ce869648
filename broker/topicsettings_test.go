package broker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

func partitionOf(h *harness, name string) topic.Partition {
	h.Helper()
	return topic.Partition{Topic: mustTopic(h, name).ID}
}

// keyedBatch is one record with a key.
func keyedBatch(timestamp int64) []byte {
	b := batch.NewBuilder(batch.CodecNone)
	b.Add(batch.Record{Timestamp: timestamp, Key: []byte("k"), Value: []byte("v")})
	made, err := b.Build()
	if err != nil {
		panic(err)
	}
	return made
}

// stamped is one record without a key that bears a time.
func stamped(timestamp int64) []byte {
	return batchOf{values: []string{"x"}, producer: -1, epoch: -1, sequence: -1, timestamp: timestamp}.bytes()
}

// tuned is a broker with topic t, whose configs change while it runs.
type tuned struct {
	*harness
	c *rawClient
}

func startTuned(t *testing.T, edit ...func(*Config)) *tuned {
	t.Helper()
	h := start(t, edit...)
	h.create("t", 1)
	return &tuned{h, h.dial()}
}

func (h *tuned) set(name, value string) {
	h.Helper()
	onlyCode(h.TB, name, h.c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(name, opSet, value))).ErrorCode)
}

func (h *tuned) unset(name string) {
	h.Helper()
	onlyCode(h.TB, name, h.c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(name, opDelete, "null"))).ErrorCode)
}

// setForAll sets a config for all brokers.
func (h *tuned) setForAll(name, value string) {
	h.Helper()
	onlyCode(h.TB, name, h.c.altered(alterationOf(kmsg.ConfigResourceTypeBroker, "", edit(name, opSet, value))).ErrorCode)
}

// produced sends a batch and wants a code.
func (h *tuned) produced(what string, b []byte, want code) kmsg.ProduceResponseTopicPartition {
	h.Helper()
	p := onlyProduced(h.c.ask(produceOf(9, "t", 0, -1, b)))
	expectCode(h, what, p.ErrorCode, want)
	return p
}

// stored is the batch at an offset, as the log has it.
func (h *tuned) stored(offset int64) ([]byte, batch.Header) {
	h.Helper()
	p := onlyFetched(h.c.ask(fetchOf(12, "t", 0, offset)))
	onlyCode(h.TB, "fetch", p.ErrorCode)
	all, err := batch.Split(p.RecordBatches)
	if err != nil || len(all) == 0 {
		h.Fatalf("stored at %d: %d batches, %v", offset, len(all), err)
	}
	header, err := batch.ParseHeader(all[0])
	if err != nil || header.CRC != batch.Checksum(all[0]) {
		h.Fatalf("stored at %d: %+v, %v, computed %08x", offset, header, err, batch.Checksum(all[0]))
	}
	return all[0], header
}

func TestTimestampTypeTakesEffectAtOnce(t *testing.T) {
	h := startTuned(t)
	long := time.Now().Add(-time.Hour).UnixMilli()
	if p := h.produced("create time", stamped(long), codeNone); p.LogAppendTime != -1 {
		t.Errorf("create time: the append time is told as %d, want -1", p.LogAppendTime)
	}
	h.set(configTimestampType, timestampLogAppendTime)
	before := time.Now().UnixMilli()
	p := h.produced("append time", stamped(long), codeNone)
	if p.LogAppendTime < before || p.LogAppendTime > time.Now().UnixMilli() {
		t.Errorf("append time: got %d, want now, %d", p.LogAppendTime, before)
	}
	_, header := h.stored(p.BaseOffset)
	if !header.LogAppendTime() || header.MaxTimestamp != p.LogAppendTime {
		t.Errorf("stored: got %+v, want the time of the append, %d", header, p.LogAppendTime)
	}
	h.produced("any time, since it does not matter", stamped(1<<50), codeNone)
	h.unset(configTimestampType)
	p = h.produced("create time again", stamped(long), codeNone)
	if _, header := h.stored(p.BaseOffset); header.LogAppendTime() || p.LogAppendTime != -1 {
		t.Errorf("stored: got %+v, want the producer's time", header)
	}
}

func TestDuplicateIsAnsweredWithItsOwnAppendTime(t *testing.T) {
	h := startTuned(t)
	h.set(configTimestampType, timestampLogAppendTime)
	b := func() []byte {
		return batchOf{values: []string{"x"}, producer: 7, epoch: 0, sequence: 0, timestamp: 5}.bytes()
	}
	first := h.produced("first", b(), codeNone)
	eventually(t, "the clock moves on", func() bool { return time.Now().UnixMilli() > first.LogAppendTime })
	if again := h.produced("again", b(), codeNone); again.LogAppendTime != first.LogAppendTime || again.BaseOffset != first.BaseOffset {
		t.Errorf("duplicate: got %d at %d, want %d at %d", again.LogAppendTime, again.BaseOffset, first.LogAppendTime, first.BaseOffset)
	}
}

func TestTimestampBoundsTakeEffectAtOnce(t *testing.T) {
	h := startTuned(t)
	now := time.Now()
	ago, ahead := now.Add(-2*time.Hour).UnixMilli(), now.Add(2*time.Hour).UnixMilli()
	h.produced("any past", stamped(ago), codeNone)
	h.produced("two hours ahead", stamped(ahead), codeInvalidTimestamp)
	h.set(configTimestampBefore, "3600000")
	h.set(configTimestampAfter, "10800000")
	h.produced("too far behind", stamped(ago), codeInvalidTimestamp)
	h.produced("two hours ahead, allowed", stamped(ahead), codeNone)
	h.produced("no timestamp", stamped(-1), codeNone)
	h.set(configTimestampAfter, forever)
	h.produced("any future", stamped(1<<60), codeNone)
	h.unset(configTimestampBefore)
	h.unset(configTimestampAfter)
	h.produced("any past again", stamped(ago), codeNone)
	h.setForAll("log.message.timestamp.before.max.ms", "3600000")
	h.produced("as all brokers say", stamped(ago), codeInvalidTimestamp)
}

func TestMessageBytesTakeEffectAtOnce(t *testing.T) {
	h := startTuned(t)
	large := plainBatch(strings.Repeat("x", 2000))
	h.produced("as the broker allows", bytes.Clone(large), codeNone)
	h.set(configMessageBytes, "1000")
	h.produced("smaller topic", bytes.Clone(large), codeMessageTooLarge)
	h.unset(configMessageBytes)
	h.produced("as before", bytes.Clone(large), codeNone)
}

// TestRecordsAreBoundedOnceDecompressed: a small batch may hold a large record.
func TestRecordsAreBoundedOnceDecompressed(t *testing.T) {
	h := startTuned(t)
	large := func(codec batch.Codec) []byte {
		b := batch.NewBuilder(codec)
		b.Add(batch.Record{Timestamp: 1000, Value: []byte("small")})
		b.Add(batch.Record{Timestamp: 1000, Value: bytes.Repeat([]byte("x"), 5000)})
		made, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	for codec := batch.CodecGzip; codec <= batch.CodecZstd; codec++ {
		h.produced(codec.String(), large(codec), codeNone)
		h.set(configRecordBytes, "4000")
		h.produced(codec.String()+", too large", large(codec), codeInvalidRecord)
		h.produced("not compressed", large(batch.CodecNone), codeNone)
		h.set(configRecordBytes, "6000")
		h.produced(codec.String()+", within", large(codec), codeNone)
		h.unset(configRecordBytes)
	}
}

func TestCompressionTypeTakesEffectAtOnce(t *testing.T) {
	h := startTuned(t)
	value := strings.Repeat("outrigger ", 200)
	for _, kind := range []string{"producer", "gzip", "snappy", "lz4", "zstd", "uncompressed", "producer"} {
		h.set(configCompression, kind)
		for codec := range batch.CodecZstd + 1 {
			b := batch.NewBuilder(codec)
			b.Add(batch.Record{Timestamp: 1000, Key: []byte("k"), Value: []byte(value)})
			b.Add(batch.Record{Timestamp: 2000, Value: []byte("y"), Headers: []batch.RecordHeader{{Key: "h", Value: []byte("z")}}})
			made, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%s to %s", codec, kind)
			p := h.produced(name, bytes.Clone(made), codeNone)
			raw, header := h.stored(p.BaseOffset)
			want := codec
			for c := range batch.CodecZstd + 1 {
				if c.String() == kind {
					want = c
				}
			}
			if kind == "uncompressed" {
				want = batch.CodecNone
			}
			if header.Codec() != want {
				t.Errorf("%s: stored as %s, want %s", name, header.Codec(), want)
			}
			if want == codec && !bytes.Equal(raw[batch.SummedFrom:], made[batch.SummedFrom:]) {
				t.Errorf("%s: the bytes were changed", name)
			}
			var got []string
			for r, err := range batch.Records(raw) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%d %s %d %d", r.Timestamp, r.Key, len(r.Value), len(r.Headers)))
			}
			if fmt.Sprint(got) != "[1000 k 2000 0 2000  1 1]" {
				t.Errorf("%s: records are %v", name, got)
			}
		}
	}
}

// Another client library reads what was compressed anew, with the time of the append.
func TestClientsReadWhatTheBrokerCompressed(t *testing.T) {
	h := startTuned(t)
	h.set(configTimestampType, timestampLogAppendTime)
	for i, kind := range []string{"gzip", "snappy", "lz4", "zstd"} {
		h.set(configCompression, kind)
		h.produced(kind, plainBatch(strings.Repeat(kind, 100)), codeNone)
		reader := h.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().At(int64(i))}}))
		fetches := reader.PollFetches(deadline(t))
		records := fetches.Records()
		if err := fetches.Err0(); err != nil || len(records) != 1 || string(records[0].Value) != strings.Repeat(kind, 100) {
			t.Fatalf("%s: got %d records, %v", kind, len(records), err)
		}
		if records[0].Attrs.TimestampType() != 1 || time.Since(records[0].Timestamp) > time.Minute {
			t.Errorf("%s: timestamp is %v of type %d, want that of the append", kind, records[0].Timestamp, records[0].Attrs.TimestampType())
		}
		reader.Close()
	}
}

// TestCompressionLevelsTakeEffectAtOnce: a higher level makes the stored batch smaller, and so it is for all topics that
// say nothing once all brokers are told so. In a text of two letters there is always a longer
// match to be found.
func TestCompressionLevelsTakeEffectAtOnce(t *testing.T) {
	h := startTuned(t)
	letters := rand.New(rand.NewPCG(3, 5))
	var text strings.Builder
	for text.Len() < 50_000 {
		text.WriteByte("ab"[letters.IntN(2)])
	}
	next := int64(0)
	stored := func(what string) int {
		t.Helper()
		h.produced(what, plainBatch(text.String()), codeNone)
		got, _ := h.stored(next)
		next++
		return len(got)
	}
	for _, c := range []struct{ kind, key, low, high string }{
		{"gzip", configGzipLevel, "1", "9"}, {"lz4", configLz4Level, "1", "17"}, {"zstd", configZstdLevel, "-5", "19"},
	} {
		h.set(configCompression, c.kind)
		h.set(c.key, c.low)
		fast := stored(c.kind)
		h.set(c.key, c.high)
		small := stored(c.kind + ", harder")
		if small >= fast {
			t.Errorf("%s: %d bytes at level %s and %d at %s, want fewer", c.kind, fast, c.low, small, c.high)
		}
		h.unset(c.key)
		h.setForAll(c.key, c.low)
		if got := stored(c.kind + ", as all brokers say"); got != fast {
			t.Errorf("%s: %d bytes at level %s of all brokers, want %d as at the topic's own", c.kind, got, c.low, fast)
		}
		h.setForAll(c.key, c.high)
		if got := stored(c.kind + ", harder for all"); got != small {
			t.Errorf("%s: %d bytes at level %s of all brokers, want %d as at the topic's own", c.kind, got, c.high, small)
		}
	}
}

func TestBatchThatGrowsTooLargeIsRefused(t *testing.T) {
	h := startTuned(t)
	b := batch.NewBuilder(batch.CodecGzip)
	b.Add(batch.Record{Value: bytes.Repeat([]byte("x"), 100_000)})
	made, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	h.set(configMessageBytes, "10000")
	h.produced("compressed", bytes.Clone(made), codeNone)
	h.set(configCompression, "uncompressed")
	h.produced("too large without compression", bytes.Clone(made), codeMessageTooLarge)
}

func TestCompactedTopicWantsKeys(t *testing.T) {
	h := startTuned(t)
	h.produced("no key", plainBatch("x"), codeNone)
	for _, policy := range []string{"compact", "compact,delete", "delete, compact"} {
		h.set(configCleanupPolicy, policy)
		h.produced("no key, "+policy, plainBatch("x"), codeInvalidRecord)
		h.produced("a key, "+policy, keyedBatch(5), codeNone)
	}
	h.set(configCleanupPolicy, "delete")
	h.produced("no key again", plainBatch("x"), codeNone)
}

// TestRefusedRecordsAreNamed: a client learns which records of a batch are refused, and so which others have only
// failed beside them (KIP-467). Older ones do not know of it.
func TestRefusedRecordsAreNamed(t *testing.T) {
	h := startTuned(t)
	h.set(configCleanupPolicy, "compact")
	now := time.Now().UnixMilli()
	built := func(records ...batch.Record) []byte {
		b := batch.NewBuilder(batch.CodecNone)
		for _, r := range records {
			b.Add(r)
		}
		made, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	keyed, keyless := batch.Record{Timestamp: now, Key: []byte("k")}, batch.Record{Timestamp: now}
	ahead := batch.Record{Timestamp: now + 2*time.Hour.Milliseconds(), Key: []byte("k")}
	for _, c := range []struct {
		what  string
		batch []byte
		code  code
		want  []int32
	}{
		{"without keys", built(keyed, keyless, keyed, keyless), codeInvalidRecord, []int32{1, 3}},
		{"too far ahead", built(keyed, keyed, ahead), codeInvalidTimestamp, []int32{2}},
		{"both", built(keyless, ahead), codeInvalidTimestamp, []int32{0, 1}},
		{"a batch that is refused as a whole", plainBatch(strings.Repeat("x", 2<<20)), codeMessageTooLarge, nil},
	} {
		p := h.produced(c.what, bytes.Clone(c.batch), c.code)
		var got []int32
		for _, r := range p.ErrorRecords {
			if got = append(got, r.RelativeOffset); r.ErrorMessage == nil || *r.ErrorMessage == "" {
				t.Errorf("%s: nothing is said of record %d", c.what, r.RelativeOffset)
			}
		}
		if !slices.Equal(got, c.want) || p.ErrorMessage == nil {
			t.Errorf("%s: got records %v, message %v, want %v and a message", c.what, got, p.ErrorMessage, c.want)
		}
		old := onlyProduced(h.c.ask(produceOf(7, "t", 0, -1, bytes.Clone(c.batch))))
		expectCode(t, c.what+", asked as of old", old.ErrorCode, c.code)
	}
}

// Every config of Kafka's list takes its values and refuses others, and is described as it was set.
func TestTopicConfigsAreTakenAndDescribed(t *testing.T) {
	h := startTuned(t)
	for name, c := range map[string]struct{ good, bad string }{
		configCleanupPolicy: {"compact,delete", "forget"}, configGzipLevel: {"9", "0"}, configLz4Level: {"17", "18"},
		configZstdLevel: {"-5", "23"}, configCompression: {"zstd", "none"}, "delete.retention.ms": {"0", "-1"},
		"file.delete.delay.ms": {"1", "-1"}, "flush.messages": {"1", "0"}, "flush.ms": {"0", "-1"},
		"index.interval.bytes": {"0", "-1"}, configMaxLag: {"10", "0"}, configMinLag: {"10", "-1"},
		configMessageBytes: {"500", "-1"}, configRecordBytes: {"500", "0"}, configTimestampAfter: {"5", "-1"}, configTimestampBefore: {"5", "x"},
		configTimestampType: {"LogAppendTime", "logappendtime"}, "min.cleanable.dirty.ratio": {"0.25", "1.5"},
		configMinInSync: {"1", "0"}, "preallocate": {"true", "yes"}, configLetterTopic: {"true", "yes"}, configRetentionBytes: {"-1", "1.5"},
		configRetentionMillis: {"-1", "-2"}, "segment.bytes": {"1048576", "1048575"},
		"segment.index.bytes": {"4", "3"}, "segment.jitter.ms": {"0", "-1"}, "segment.ms": {"1", "0"},
		configUncleanElection: {"true", "maybe"},
	} {
		h.set(name, c.good)
		got := h.c.described(kmsg.ConfigResourceTypeTopic, "t")[name]
		if got.Value == nil || *got.Value != c.good || got.Source != kmsg.ConfigSourceDynamicTopicConfig {
			t.Errorf("%s: got %+v, want %s, from the topic", name, got, c.good)
		}
		a := h.c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(name, opSet, c.bad)))
		expectCode(t, name+"="+c.bad, a.ErrorCode, codeInvalidConfig)
	}
	h.unset(configMinLag)
	h.unset(configMaxLag)
}

// Under log.flush.policy=interval nobody is told that records are synced before they are acknowledged, or sooner than
// they are: neither a topic nor all.
func TestFlushConfigsAreRefusedWhereTheyAreNotKept(t *testing.T) {
	kept, refused := codeNone, codeInvalidConfig
	for _, test := range []struct {
		interval    time.Duration
		name, value string
		want        code
	}{
		{0, "flush.messages", "1", kept}, {0, "flush.ms", "0", kept},
		{time.Second, "flush.messages", "1", refused}, {time.Second, "flush.messages", "1000000", refused},
		{time.Second, "flush.messages", forever, kept}, {time.Second, "flush.ms", forever, kept},
		{time.Second, "flush.ms", "999", refused}, {time.Second, "flush.ms", "1000", kept},
	} {
		h := startTuned(t, func(c *Config) { c.Topics.FlushInterval = test.interval })
		what := fmt.Sprintf("%s=%s, synced each %v", test.name, test.value, test.interval)
		a := h.c.altered(alterationOf(kmsg.ConfigResourceTypeTopic, "t", edit(test.name, opSet, test.value)))
		expectCode(t, what, a.ErrorCode, test.want)
		if test.want == refused && !strings.Contains(*a.ErrorMessage, "log.flush.policy=always") {
			t.Errorf("%s: got %q, want the remedy", what, *a.ErrorMessage)
		}
		if test.name == "flush.messages" {
			a = h.c.altered(alterationOf(kmsg.ConfigResourceTypeBroker, "", edit("log.flush.interval.messages", opSet, test.value)))
			expectCode(t, "for all brokers, "+what, a.ErrorCode, test.want)
		}
		q := kmsg.NewPtrCreateTopicsRequest()
		q.Version = 7
		created := kmsg.NewCreateTopicsRequestTopic()
		created.Topic, created.NumPartitions, created.ReplicationFactor = "new", 1, 1
		created.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: test.name, Value: &test.value}}
		q.Topics = append(q.Topics, created)
		expectCode(t, "created with "+what, h.c.ask(q).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode, test.want)
		h.stop()
	}
}

// What is stored and steers nothing says so: who describes it with its documentation is not left to believe in it.
func TestConfigsThatSteerNothingSaySo(t *testing.T) {
	h := startTuned(t)
	q := kmsg.NewPtrDescribeConfigsRequest()
	q.Version, q.IncludeDocumentation = 4, true
	asked := kmsg.NewDescribeConfigsRequestResource()
	asked.ResourceType, asked.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
	q.Resources = append(q.Resources, asked)
	idle := map[string]bool{
		"file.delete.delay.ms": true, "flush.messages": true, "flush.ms": true, "index.interval.bytes": true, "preallocate": true,
		"segment.bytes": true, "segment.index.bytes": true, "segment.jitter.ms": true,
	}
	for _, c := range h.c.ask(q).(*kmsg.DescribeConfigsResponse).Resources[0].Configs {
		key, _ := findTopicKey(c.Name)
		switch said := c.Documentation != nil && strings.HasPrefix(*c.Documentation, "Steers nothing: "); {
		case said != idle[c.Name]:
			t.Errorf("%s: got %t said that it steers nothing, want %t", c.Name, said, idle[c.Name])
		case key.honoured != nil && c.Documentation == nil:
			t.Errorf("%s: got no documentation", c.Name)
		}
	}
}

func TestTopicsInheritFromTheBrokers(t *testing.T) {
	h := startTuned(t, func(c *Config) {
		c.Topics.Configs = map[string]string{configRetentionMillis: "7000"}
		c.Properties = []Property{{Name: "log.retention.ms", Value: "7000", Set: true, Kind: PropertyInteger}}
	})
	retention := func() kmsg.DescribeConfigsResponseResourceConfig {
		return h.c.described(kmsg.ConfigResourceTypeTopic, "t")[configRetentionMillis]
	}
	if got := retention(); *got.Value != "7000" || got.Source != kmsg.ConfigSourceStaticBrokerConfig {
		t.Errorf("from the file: got %s of source %v", *got.Value, got.Source)
	}
	h.setForAll("log.retention.ms", "8000")
	if got := retention(); *got.Value != "8000" || got.Source != kmsg.ConfigSourceDynamicDefaultBrokerConfig || len(got.ConfigSynonyms) != 2 {
		t.Errorf("from all brokers: got %s of source %v, %d synonyms", *got.Value, got.Source, len(got.ConfigSynonyms))
	}
	view := h.cluster.View()
	if s := h.settingsOf(view, mustTopic(h.harness, "t")); s.retention.AgeMax != 8*time.Second {
		t.Errorf("in force: %v, want 8 s", s.retention.AgeMax)
	}
	h.set(configRetentionMillis, "9000")
	if s := h.settingsOf(h.cluster.View(), mustTopic(h.harness, "t")); s.retention.AgeMax != 9*time.Second {
		t.Errorf("in force: %v, want 9 s", s.retention.AgeMax)
	}
}
