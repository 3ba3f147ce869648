package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"outrigger/e2e/history"
	"outrigger/sidecar/bus"
)

// leaderTimeout is the default of replica.leader.timeout.ms.
const leaderTimeout = 1200 * time.Millisecond

// Two of three are gone. The third may not know better than they did: it changes no in-sync set,
// appends nothing that it could not commit, and shows what is committed.
func TestSurvivorOfThreeRefusesAppendsAndServesReads(t *testing.T) {
	t.Parallel() // it mostly waits
	const partitions = 6
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, "loss", partitions, 3)
	ledger := newLedger()
	for round, c := range []struct {
		name             string
		controls, killed bool
	}{
		{name: "the survivor is the controller, the others are paused", controls: true},
		{name: "the survivor is not the controller, the others are paused"},
		{name: "the others are killed", killed: true},
	} {
		t.Log(c.name)
		load := startLoad(t, f.kafka, "loss", partitions, ledger)
		resumed(t, ledger, partitions)
		load.stop()
		survivor := f.controller()
		if !c.controls {
			survivor = (survivor + 1 + round%2) % 3
		}
		f.withoutTwo(t, ledger, survivor, partitions, c.killed)
		f.healthy(30 * time.Second)
		load = startLoad(t, f.kafka, "loss", partitions, ledger)
		resumed(t, ledger, partitions)
		load.stop()
	}
	t.Log(ledger.summary())
	ledger.check(t, f.kafka, "loss", partitions)
	f.healthy(30 * time.Second)
	f.stopAll()
	f.sameLogs("loss")
}

// withoutTwo takes the two others away, looks at the survivor well past the timeout, and brings them
// back.
func (f *fleet) withoutTwo(t *testing.T, ledger *ledger, survivor, partitions int, kill bool) {
	t.Helper()
	ends := endOffsets(t, f.kafka, "loss", partitions)
	led := f.ledBy(survivor)
	if len(led) == 0 {
		t.Fatalf("broker %d leads nothing", survivor+1)
	}
	p := slices.Min(slices.Collect(maps.Keys(led)))
	raw := newRawProducer(t, ledger, f.kafka[survivor], "loss", kgo.AllISRAcks())
	rawOne := newRawProducer(t, ledger, f.kafka[survivor], "loss", kgo.LeaderAck())
	for i := range f.processes {
		switch {
		case i == survivor:
		case kill:
			f.kill(i)
		default:
			f.send(i, syscall.SIGSTOP)
		}
	}
	gone := time.Now()

	const held = 2 * leaderTimeout
	// Nobody has missed them yet: this one is appended, and cannot be committed.
	if err := raw.produce(p, held); !errors.Is(err, kerr.RequestTimedOut) {
		t.Errorf("an append at once after the loss: got %v, want %v", err, kerr.RequestTimedOut)
	}
	if took := time.Since(gone); took < held {
		t.Errorf("the append that cannot be committed was answered after %s, want after its %s", took, held)
	}
	for p := range led {
		if err := raw.produce(p, 100*time.Millisecond); !errors.Is(err, kerr.NotEnoughReplicas) {
			t.Errorf("an append to partition %d after the timeout: got %v, want %v", p, err, kerr.NotEnoughReplicas)
		}
		if err := rawOne.produce(p, 100*time.Millisecond); !errors.Is(err, kerr.NotLeaderForPartition) {
			t.Errorf("an append with acks=1 to partition %d after the timeout: got %v, want %v", p, err, kerr.NotLeaderForPartition)
		}
	}
	before := f.ledBy(survivor)
	if len(before) != len(led) {
		t.Errorf("the survivor leads %d partitions, and led %d", len(before), len(led))
	}
	throughout(t, leaderTimeout, "the survivor", func() error {
		if err := raw.produce(p, 100*time.Millisecond); !errors.Is(err, kerr.NotEnoughReplicas) {
			return fmt.Errorf("an append: got %v, want %v", err, kerr.NotEnoughReplicas)
		}
		for p, now := range f.ledBy(survivor) {
			was := before[p]
			if now.LogEnd != was.LogEnd || now.HighWatermark != was.HighWatermark || now.Epoch != led[p].Epoch {
				return fmt.Errorf("partition %d is %+v, was %+v", p, now, was)
			}
			if !slices.Equal(now.ISR, []int{1, 2, 3}) {
				return fmt.Errorf("partition %d has in-sync set %v, want all three", p, now.ISR)
			}
		}
		return nil
	})
	// What was committed stays readable, and only that.
	for p := range ends {
		if _, ok := led[p]; !ok {
			delete(ends, p)
		}
	}
	reader := ledger.history.Consumer(history.ConsumerConfig{Name: "reader of the survivor"})
	for p := range ends {
		reader.Seek("loss", p, 0)
	}
	read := readTo(t, f.kafka[survivor:survivor+1], map[string]map[int32]int64{"loss": ends}, reader)
	for p, records := range read["loss"] {
		if records != ends[p] {
			t.Errorf("partition %d: read %d records, want %d", p, records, ends[p])
		}
	}
	for p, end := range endOffsetsOf(t, f.kafka[survivor], "loss", slices.Collect(maps.Keys(led))) {
		if end != ends[p] {
			t.Errorf("partition %d: high watermark %d, want %d as before the loss", p, end, ends[p])
		}
	}
	for i := range f.processes {
		switch {
		case i == survivor:
		case kill:
			f.start(i)
		default:
			f.send(i, syscall.SIGCONT)
		}
	}
	back := time.Now()
	f.healthy(30 * time.Second)
	t.Logf("survivor %d led %d partitions; all is well %s after the others returned", survivor+1, len(led), time.Since(back).Round(time.Millisecond))
}

