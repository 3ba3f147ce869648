package broker

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/wal"
)

const (
	// produceServed is the lowest version that is served. Those below are advertised since old
	// versions of librdkafka do not compress unless they are.
	produceServed = 3
	produceZstd   = 7
	produceByID   = 13
	// keptShare bounds what the log keeps in memory beside its batches. A batch is a slice of its
	// frame and keeps all of it; one that is a smaller part of the frame than this is copied.
	keptShare = 8
)

// produce judges and appends all batches of the request, and returns what to wait for. It runs on
// the connection's reader and is what keeps a client's records in order.
func (b *Broker) produce(ctx context.Context, r *request, q *kmsg.ProduceRequest) *produceWait {
	turn := appendTurn{parent: ctx, most: b.appendWait(q), low: b.config.LogDir.low()}
	defer turn.end()
	view := b.cluster.View()
	w := newProduceWait(b, r, q)
	w.transaction = b.enterTransaction(ctx, r, q, view)
	defer w.transaction.leave()
	for i := range q.Topics {
		asked := &q.Topics[i]
		t, unknown := topicOf(view, asked.Topic, asked.TopicID, r.Version >= produceByID)
		if t != nil {
			w.meters[i] = b.meters.topic(t.Name)
			w.meters[i].produces.Inc()
		}
		if t != nil && t.Internal {
			unknown = codeInvalidTopic // only coordinators write there
		}
		settings := b.settingsOf(view, t)
		for j := range asked.Partitions {
			p := &asked.Partitions[j]
			if refused := judgeProduce(r.Version, q); refused != codeNone {
				w.fail(i, j, refused)
				continue
			}
			refused := unknown
			if unknown != codeNone {
				w.fail(i, j, unknown)
			} else {
				refused = b.append(&turn, w, place{i, j}, b.resolve(t, p.Partition), settings)
			}
			if comesAgain(refused) {
				r.refusals.add(w, place{i, j})
			}
		}
	}
	w.begun()
	return w
}

// appendWait is how long the batches of a request may wait for room, all together.
func (b *Broker) appendWait(q *kmsg.ProduceRequest) time.Duration {
	asked := time.Duration(max(0, q.TimeoutMillis)) * time.Millisecond
	if q.Acks == 0 {
		return b.config.Requests.AppendWait
	}
	return min(asked, b.config.Requests.AppendWait)
}

// appendTurn is the time that the batches of one request may wait for room. Most never wait, and for
// those there is no timer.
type appendTurn struct {
	parent context.Context
	most   time.Duration
	ctx    context.Context
	cancel context.CancelFunc
	// low is why nothing is taken: the disk lacks space.
	low string
}

// never has ended: who appends with it tries, and does not wait.
var never = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (t *appendTurn) append(log *partition.Log, records []byte, o partition.AppendOptions) (partition.Appended, error) {
	if t.ctx == nil {
		appended, err := log.Append(never, records, o)
		if !errors.Is(err, wal.ErrFull) {
			return appended, err
		}
		t.ctx, t.cancel = context.WithTimeout(t.parent, t.most)
	}
	return log.Append(t.ctx, records, o)
}

func (t *appendTurn) end() {
	if t.cancel != nil {
		t.cancel()
	}
}

// judgeProduce refuses what no partition of the request can be served for.
func judgeProduce(version int16, q *kmsg.ProduceRequest) code {
	switch {
	case version < produceServed:
		return codeUnsupportedVersion
	case q.Acks != -1 && q.Acks != 0 && q.Acks != 1:
		return codeInvalidRequiredAcks
	case q.TransactionID != nil && q.Acks != partition.AcksAll:
		return codeInvalidRequiredAcks // a transaction of what may be lost is none
	default:
		return codeNone
	}
}

// place is a partition's position in the request, and so in the answer.
type place struct{ topic, partition int }

// append judges one batch and appends it, or tells why it is refused.
func (b *Broker) append(turn *appendTurn, w *produceWait, at place, to target, s *topicSettings) code {
	if to.code != codeNone {
		return w.fail(at.topic, at.partition, to.code)
	}
	if turn.low != "" {
		// NOT_ENOUGH_REPLICAS is what all clients take for "not persisted, try again". After
		// KAFKA_STORAGE_ERROR they look for another leader, and there is none: this one is well. What the
		// coordinators write, by which groups go on, does not come this way.
		return w.refuse(at, codeNotEnoughReplicas, turn.low)
	}
	asked := &w.request.Topics[at.topic]
	p := &asked.Partitions[at.partition]
	records := p.Records
	header, err := s.judge(records, w.arrived, w.version >= produceZstd)
	if err != nil {
		b.offenders.report(offence{
			Address: w.client, Reason: reasonBatch, ClientID: w.clientID, API: "Produce",
			Version: w.version, Err: err,
		})
		w.name(at, err)
		return w.refuse(at, codeBefore(err), err.Error())
	}
	guard, refused := w.transaction.of(at, w.version)
	switch {
	case header.Transactional() && w.request.TransactionID == nil:
		return w.fail(at.topic, at.partition, codeInvalidTxnState)
	case header.Transactional() && header.ProducerID >= 0 && !w.transaction.knows(at):
		return w.fail(at.topic, at.partition, codeNotLeaderOrFollower) // it was not, or it would have asked
	case refused != codeNone:
		return w.fail(at.topic, at.partition, refused)
	}
	records, appendTime, err := s.shape(records, header, w.arrived)
	if err != nil {
		return w.refuse(at, codeBefore(err), "the batch is too large once it is compressed as the topic asks")
	}
	if len(records)*keptShare < w.frameBytes {
		records = bytes.Clone(records)
	}
	continues := w.refusals.before(asked, p, header)
	appended, err := turn.append(to.log, records, partition.AppendOptions{Acks: w.request.Acks, Guard: guard, Continues: continues})
	switch {
	case continues && errors.Is(err, partition.ErrOutOfOrderSequence):
		return w.fail(at.topic, at.partition, codeNotLeaderOrFollower)
	case err != nil:
		return w.fail(at.topic, at.partition, b.judge("Produce", err))
	}
	w.refusals.taken(asked, p, header)
	if !appended.Duplicate {
		w.meters[at.topic].appended(int64(header.Records), int64(len(records)))
	}
	if appendTime >= 0 {
		w.at(at).LogAppendTime = appended.Timestamp
	}
	w.appended(at, to.log, appended)
	return codeNone
}
