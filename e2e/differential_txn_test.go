package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
)

// producing is who a producer is. Ids differ from cluster to cluster, so answers name them by comparison.
type producing struct {
	transaction string
	id          int64
	epoch       int16
}

// asks makes one request to a broker, again while a transaction is still being ended, ids are fetched, or a
// topic is new.
func (d *dialogue) asks(to *kgo.Broker, step string, q kmsg.Request, show func(kmsg.Response) string) {
	d.Helper()
	said := ""
	eventually(d, coordinatorWithin, step, func() error {
		r, err := to.Request(d.ctx, q)
		if err != nil {
			d.Fatalf("%s: %v", step, err)
		}
		said = show(r)
		for _, soon := range []*kerr.Error{kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress, kerr.NotLeaderForPartition} {
			if strings.HasPrefix(said, soon.Message) {
				return soon
			}
		}
		return nil
	})
	d.said = append(d.said, exchanged{step, said})
}

// transactions: the life of producers with transactional ids, by the protocol of KIP-890 and the one before,
// and what is refused of it.
func (d *dialogue) transactions() {
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorType, find.CoordinatorKeys = 1, []string{"diff-tx"}
	eventually(d, coordinatorWithin, "a coordinator of transactions", func() error {
		r, err := d.broker.Request(d.ctx, find)
		if err != nil {
			return err
		}
		return codeError(r.(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode)
	})
	eventually(d, coordinatorWithin, "a loaded coordinator of transactions", func() error {
		for _, id := range []string{"diff-tx-1", "diff-tx-2", "diff-tx-3", "diff-tx-4"} {
			q := kmsg.NewPtrAddOffsetsToTxnRequest()
			q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Group = id, 1, 1, "diff-g"
			r, err := d.broker.Request(d.ctx, q)
			if err != nil {
				return err
			}
			code := codeError(r.(*kmsg.AddOffsetsToTxnResponse).ErrorCode)
			if errors.Is(code, kerr.NotCoordinator) || errors.Is(code, kerr.CoordinatorLoadInProgress) {
				return code
			}
		}
		return nil
	})
	d.initRefused()
	for _, protocol := range []struct {
		name   string
		broker *kgo.Broker
	}{{"old", d.old}, {"new", d.broker}} {
		l := &life{dialogue: d, broker: protocol.broker, name: protocol.name}
		l.self = producing{"diff-tx-" + protocol.name, -1, -1}
		l.live()
	}
	d.markers()
	d.txnAdmin()
}

// initRefused: what becomes of the first request of a producer if it is not as it should be.
func (d *dialogue) initRefused() {
	name := func(s string) *string { return &s }
	for _, s := range []struct {
		step string
		q    kmsg.InitProducerIDRequest
	}{
		{"init without a transaction", kmsg.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1}},
		{"init without a transaction, with an id", kmsg.InitProducerIDRequest{ProducerID: 77, ProducerEpoch: 3}},
		{"init of the empty id", kmsg.InitProducerIDRequest{TransactionalID: name(""), TransactionTimeoutMillis: 1000, ProducerID: -1, ProducerEpoch: -1}},
		{"init without time", kmsg.InitProducerIDRequest{TransactionalID: name("diff-tx-i"), ProducerID: -1, ProducerEpoch: -1}},
		{"init with negative time", kmsg.InitProducerIDRequest{TransactionalID: name("diff-tx-i"), TransactionTimeoutMillis: -1, ProducerID: -1, ProducerEpoch: -1}},
		{"init with too much time", kmsg.InitProducerIDRequest{TransactionalID: name("diff-tx-i"), TransactionTimeoutMillis: 900_001, ProducerID: -1, ProducerEpoch: -1}},
		{"init with an id without an epoch", kmsg.InitProducerIDRequest{TransactionalID: name("diff-tx-i"), TransactionTimeoutMillis: 1000, ProducerID: 5, ProducerEpoch: -1}},
		{"init with an epoch without an id", kmsg.InitProducerIDRequest{TransactionalID: name("diff-tx-i"), TransactionTimeoutMillis: 1000, ProducerID: -1, ProducerEpoch: 5}},
		{"init with an id nobody gave", kmsg.InitProducerIDRequest{TransactionalID: name("diff-tx-j"), TransactionTimeoutMillis: 1000, ProducerID: 5, ProducerEpoch: 5}},
	} {
		d.asks(d.broker, s.step, &s.q, func(r kmsg.Response) string {
			i := r.(*kmsg.InitProducerIDResponse)
			return fmt.Sprint(codeName(i.ErrorCode), " id ", i.ProducerID >= 0, " epoch ", i.ProducerEpoch)
		})
	}
}

