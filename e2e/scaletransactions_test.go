package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
)

const (
	scaleIDs = 10_000
	// scaleHands work on the ids at once, each with a connection to each broker.
	scaleHands          = 300
	scaleTxnPartitions  = 10
	scaleTxnTimeout     = 2 * time.Minute
	scaleTxnVictim      = 2
	scaleTxnRecordBytes = 100
)

// transactor is one transactional id, as a producer of KIP-890 knows it.
type transactor struct {
	name     string
	at       *seat
	id       int64
	epoch    int16
	sequence int32
	// partition is where it writes, and leader who leads that.
	partition int32
	leader    *seat
}

// transactors are all of them, and the hands that work for them.
type transactors struct {
	scaled
	all     []*transactor
	callers []*caller
}

func newTransactors(t *testing.T) *transactors {
	t.Helper()
	needScale(t)
	s := &transactors{scaled: scaled{fleet: newFleet(t, 3, "http.debug.profiles=true", "min.insync.replicas=2")}}
	s.step("start", s.startAll)
	s.connects()
	s.createTopic(0, "t", scaleTxnPartitions, 3)
	for i := range scaleIDs {
		name := fmt.Sprintf("tx-%d", i)
		partition := int32(i % scaleTxnPartitions)
		s.all = append(s.all, &transactor{name: name, at: coordinatorOf(s.client, 1, name), partition: partition,
			leader: leaderOfPartition(s.client, "t", partition)})
	}
	s.step("coordinators are there", func() {
		s.eventually(readyWithin, "a coordinator", func() error {
			_, err := s.all[0].at.address(within(t, scaleWithin))
			return err
		})
	})
	for range scaleHands {
		s.callers = append(s.callers, &caller{})
	}
	t.Cleanup(func() {
		for _, c := range s.callers {
			c.close()
		}
	})
	return s
}

// everyone does something, as many at once as there are hands; how long it took each is logged.
func (s *transactors) everyone(what string, do func(ctx context.Context, c *caller, x *transactor) error) {
	s.t.Helper()
	took := make([]time.Duration, len(s.all))
	s.step(what, func() {
		ctx, cancel := context.WithTimeout(context.Background(), scaleWithin)
		defer cancel()
		var all sync.WaitGroup
		next := make(chan int)
		for _, c := range s.callers {
			all.Go(func() {
				for i := range next {
					began := time.Now()
					if err := do(ctx, c, s.all[i]); err != nil {
						s.t.Errorf("%s: %s: %v", what, s.all[i].name, err)
					}
					took[i] = time.Since(began)
				}
			})
		}
		for i := range s.all {
			next <- i
		}
		close(next)
		all.Wait()
	})
	if s.tell(took); s.t.Failed() {
		s.t.FailNow()
	}
}

func (s *transactors) init(ctx context.Context, c *caller, x *transactor) error {
	q := kmsg.NewPtrInitProducerIDRequest()
	q.Version, q.TransactionalID, q.TransactionTimeoutMillis = 5, &x.name, int32(scaleTxnTimeout/time.Millisecond)
	r, err := c.call(ctx, x.at, q)
	if err == nil {
		given := r.(*kmsg.InitProducerIDResponse)
		x.id, x.epoch = given.ProducerID, given.ProducerEpoch
	}
	return err
}

// produce writes one record in a transaction, which the partition's leader adds to it (KIP-890).
func (s *transactors) produce(ctx context.Context, c *caller, x *transactor) error {
	b := batch.NewBuilder(batch.CodecNone)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = x.id, x.epoch, x.sequence, true
	b.Add(batch.Record{Timestamp: time.Now().UnixMilli(), Key: []byte(x.name), Value: make([]byte, scaleTxnRecordBytes)})
	records, err := b.Build()
	if err != nil {
		return err
	}
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.TransactionID, q.Acks, q.TimeoutMillis = 12, &x.name, -1, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = x.partition, records
	q.Topics = []kmsg.ProduceRequestTopic{{Topic: "t", Partitions: []kmsg.ProduceRequestTopicPartition{p}}}
	_, err = c.call(ctx, x.leader, q)
	x.sequence++
	return err
}

// commit ends the transaction; the answer gives the epoch of the next one, in which sequences begin anew.
func (s *transactors) commit(ctx context.Context, c *caller, x *transactor) error {
	q := kmsg.NewPtrEndTxnRequest()
	q.Version, q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = 5, x.name, x.id, x.epoch, true
	r, err := c.call(ctx, x.at, q)
	if err == nil {
		given := r.(*kmsg.EndTxnResponse)
		x.id, x.epoch, x.sequence = given.ProducerID, given.ProducerEpoch, 0
	}
	return err
}

// read counts the committed records of each id, up to the ends of what is decided.
func (s *transactors) read() (map[string]int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scaleWithin)
	defer cancel()
	ends, err := s.admin.ListEndOffsets(ctx, "t")
	if err != nil {
		return nil, err
	}
	stable, err := s.admin.ListCommittedOffsets(ctx, "t")
	if err != nil {
		return nil, err
	}
	left := map[int32]int64{}
	for p := range int32(scaleTxnPartitions) {
		end, _ := ends.Lookup("t", p)
		decided, _ := stable.Lookup("t", p)
		if end.Err != nil || decided.Err != nil || end.Offset != decided.Offset {
			return nil, fmt.Errorf("partition %d: ends at %d (%w), and is decided up to %d (%w)", p, end.Offset, end.Err, decided.Offset, decided.Err)
		}
		left[p] = end.Offset
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	counts := map[string]int{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("read with %d partitions left: %w", len(left), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				counts[string(r.Key)]++
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return counts, nil
}

// TestTenThousandTransactionalIDsOverSockets all have a transaction open when a broker, which coordinates a third of
// them and leads a third of what they write to, is killed with -9; all commit, and once more with the broker
// back. Each record of each id is read once.
func TestTenThousandTransactionalIDsOverSockets(t *testing.T) {
	s := newTransactors(t)
	s.everyone("init", s.init)
	s.everyone("produce", s.produce)
	s.kill(scaleTxnVictim)
	s.everyone("kill -9 of one: commit answered", s.commit)
	s.everyone("next transaction: produce", s.produce)
	s.step("it serves again", func() {
		s.start(scaleTxnVictim)
		s.serves(scaleTxnVictim)
	})
	s.everyone("commit when it is back", s.commit)
	var counts map[string]int
	s.step("all decided and read", func() {
		s.eventually(scaleWithin, "everything is decided and read", func() (err error) {
			counts, err = s.read()
			return err
		})
	})
	for _, x := range s.all {
		if counts[x.name] != 2 {
			t.Errorf("%s: got %d committed records, want 2", x.name, counts[x.name])
		}
	}
}
