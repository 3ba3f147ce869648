package e2e

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	newTopics       = 200
	recordsPerTopic = 10
)

// failure modes 45 and 47: 200 producers make 200 topics at once, half of them by writing to what is
// not there yet, through all brokers. Every broker knows the same topics by the same ids.
func TestTopicsMadeAtOnceAreTheSameEverywhere(t *testing.T) {
	c := start(t, options{})
	ledgers := make([]*ledger, newTopics)
	began := time.Now()
	var producers sync.WaitGroup
	for n := range newTopics {
		ledgers[n] = newLedger()
		producers.Go(func() {
			if err := c.makeAndWrite(n, ledgers[n]); err != nil {
				t.Errorf("%s: %v", newTopic(n), err)
			}
		})
	}
	producers.Wait()
	took := time.Since(began)
	if t.Failed() {
		return
	}
	topics := c.sameTopics(newTopics)
	t.Logf("%d topics made and written to in %s, known to all brokers after %s",
		newTopics, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	c.readBack(topics, ledgers)

	began = time.Now()
	c.deleteTopics(newTopics / 2)
	for name := range topics {
		if n, _ := strconv.Atoi(name[len("new-"):]); n < newTopics/2 {
			delete(topics, name)
		}
	}
	if left := c.sameTopics(len(topics)); !maps.Equal(left, topics) {
		t.Errorf("after the deletion: got %v, want %v", left, topics)
	}
	t.Logf("%d topics deleted, gone from all brokers after %s", newTopics/2, time.Since(began).Round(time.Millisecond))

	c.stop()
	c.launch()
	if left := c.sameTopics(len(topics)); !maps.Equal(left, topics) {
		t.Errorf("after the restart: got %v, want %v", left, topics)
	}
	c.readBack(topics, ledgers)
}

func newTopic(n int) string { return "new-" + strconv.Itoa(n) }

// makeAndWrite is one producer: every second one leaves it to the broker to make its topic.
func (c *cluster) makeAndWrite(n int, ledger *ledger) error {
	seed := c.kafka[n%len(c.kafka)]
	client, err := kgo.NewClient(clientOptions([]string{seed}, kgo.AllowAutoTopicCreation(),
		kgo.UnknownTopicRetries(-1), kgo.DefaultProduceTopic(newTopic(n)))...)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if n%2 == 1 {
		created, err := kadm.NewClient(client).CreateTopics(ctx, int32(1+n%3), 3, nil, newTopic(n))
		if err == nil {
			err = created.Error()
		}
		if err != nil {
			return fmt.Errorf("create: %w", err)
		}
	}
	for i := range recordsPerTopic {
		client.Produce(ctx, &kgo.Record{Value: []byte(newTopic(n) + "-" + strconv.Itoa(i))},
			func(r *kgo.Record, err error) { ledger.note(c.t, r, err) })
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if ledger.total != recordsPerTopic {
		return fmt.Errorf("%s, want %d", ledger.summary(), recordsPerTopic)
	}
	return nil
}

// topicFacts are what all brokers must agree on.
type topicFacts struct {
	id         [16]byte
	partitions int
}

// sameTopics waits until every broker lists the same topics, so many, and returns them.
func (c *cluster) sameTopics(want int) map[string]topicFacts {
	c.t.Helper()
	var first map[string]topicFacts
	c.eventually(20*time.Second, fmt.Sprintf("the same %d topics on every broker", want), func() error {
		for i, address := range c.kafka {
			listed := listTopics(c.t, address)
			if len(listed) != want {
				return fmt.Errorf("broker %d lists %d topics", i+1, len(listed))
			}
			if i == 0 {
				first = listed
			}
			if !maps.Equal(listed, first) {
				return fmt.Errorf("broker %d lists other topics than broker 1", i+1)
			}
		}
		return nil
	})
	return first
}

func listTopics(t testing.TB, address string) map[string]topicFacts {
	t.Helper()
	listed := map[string]topicFacts{}
	for _, topic := range request(t, address, kmsg.NewPtrMetadataRequest()).(*kmsg.MetadataResponse).Topics {
		listed[*topic.Topic] = topicFacts{id: topic.TopicID, partitions: len(topic.Partitions)}
	}
	return listed
}

// readBack reads all topics to their ends and holds them against what was acknowledged.
func (c *cluster) readBack(topics map[string]topicFacts, ledgers []*ledger) {
	c.t.Helper()
	wanted := 0
	assign := map[string]map[int32]kgo.Offset{}
	for name, facts := range topics {
		assign[name] = map[int32]kgo.Offset{}
		for p := range facts.partitions {
			assign[name][int32(p)] = kgo.NewOffset().AtStart()
		}
		wanted += recordsPerTopic
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.ConsumePartitions(assign))
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	read := map[string]map[int32]map[int64]string{}
	for got := 0; got < wanted; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			c.t.Fatalf("read %d of %d records in a minute", got, wanted)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if read[r.Topic] == nil {
				read[r.Topic] = map[int32]map[int64]string{}
			}
			if read[r.Topic][r.Partition] == nil {
				read[r.Topic][r.Partition] = map[int64]string{}
			}
			read[r.Topic][r.Partition][r.Offset] = string(r.Value)
			got++
		})
	}
	for n, ledger := range ledgers {
		if _, ok := topics[newTopic(n)]; ok {
			ledger.check(c.t, read[newTopic(n)])
		}
	}
}

// deleteTopics deletes the first topics, in one request.
func (c *cluster) deleteTopics(count int) {
	c.t.Helper()
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.TimeoutMillis = 20_000
	for n := range count {
		doomed := kmsg.NewDeleteTopicsRequestTopic()
		doomed.Topic = kmsg.StringPtr(newTopic(n))
		q.Topics = append(q.Topics, doomed)
		q.TopicNames = append(q.TopicNames, newTopic(n))
	}
	resp := request(c.t, c.kafka[1], q).(*kmsg.DeleteTopicsResponse)
	if len(resp.Topics) != count {
		c.t.Fatalf("deleted %d topics, want %d", len(resp.Topics), count)
	}
	for _, deleted := range resp.Topics {
		if err := kerr.ErrorForCode(deleted.ErrorCode); err != nil {
			c.t.Errorf("delete %s: %v", *deleted.Topic, err)
		}
	}
}