// life is one transactional id by one protocol.
type life struct {
	*dialogue
	broker *kgo.Broker
	name   string
	self   producing
	// group is whose offsets are committed.
	group string
}

func (l *life) step(text string) string { return "txn " + l.name + ": " + text }

func (l *life) live() {
	l.group = "diff-txg-" + l.name
	l.end("commit before it exists", producing{"diff-tx-none", 1, 0}, true)
	l.init("init", producing{l.self.transaction, -1, -1})
	l.init("init again", producing{l.self.transaction, -1, -1})
	l.init("init to go on", l.self)
	old, other, future := l.self, l.self, l.self
	old.epoch, other.id, future.epoch = 0, l.self.id+10, l.self.epoch+5
	l.init("init to go on from an old epoch", old)
	l.init("init to go on from an epoch to come", future)
	l.init("init to go on with the id of another", other)
	l.end("commit nothing", l.self, true)
	l.end("abort nothing", l.self, false)
	old, other, future = l.self, l.self, l.self
	old.epoch, other.id, future.epoch = 0, l.self.id+10, l.self.epoch+5
	l.produce("produce before anything was added", l.self, 0, 0)
	l.end("abort what may have begun", l.self, false)
	l.begin(old, other, future)
	l.refused(old, other, future)
	l.offsets()
	l.shown("in a transaction")
	l.end("commit under an old epoch", old, true)
	l.end("commit with the id of another", other, true)
	l.end("commit under an epoch to come", future, true)
	last := l.self
	l.end("commit", l.self, true)
	l.end("commit again", last, true)
	l.end("abort what was committed", last, false)
	l.shown("after the commit")
	l.offsetsNow("after the commit")
	l.addPartitions("add partitions to the second", l.self, "diff-b", 1, 2)
	l.produce("produce in the second", l.self, 1, 0)
	l.shown("in the second transaction")
	last = l.self
	l.end("abort", l.self, false)
	l.end("abort again", last, false)
	l.end("commit what was aborted", last, true)
	l.shown("after the abort")
	l.fenced()
}

// begin adds and produces; sequence numbers that do not follow are refused.
func (l *life) begin(old, other, future producing) {
	l.addPartitions("add an unknown partition", l.self, "diff-b", 0, 99)
	l.addPartitions("add a strange topic", l.self, "diff-z", 0)
	l.addPartitions("add under an old epoch", old, "diff-b", 0)
	l.addPartitions("add under an epoch to come", future, "diff-b", 0)
	l.addPartitions("add with the id of another", other, "diff-b", 0)
	l.addPartitions("add to what nobody began", producing{"diff-tx-none", 1, 0}, "diff-b", 0)
	l.addPartitions("add to the empty id", producing{"", 1, 0}, "diff-b", 0)
	l.addPartitions("add a partition", l.self, "diff-b", 1)
	l.addPartitions("add it again", l.self, "diff-b", 1)
	l.produce("produce", l.self, 1, 0)
	l.produce("produce a duplicate", l.self, 1, 0)
	l.produce("produce the next", l.self, 1, 1)
	l.produce("produce with a gap", l.self, 1, 7)
	l.produce("produce to a partition that was not added", l.self, 2, 0)
	l.produce("produce under an old epoch", old, 1, 2)
	l.produce("produce under an epoch to come", future, 1, 0)
	l.produce("produce with the id of another", other, 1, 0)
	l.produce("produce in no transaction", producing{"", l.self.id, l.self.epoch}, 1, 2)
}

