package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/txn"
)

const (
	// produceAdds is the version from which on a produce makes its partitions part of the transaction
	// (KIP-890); older clients do that first, which is verified.
	produceAdds = 12
	// joinVersion is the version in which brokers ask a coordinator; it names TRANSACTION_ABORTABLE.
	joinVersion = 5
	// joinWait bounds what a request waits for the coordinator, joinPause is the first pause before it asks
	// again while the transaction before is being ended; it doubles up to joinPauseMax.
	joinWait     = 3 * time.Second
	joinPause    = 5 * time.Millisecond
	joinPauseMax = 80 * time.Millisecond
)

// member is a producer in its transaction, and what it wants of the coordinator.
type member struct {
	transactionalID string
	producerID      int64
	epoch           int16
	// verify: the client has made the partitions part of the transaction itself.
	verify bool
}

// seat is a partition that a producer wants to write to in its transaction.
type seat struct {
	log       *partition.Log
	partition txn.Partition
	// guard is to be taken back, whatever the code is.
	guard partition.Guard
	code  code
}

// leave takes the guards of seats back.
func leave(seats []*seat) {
	for _, s := range seats {
		s.log.DropGuard(s.guard)
		s.guard = partition.Guard{}
	}
}

// joinTransaction asks the coordinator whether partitions are part of the producer's transaction, or has it
// make them part of it, unless that is so already. It waits while the producer's last transaction is being
// ended, which is soon. An answer that comes late says nothing any more if a marker has come before the
// batch: then the guard is broken, and the coordinator is asked again. So is the guard that was taken
// before the last transaction's marker came, although the answer to that one is true.
func (b *Broker) joinTransaction(ctx context.Context, who member, seats []*seat) {
	ctx, cancel := context.WithTimeout(ctx, joinWait)
	defer cancel()
	for pause := joinPause; ; pause = min(2*pause, joinPauseMax) {
		var outside []*seat
		for _, s := range seats {
			var open bool
			s.code = codeNone
			if s.guard, open = s.log.GuardTransaction(who.producerID, who.epoch); !open {
				outside = append(outside, s)
			}
		}
		if !b.askCoordinator(ctx, who, outside) {
			return
		}
		select {
		case <-time.After(pause):
			leave(seats)
		case <-ctx.Done():
			return
		}
	}
}

// askCoordinator asks for all seats at once, and reports whether to ask again.
func (b *Broker) askCoordinator(ctx context.Context, who member, seats []*seat) (again bool) {
	if len(seats) == 0 {
		return false
	}
	told := b.askForPartitions(ctx, who, seats)
	for _, s := range seats {
		var ok bool
		if s.code, ok = told[s.partition]; !ok {
			s.code = codeCoordinatorNotAvailable
		}
		if s.code == codeNone && !s.log.Guarded(s.guard) {
			s.code = codeConcurrentTransactions
		}
		again = again || s.code == codeConcurrentTransactions
	}
	return again
}

// askForPartitions returns what the coordinator answers for each partition, nothing if it does not.
func (b *Broker) askForPartitions(ctx context.Context, who member, seats []*seat) map[txn.Partition]code {
	node := b.transactionLeader(b.cluster.View(), who.transactionalID)
	if node == topic.NoNode {
		return nil
	}
	response, err := b.askNode(ctx, node, joinRequest(who, seats))
	if err != nil {
		b.judge("AddPartitionsToTxn", err)
		return nil
	}
	answered := response.(*kmsg.AddPartitionsToTxnResponse)
	if answered.ErrorCode != 0 || len(answered.Transactions) != 1 {
		return nil
	}
	told := map[txn.Partition]code{}
	for _, t := range answered.Transactions[0].Topics {
		for _, p := range t.Partitions {
			told[txn.Partition{Topic: t.Topic, Index: p.Partition}] = code(p.ErrorCode)
		}
	}
	return told
}

// transactionLeader is who coordinates a transactional id, topic.NoNode if nobody does.
func (b *Broker) transactionLeader(view View, id string) topic.NodeID {
	t, ok := view.TopicByName(transactionsTopic)
	if !ok {
		return topic.NoNode
	}
	return t.Partitions[groupPartition(id, len(t.Partitions))].Leader
}