// ledBy asks broker i alone for the partitions that it leads.
func (c *cluster) ledBy(i int) map[int32]partitionStatus {
	c.t.Helper()
	client, err := bus.Dial(c.nats[i], "", "")
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	answers, err := client.RequestMany(context.Background(), "sidecar.status."+strconv.Itoa(i+1), 2*time.Second, 1)
	if err != nil || len(answers) != 1 {
		c.t.Fatalf("broker %d gives %d statuses, %v", i+1, len(answers), err)
	}
	var s clusterStatus
	if err := json.Unmarshal(answers[0], &s); err != nil {
		c.t.Fatalf("broker %d says %q: %v", i+1, answers[0], err)
	}
	led := map[int32]partitionStatus{}
	for _, p := range s.Partitions {
		if int(p.Leader) == i+1 {
			led[p.Partition] = p
		}
	}
	return led
}

// endOffsetsOf asks one broker for the high watermarks of partitions that it leads.
func endOffsetsOf(t testing.TB, broker, topic string, partitions []int32) map[int32]int64 {
	t.Helper()
	client := rawClient(t, broker)
	req := kmsg.NewPtrListOffsetsRequest()
	reqTopic := kmsg.NewListOffsetsRequestTopic()
	reqTopic.Topic = topic
	for _, p := range partitions {
		reqPartition := kmsg.NewListOffsetsRequestTopicPartition()
		reqPartition.Partition, reqPartition.Timestamp, reqPartition.CurrentLeaderEpoch = p, -1, -1
		reqTopic.Partitions = append(reqTopic.Partitions, reqPartition)
	}
	req.Topics = append(req.Topics, reqTopic)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := client.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		t.Fatalf("list offsets of %s: %v", topic, err)
	}
	ends := map[int32]int64{}
	for _, p := range resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			t.Errorf("list offsets of partition %d: %v", p.Partition, err)
		}
		ends[p.Partition] = p.Offset
	}
	return ends
}

// rawClient talks to one broker and retries nothing.
func rawClient(t testing.TB, broker string, extra ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(broker), kgo.RequestRetries(0), kgo.RequestTimeoutOverhead(10 * time.Second),
		kgo.MaxVersions(kversion.V3_0_0()),
	}, extra...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// rawProducer sends single produce requests to one broker, and hears what it answers to each.
type rawProducer struct {
	t        testing.TB
	producer *history.Producer
	client   *kgo.Client
	topic    string
	sent     int
}

func newRawProducer(t testing.TB, l *ledger, broker, topic string, acks kgo.Acks) *rawProducer {
	t.Helper()
	return &rawProducer{
		t: t, topic: topic, client: rawClient(t, broker, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()),
		producer: l.history.Producer(history.ProducerConfig{Name: "raw to " + broker}),
	}
}

// produce sends one record and returns the error code of the answer.
func (r *rawProducer) produce(partition int32, timeout time.Duration) error {
	r.t.Helper()
	return r.send(partition, "", timeout)
}