func (l *life) refused(old, other, future producing) {
	for _, s := range []struct {
		step  string
		p     producing
		group string
	}{
		{"add offsets under an old epoch", old, l.group}, {"add offsets with the id of another", other, l.group},
		{"add offsets under an epoch to come", future, l.group}, {"add offsets of no group", l.self, ""},
		{"add offsets", l.self, l.group},
	} {
		q := kmsg.NewPtrAddOffsetsToTxnRequest()
		q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Group = s.p.transaction, s.p.id, s.p.epoch, s.group
		l.asks(l.broker, l.step(s.step), q, func(r kmsg.Response) string {
			return codeName(r.(*kmsg.AddOffsetsToTxnResponse).ErrorCode)
		})
	}
	l.commitOffset("commit offsets under an old epoch", old, "diff-a", 0, "", -1)
	l.commitOffset("commit offsets under an epoch to come", future, "diff-a", 0, "", -1)
	l.commitOffset("commit offsets with the id of another", other, "diff-a", 0, "", -1)
	l.commitOffset("commit offsets of a strange topic", l.self, "diff-z", 0, "", -1)
	l.commitOffset("commit offsets of an unknown partition", l.self, "diff-a", 99, "", -1)
	l.commitOffset("commit offsets as a stranger", l.self, "diff-a", 0, "stranger", 3)
	l.commitOffset("commit offsets of a generation", l.self, "diff-a", 0, "", 3)
}

func (l *life) offsets() {
	l.commitOffset("commit offsets", l.self, "diff-a", 0, "", -1)
	l.offsetsNow("in a transaction")
}

// fenced begins a transaction, and another takes the id over.
func (l *life) fenced() {
	l.addPartitions("add partitions to the third", l.self, "diff-b", 2)
	l.produce("produce in the third", l.self, 2, 0)
	former := l.self
	l.init("init in a transaction", producing{l.self.transaction, -1, -1})
	l.produce("produce when fenced", former, 2, 1)
	l.addPartitions("add when fenced", former, "diff-b", 2)
	l.commitOffset("commit offsets when fenced", former, "diff-a", 0, "", -1)
	l.end("commit when fenced", former, true)
	l.end("abort when fenced", former, false)
	l.init("init when fenced", former)
	l.shown("after the fencing")
}

// init notes the identity, and says how it differs from the last.
func (l *life) init(step string, as producing) {
	q := kmsg.NewPtrInitProducerIDRequest()
	q.TransactionalID, q.TransactionTimeoutMillis = &as.transaction, 60_000
	q.ProducerID, q.ProducerEpoch = as.id, as.epoch
	l.asks(l.broker, l.step(step), q, func(r kmsg.Response) string {
		i := r.(*kmsg.InitProducerIDResponse)
		said := codeName(i.ErrorCode)
		if i.ErrorCode != 0 {
			return said
		}
		said += l.identity(i.ProducerID, i.ProducerEpoch)
		return said
	})
}

// identity takes over what the coordinator has told.
func (l *life) identity(id int64, epoch int16) string {
	said := fmt.Sprintf(" epoch %d", epoch)
	if l.self.id >= 0 {
		said += fmt.Sprint(" same id ", id == l.self.id)
	}
	l.self.id, l.self.epoch = id, epoch
	return said
}

func (l *life) end(step string, as producing, commit bool) {
	q := kmsg.NewPtrEndTxnRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = as.transaction, as.id, as.epoch, commit
	l.asks(l.broker, l.step(step), q, func(r kmsg.Response) string {
		e := r.(*kmsg.EndTxnResponse)
		said := codeName(e.ErrorCode)
		if e.ErrorCode == 0 && e.Version >= 5 {
			said += l.identity(e.ProducerID, e.ProducerEpoch)
		}
		return said
	})
}