func joinRequest(who member, seats []*seat) *kmsg.AddPartitionsToTxnRequest {
	q := kmsg.NewPtrAddPartitionsToTxnRequest()
	q.Version = joinVersion
	one := kmsg.NewAddPartitionsToTxnRequestTransaction()
	one.TransactionalID, one.ProducerID, one.ProducerEpoch = who.transactionalID, who.producerID, who.epoch
	one.VerifyOnly = who.verify
	at := map[string]int{}
	for _, s := range seats {
		p := s.partition
		i, ok := at[p.Topic]
		if !ok {
			i = len(one.Topics)
			at[p.Topic] = i
			one.Topics = append(one.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: p.Topic})
		}
		one.Topics[i].Partitions = append(one.Topics[i].Partitions, p.Index)
	}
	q.Transactions = append(q.Transactions, one)
	return q
}

// produceTransaction is what the partitions of one produce may do in its transaction.
type produceTransaction struct {
	seats map[place]*seat
	all   []*seat
}

// enterTransaction asks the coordinator about the partitions of a produce in which the transaction is not
// open yet. It runs on the connection's reader, as the appends do, so that the order of batches stays; the
// first batch of a transaction in a partition therefore holds up those behind it for one question.
func (b *Broker) enterTransaction(ctx context.Context, r *request, q *kmsg.ProduceRequest, view View) *produceTransaction {
	if q.TransactionID == nil {
		return nil
	}
	p := &produceTransaction{seats: map[place]*seat{}}
	who := member{transactionalID: *q.TransactionID, verify: r.Version < produceAdds}
	for i := range q.Topics {
		t, unknown := topicOf(view, q.Topics[i].Topic, q.Topics[i].TopicID, r.Version >= produceByID)
		if unknown != codeNone || t.Internal {
			continue // refused below
		}
		for j := range q.Topics[i].Partitions {
			one := &q.Topics[i].Partitions[j]
			to := b.resolve(t, one.Partition)
			h, err := batch.ParseHeader(one.Records)
			if err != nil || to.code != codeNone || !h.Transactional() || h.ProducerID < 0 || !to.log.State().Role.Leading {
				continue // refused below, or not part of the transaction
			}
			s := &seat{log: to.log, partition: txn.Partition{Topic: t.Name, Index: one.Partition}}
			p.seats[place{i, j}] = s
			if len(p.all) > 0 && (who.producerID != h.ProducerID || who.epoch != h.ProducerEpoch) {
				s.code = codeInvalidTxnState // one producer a request
				continue
			}
			who.producerID, who.epoch = h.ProducerID, h.ProducerEpoch
			p.all = append(p.all, s)
		}
	}
	b.joinTransaction(ctx, who, p.all)
	return p
}

// produceCode is what a producer hears of a coordinator's refusal. Older ones know few codes.
func produceCode(why code, version int16) code {
	switch why {
	case codeProducerFenced:
		return codeInvalidProducerEpoch
	case codeCoordinatorNotAvailable, codeNotCoordinator, codeCoordinatorLoading, codeRequestTimedOut:
		return codeNotEnoughReplicas
	case codeConcurrentTransactions:
		if version < produceAdds {
			return codeNotEnoughReplicas
		}
	case codeTransactionAbortable:
		if version < produceAdds-1 {
			return codeInvalidTxnState
		}
	}
	return why
}

// of is what one partition may do.
func (p *produceTransaction) of(at place, version int16) (partition.Guard, code) {
	if p == nil || p.seats[at] == nil {
		return partition.Guard{}, codeNone
	}
	return p.seats[at].guard, produceCode(p.seats[at].code, version)
}

// knows reports whether the coordinator was asked for a partition.
func (p *produceTransaction) knows(at place) bool { return p != nil && p.seats[at] != nil }

// leave takes the guards back.
func (p *produceTransaction) leave() {
	if p != nil {
		leave(p.all)
	}
}
