package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"outrigger/e2e/history"
)

const (
	newTopics       = 200
	recordsPerTopic = 10
)

// failure modes 45 and 47: 200 producers make 200 topics at once, half of them by writing to what is
// not there yet, through all brokers. Every broker knows the same topics by the same ids.
func TestTopicsMadeAtOnceAreTheSameEverywhere(t *testing.T) {
	c := start(t, options{})
	ledger := newLedger()
	began := time.Now()
	var producers sync.WaitGroup
	for n := range newTopics {
		producers.Go(func() {
			if err := c.makeAndWrite(n, ledger); err != nil {
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
	c.readBack(topics, ledger)

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
	c.readBack(topics, ledger)
}

// failure mode 45, in its full size: thousands of topics made in parallel through all brokers are the same
// everywhere, and after a restart of all.
func TestFiveThousandTopicsAreTheSameEverywhere(t *testing.T) {
	if os.Getenv("OUTRIGGER_LONG") == "" {
		t.Skip("makes 5,000 topics, which takes minutes: OUTRIGGER_LONG=1 runs it")
	}
	const thousands, atOnce = 5000, 64
	c := start(t, options{})
	clients := make([]*kadm.Client, len(c.kafka))
	for i, address := range c.kafka {
		clients[i] = admin(t, address)
	}
	began := time.Now()
	var makers errgroup.Group
	makers.SetLimit(atOnce)
	for n := range thousands {
		makers.Go(func() error {
			created, err := clients[n%len(clients)].CreateTopics(t.Context(), 1, 3, nil, newTopic(n))
			if err == nil {
				err = created.Error()
			}
			if err != nil {
				return fmt.Errorf("create %s: %w", newTopic(n), err)
			}
			return nil
		})
	}
	if err := makers.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d topics made in %s", thousands, time.Since(began).Round(time.Millisecond))
	topics := c.sameTopics(thousands)
	c.stop()
	c.launch()
	c.healthy(time.Minute)
	if left := c.sameTopics(thousands); !maps.Equal(left, topics) {
		t.Error("after the restart: got other topics or ids, want the same")
	}
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
	var acked atomic.Int64
	producer := ledger.idempotent(newTopic(n))
	for i := range recordsPerTopic {
		record := &kgo.Record{Value: []byte(newTopic(n) + "-" + strconv.Itoa(i))}
		sent := producer.Send(newTopic(n), history.AnyPartition, history.ValueOf(record.Value))
		client.Produce(ctx, record, func(r *kgo.Record, err error) {
			ledger.note(sent, r, err)
			if err == nil {
				acked.Add(1)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if got := acked.Load(); got != recordsPerTopic {
		return fmt.Errorf("%d records are acknowledged, want %d; %s", got, recordsPerTopic, ledger.summary())
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

// readBack reads all topics to their ends and has them judged.
func (c *cluster) readBack(topics map[string]topicFacts, ledger *ledger) {
	c.t.Helper()
	asked := ledger.history.Now()
	ends := map[string]map[int32]int64{}
	c.eventually(30*time.Second, "end offsets", func() error {
		listed, err := admin(c.t, c.kafka...).ListEndOffsets(c.t.Context(), slices.Collect(maps.Keys(topics))...)
		if err == nil {
			err = listed.Error()
		}
		listed.Each(func(o kadm.ListedOffset) {
			if ends[o.Topic] == nil {
				ends[o.Topic] = map[int32]int64{}
			}
			ends[o.Topic][o.Partition] = o.Offset
		})
		return err
	})
	ledger.finalPolls(c.t, c.kafka, asked, ends)
	verdict := ledger.judge(c.t)
	if want := newTopics * recordsPerTopic; verdict.Acked != want || verdict.Seen != want {
		c.t.Errorf("%d records were acknowledged and %d of them read, want %d", verdict.Acked, verdict.Seen, want)
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