// addPartitions asks as a client of old does, and as a broker does.
func (l *life) addPartitions(step string, as producing, topic string, partitions ...int32) {
	q := kmsg.NewPtrAddPartitionsToTxnRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch = as.transaction, as.id, as.epoch
	q.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: partitions}}
	one := kmsg.NewAddPartitionsToTxnRequestTransaction()
	one.TransactionalID, one.ProducerID, one.ProducerEpoch = as.transaction, as.id, as.epoch
	one.Topics = []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: topic, Partitions: partitions}}
	q.Transactions = append(q.Transactions, one)
	l.asks(l.broker, l.step(step), q, func(r kmsg.Response) string {
		a := r.(*kmsg.AddPartitionsToTxnResponse)
		var codes []string
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, codeName(p.ErrorCode))
			}
		}
		for _, x := range a.Transactions {
			for _, t := range x.Topics {
				for _, p := range t.Partitions {
					codes = append(codes, codeName(p.ErrorCode))
				}
			}
		}
		slices.Sort(codes) // Kafka answers in no order
		return strings.Join(codes, " ")
	})
}

// produce sends one record to diff-b.
func (l *life) produce(step string, as producing, partition, sequence int32) {
	b := batch.NewBuilder(0)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = as.id, as.epoch, sequence, as.transaction != ""
	b.Add(batch.Record{Timestamp: time.Now().UnixMilli(), Value: []byte("v")})
	raw, err := b.Build()
	if err != nil {
		l.Fatal(err)
	}
	q := l.producing("diff-b", partition, raw)
	if as.transaction != "" {
		q.TransactionID = &as.transaction
	}
	l.asks(l.broker, l.step(step), q, showProduced)
}

// producing is a request to append a batch.
func (d *dialogue) producing(topic string, partition int32, raw []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis = -1, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, d.topicID(topic)
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, raw
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

func showProduced(r kmsg.Response) string {
	topics := r.(*kmsg.ProduceResponse).Topics
	if len(topics) == 0 || len(topics[0].Partitions) == 0 {
		return "about no partition"
	}
	p := topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return codeName(p.ErrorCode)
	}
	return fmt.Sprintf("%s at %d from %d", codeName(p.ErrorCode), p.BaseOffset, p.LogStartOffset)
}

func (l *life) commitOffset(step string, as producing, topic string, partition int32, member string, generation int32) {
	q := kmsg.NewPtrTxnOffsetCommitRequest()
	q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Group = as.transaction, as.id, as.epoch, l.group
	q.MemberID, q.Generation = member, generation
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic, t.TopicID = topic, l.topicID(topic)
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, 42
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	l.asks(l.broker, l.step(step), q, func(r kmsg.Response) string {
		topics := r.(*kmsg.TxnOffsetCommitResponse).Topics
		if len(topics) == 0 || len(topics[0].Partitions) == 0 {
			return "about no partition"
		}
		return codeName(topics[0].Partitions[0].ErrorCode)
	})
}

// offsetsNow asks for what is committed, and for what is decided.
func (l *life) offsetsNow(when string) {
	for _, stable := range []bool{false, true} {
		q := kmsg.NewPtrOffsetFetchRequest()
		q.RequireStable = stable
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.MemberEpoch = l.group, -1
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.TopicID, t.Partitions = "diff-a", l.topicID("diff-a"), []int32{0, 1}
		g.Topics = append(g.Topics, t)
		q.Groups = append(q.Groups, g)
		l.settled(l.step(fmt.Sprint("offsets, stable ", stable, ", ", when)), l.dialogue.broker, q, stable && when != "in a transaction")
	}
}

// settled notes the offsets of a group. Where they are decided soon, it waits until they are.
func (d *dialogue) settled(step string, to *kgo.Broker, q *kmsg.OffsetFetchRequest, decided bool) {
	said := ""
	eventually(d, coordinatorWithin, step, func() error {
		r, err := to.Request(d.ctx, q)
		if err != nil {
			d.Fatalf("%s: %v", step, err)
		}
		answer := r.(*kmsg.OffsetFetchResponse).Groups[0]
		said = codeName(answer.ErrorCode)
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				said += fmt.Sprintf(" %d:%s:%d", p.Partition, codeName(p.ErrorCode), p.Offset)
				if decided && p.ErrorCode == kerr.UnstableOffsetCommit.Code {
					return kerr.UnstableOffsetCommit
				}
			}
		}
		return nil
	})
	d.said = append(d.said, exchanged{step, said})
}