// send is produce with more bytes.
func (r *rawProducer) send(partition int32, ballast string, timeout time.Duration) error {
	r.t.Helper()
	r.sent++
	value := fmt.Sprintf("%s raw %d of %s%s", time.Now(), r.sent, r.client.OptValue(kgo.SeedBrokers), ballast)
	req := kmsg.NewPtrProduceRequest()
	req.TimeoutMillis = int32(timeout.Milliseconds()) // the client sets its own acks
	reqTopic := kmsg.NewProduceRequestTopic()
	reqTopic.Topic = r.topic
	reqPartition := kmsg.NewProduceRequestTopicPartition()
	reqPartition.Partition = partition
	reqPartition.Records = singleBatch(value)
	reqTopic.Partitions = append(reqTopic.Partitions, reqPartition)
	req.Topics = append(req.Topics, reqTopic)
	ctx, cancel := context.WithTimeout(context.Background(), timeout+10*time.Second)
	defer cancel()
	sent := r.producer.Send(r.topic, partition, history.ValueOf([]byte(value)))
	resp, err := r.client.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		r.t.Fatalf("produce to partition %d: %v", partition, err)
	}
	answer := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	err = kerr.ErrorForCode(answer.ErrorCode)
	noteOnce(sent, answer.BaseOffset, err)
	return err
}

// singleBatch is a record batch with one record, of no producer.
func singleBatch(value string) []byte {
	record := kmsg.NewRecord()
	record.Value = []byte(value)
	record.Length = int32(len(record.AppendTo(nil)) - 1) // its own length is one byte of it, as zero
	now := time.Now().UnixMilli()
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch, b.Magic = -1, 2
	b.FirstTimestamp, b.MaxTimestamp = now, now
	b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.NumRecords = -1, -1, -1, 1
	b.Records = record.AppendTo(nil)
	const lengthEnd, crcEnd = 12, 21
	b.Length = int32(len(b.AppendTo(nil)) - lengthEnd)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[crcEnd:], castagnoli))
	return b.AppendTo(nil)
}

// Two brokers are killed at once under load, and come back by themselves: with their session, not
// with their disk, ends what they were in sync with.
func TestTwoOfThreeKilledAtOnceLoseNothingAcknowledged(t *testing.T) {
	const partitions = 6
	c := start(t, options{restart: true})
	c.createTopic(0, "two", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "two", partitions, ledger)
	startTail(t, c.kafka, "two", partitions, ledger)
	for round := range 3 {
		resumed(t, ledger, partitions)
		resumed(t, ledger, partitions)
		ledger.takeLongest()
		spared := (c.controller() + round) % 3
		for i := range c.pids {
			if i != spared {
				c.signal(i, syscall.SIGKILL)
			}
		}
		resumed(t, ledger, partitions)
		resumed(t, ledger, partitions)
		gap, p := ledger.takeLongest()
		t.Logf("all but broker %d killed: longest gap %s on partition %d", spared+1, gap.Round(time.Millisecond), p)
		c.healthy(30 * time.Second)
	}
	load.stop()
	t.Log(ledger.summary())
	ledger.check(t, c.kafka, "two", partitions)
	c.healthy(30 * time.Second)
	c.stop()
	c.sameLogs("two")
}

// All brokers are killed at once and return in any order, far apart (failure mode 5: nobody waits for a
// leader before it listens).
func TestAllKilledAndReturnedInAnyOrderLoseNothingAcknowledged(t *testing.T) {
	t.Parallel() // it mostly waits
	const partitions = 6
	apart := 4 * time.Second
	if os.Getenv("OUTRIGGER_LONG") != "" {
		apart = 30 * time.Second
	}
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, "order", partitions, 3)
	ledger := newLedger()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	for range 2 {
		load := startLoad(t, f.kafka, "order", partitions, ledger)
		resumed(t, ledger, partitions)
		resumed(t, ledger, partitions)
		for i := range f.processes {
			f.send(i, syscall.SIGKILL)
		}
		load.cancel()
		for i := range f.processes {
			f.kill(i)
		}
		load.gone()
		order := r.Perm(3)
		delay := func() time.Duration { return time.Duration(r.Int64N(int64(apart))) }
		first, second := delay(), delay()
		t.Logf("brokers return in order %v, after %s and %s more", order, first, second)
		f.start(order[0])
		<-time.After(first) // nothing to wait for: the delay is what is tested
		f.start(order[1])
		<-time.After(second)
		f.start(order[2])
		f.healthy(30 * time.Second)
	}
	t.Log(ledger.summary())
	ledger.check(t, f.kafka, "order", partitions)
	f.stopAll()
	f.sameLogs("order")
}
