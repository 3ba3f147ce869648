package nemesis

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// The compacted topic lies beside the other one. What is judged there is what compaction must keep: of each
// key the newest value, in its order, whatever it was told to remove.
const (
	compactedName       = topicName + "-compacted"
	compactedPartitions = 2
	compactedKeys       = 400
	compactedProducer   = "franz-go producer of keys"
	// compactedShare is its part of the rate.
	compactedShare = 0.3
	// tombstoneEvery is how many values of a key come per tombstone.
	tombstoneEvery = 7
)

var compactedConfigs = map[string]string{
	"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "5000",
	"max.compaction.lag.ms": "10000",
}

// keyed is what was sent under one key. One value is on its way at a time, so that their order is known.
type keyed struct {
	// sent is the number of the last value, acked that of the last acknowledged one, 0 for none.
	sent, acked int64
	// frozen: the last value's fate is unknown, and no more are sent.
	frozen bool
}

// compacted sends to the compacted topic, and judges what is left there.
type compacted struct {
	load *load
	mu   sync.Mutex
	keys [compactedKeys]keyed
}

// endKey is that of the last record of each partition, which no compaction may remove.
const endKey = "end"

// numberHeader tells which value of its key a record is: tombstones have nothing else to tell it.
const numberHeader = "n"

// isTombstone says whether a value of a key is none.
func isTombstone(number int64) bool { return number%tombstoneEvery == 0 }

// recordFor is a value of a key; padding makes it worth removing.
func recordFor(key int, number int64) *kgo.Record {
	r := &kgo.Record{
		Partition: int32(key % compactedPartitions), Key: []byte(strconv.Itoa(key)),
		Headers: []kgo.RecordHeader{{Key: numberHeader, Value: []byte(strconv.FormatInt(number, 10))}},
	}
	if !isTombstone(number) {
		r.Value = []byte(paddings[0])
	}
	return r
}

// run sends until ctx ends, and waits for the answers.
func (c *compacted) run(ctx context.Context) {
	client, err := kgo.NewClient(c.load.franzOptions(
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DefaultProduceTopic(compactedName), kgo.ProduceRequestTimeout(2*time.Second),
		kgo.RecordRetries(math.MaxInt32), kgo.ProducerLinger(0),
	)...)
	if err != nil {
		c.load.told(compactedProducer, err)
		return
	}
	defer client.Close()
	free := make(chan int, compactedKeys)
	for key := range compactedKeys {
		free <- key
	}
	ticker := time.NewTicker(max(time.Millisecond, time.Duration(float64(time.Second)/(float64(c.load.rate)*compactedShare))))
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			select {
			case key := <-free:
				c.send(client, key, free)
			default: // all keys are waiting
			}
		}
	}
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), answersWithin)
	defer cancel()
	if err := client.Flush(flushing); err != nil {
		c.load.unanswered(compactedProducer, int(client.BufferedProduceRecords()))
		return
	}
	for p := range int32(compactedPartitions) {
		end := &kgo.Record{Partition: p, Key: []byte(endKey), Value: []byte(endKey)}
		if err := client.ProduceSync(flushing, end).FirstErr(); err != nil {
			c.load.told(compactedProducer, err)
			c.load.unanswered(compactedProducer, 1)
		}
	}
}

func (c *compacted) send(client *kgo.Client, key int, free chan<- int) {
	c.mu.Lock()
	c.keys[key].sent++
	number := c.keys[key].sent
	c.mu.Unlock()
	client.Produce(context.Background(), recordFor(key, number), func(_ *kgo.Record, err error) {
		c.mu.Lock()
		if err == nil {
			c.keys[key].acked = number
		} else {
			c.keys[key].frozen = true
		}
		c.mu.Unlock()
		if err != nil {
			c.load.told(compactedProducer, err)
			return
		}
		free <- key
	})
}

// newest folds a log into what it says of each key, and notes what is wrong with it meanwhile.
type newest struct {
	// seen are the numbers of the last values by key, 0 for none.
	seen [compactedKeys]int64
	// last are the last offsets by partition, -1 for none; ended: its last record was seen.
	last  [compactedPartitions]int64
	ended [compactedPartitions]bool
	wrong []string
	// records counts, for the report.
	records int
}

func newNewest() *newest {
	n := &newest{}
	for p := range n.last {
		n.last[p] = -1
	}
	return n
}

func (n *newest) blame(format string, args ...any) {
	const most = 10
	if len(n.wrong) < most {
		n.wrong = append(n.wrong, fmt.Sprintf(format, args...))
	}
}

// keyedRecord is one record as a reader or a disk has it; number is what its header says.
type keyedRecord struct {
	partition int32
	offset    int64
	key       string
	value     []byte
	number    string
}

func (n *newest) see(r keyedRecord) {
	n.records++
	if r.offset <= n.last[r.partition] {
		n.blame("partition %d has offset %d after %d", r.partition, r.offset, n.last[r.partition])
	}
	n.last[r.partition] = r.offset
	if r.key == endKey {
		n.ended[r.partition] = true
		return
	}
	key, err1 := strconv.Atoi(r.key)
	number, err2 := strconv.ParseInt(r.number, 10, 64)
	if err1 != nil || err2 != nil || key < 0 || key >= compactedKeys || int32(key%compactedPartitions) != r.partition ||
		isTombstone(number) != (r.value == nil) || r.value != nil && string(r.value) != paddings[0] {
		n.blame("partition %d has at %d a record that nobody sent, key %.20q number %.20q", r.partition, r.offset, r.key, r.number)
		return
	}
	if number <= n.seen[key] {
		n.blame("key %d has value %d at %d, after value %d", key, number, r.offset, n.seen[key])
	}
	n.seen[key] = number
}

// judge says what is missing, or is there and should not be. Of a key whose newest value is a tombstone
// that is left, or nothing.
func (c *compacted) judge(n *newest) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong := slices.Clone(n.wrong)
	for p, ended := range n.ended {
		if !ended {
			wrong = append(wrong, fmt.Sprintf("partition %d lacks its last record, it ends at %d", p, n.last[p]))
		}
	}
	for key, k := range c.keys {
		newestMay := k.acked
		if k.frozen {
			newestMay = k.sent
		}
		seen := n.seen[key]
		gone := seen == 0 && (isTombstone(k.acked) || isTombstone(newestMay))
		if !gone && (seen < k.acked || seen > newestMay) {
			wrong = append(wrong, fmt.Sprintf("key %d: the log's newest is value %d, want %d to %d", key, seen, k.acked, newestMay))
		}
	}
	return wrong
}

// final reads the topic once, as a client does.
func (c *compacted) final(ctx context.Context) (wrong []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, finalWithin)
	defer cancel()
	client, err := kgo.NewClient(c.load.franzOptions(
		kgo.ConsumeTopics(compactedName), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	n := newNewest()
	for slices.Contains(n.ended[:], false) {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read %s to its end: %w; %v", compactedName, ctx.Err(), c.judge(n))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen := keyedRecord{partition: r.Partition, offset: r.Offset, key: string(r.Key), value: r.Value}
			for _, h := range r.Headers {
				seen.number = string(h.Value)
			}
			n.see(seen)
		})
	}
	return c.judge(n), nil
}

// stored judges the log of one stopped broker.
func (c *compacted) stored(logs map[topic.Partition][]storedBatch, id topic.ID) (wrong []string, records int, err error) {
	n := newNewest()
	for p := range int32(compactedPartitions) {
		for _, b := range logs[topic.Partition{Topic: id, Index: p}] {
			for r, err := range batch.Records(b.raw) {
				if err != nil {
					return nil, 0, fmt.Errorf("batch at %d of partition %d: %w", b.Base, p, err)
				}
				seen := keyedRecord{partition: p, offset: r.Offset, key: string(r.Key), value: r.Value}
				for _, h := range r.Headers {
					seen.number = string(h.Value)
				}
				n.see(seen)
			}
		}
	}
	return c.judge(n), n.records, nil
}

// total is how many records were sent.
func (c *compacted) total() (all int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.keys {
		all += k.sent
	}
	return all
}
