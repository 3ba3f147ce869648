package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
)

// produceHints is the version from which on an answer may name the leader (KIP-951).
const produceHints = 10

// produceWait is a produce whose batches are appended (or refused) and whose acknowledgement is
// waited for. The reader fills it, the log's callbacks decide its partitions, the writer takes the
// answer. Each partition is decided once; what comes after the answer was taken changes nothing.
type produceWait struct {
	broker   *Broker
	request  *kmsg.ProduceRequest
	response *kmsg.ProduceResponse
	meters   []*topicMeter
	version  int16
	clientID string
	client   string
	listener string
	arrived  time.Time
	deadline time.Time
	// transaction is what the reader knows of the producer's transaction.
	transaction *produceTransaction
	// frameBytes is the length of the frame that the batches lie in.
	frameBytes int
	refusals   *refusals
	// refused are those that the answer tells of, nil if it tells of none. It is set before the answer is taken.
	refused *telling

	// all is closed when every partition is decided.
	all chan struct{}

	mu struct {
		sync.Mutex
		// undecided partitions, and one more until the reader has been through all of them.
		undecided int
		// taken: the answer was taken or nobody wants it.
		taken bool
		// waits are the appended partitions, with what cancels their wait.
		waits []produceCancel
	}
}

type produceCancel struct {
	at      place
	decided bool
	cancel  func()
}

func newProduceWait(b *Broker, r *request, q *kmsg.ProduceRequest) *produceWait {
	w := &produceWait{
		broker: b, request: q, version: r.Version, clientID: r.clientID(), client: r.client,
		listener: r.listener, arrived: r.arrived, frameBytes: r.frameBytes, refusals: r.refusals, all: make(chan struct{}),
		meters: make([]*topicMeter, len(q.Topics)),
	}
	w.deadline = r.arrived.Add(max(0, time.Duration(q.TimeoutMillis)*time.Millisecond))
	w.mu.undecided = 1
	w.response = kmsg.NewPtrProduceResponse()
	w.response.Topics = make([]kmsg.ProduceResponseTopic, len(q.Topics))
	for i := range q.Topics {
		asked, answered := &q.Topics[i], &w.response.Topics[i]
		answered.Default()
		answered.Topic, answered.TopicID = asked.Topic, asked.TopicID
		answered.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(asked.Partitions))
		for j := range asked.Partitions {
			p := &answered.Partitions[j]
			p.Default()
			p.Partition = asked.Partitions[j].Partition
			p.BaseOffset, p.LogAppendTime, p.LogStartOffset = -1, -1, -1
		}
	}
	return w
}

func (w *produceWait) at(at place) *kmsg.ProduceResponseTopicPartition {
	return &w.response.Topics[at.topic].Partitions[at.partition]
}

// fail answers a partition of which nothing was appended. Reader only, before begun. It returns the code.
func (w *produceWait) fail(topic, partition int, why code) code {
	w.at(place{topic, partition}).ErrorCode = int16(why)
	return why
}

// refuse is fail with a sentence for the client.
func (w *produceWait) refuse(at place, why code, message string) code {
	w.at(at).ErrorMessage = kmsg.StringPtr(message)
	return w.fail(at.topic, at.partition, why)
}

// name tells which records of a batch are refused, if that is why it is (KIP-467): to a client that knows it, the
// others have failed for being in the same batch.
func (w *produceWait) name(at place, err error) {
	var refused *batch.RefusedRecords
	if !errors.As(err, &refused) {
		return
	}
	p := w.at(at)
	p.ErrorRecords = make([]kmsg.ProduceResponseTopicPartitionErrorRecord, len(refused.Records))
	for i := range refused.Records {
		p.ErrorRecords[i].RelativeOffset = refused.Records[i].Index
		p.ErrorRecords[i].ErrorMessage = &refused.Records[i].Reason
	}
}

// appended notes the offset and starts to wait for the acknowledgement that was asked for.
func (w *produceWait) appended(at place, log *partition.Log, a partition.Appended) {
	p := w.at(at)
	p.BaseOffset, p.LogStartOffset = int64(a.Base), int64(a.LogStart)
	if w.request.Acks == 0 {
		return
	}
	await := log.AwaitCommit
	if w.request.Acks == 1 {
		await = log.AwaitDurable
	}
	w.mu.Lock()
	index := len(w.mu.waits)
	w.mu.waits = append(w.mu.waits, produceCancel{at: at})
	w.mu.undecided++
	w.mu.Unlock()

	cancel := await(a.Epoch, a.End, func(err error) { w.decide(index, err) })

	w.mu.Lock()
	w.mu.waits[index].cancel = cancel
	w.mu.Unlock()
}

// begun ends the reader's part.
func (w *produceWait) begun() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.countLocked()
}

// decide is the log's answer for one partition.
func (w *produceWait) decide(index int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := &w.mu.waits[index]
	if w.mu.taken || wait.decided {
		return
	}
	wait.decided = true
	if err != nil {
		w.refusals.add(w, wait.at)
	}
	w.settle(wait.at, codeAfter(err))
	w.countLocked()
}

// settle writes the outcome of an appended batch. An offset is told only with success: with any
// other code it might be somebody else's in the end.
func (w *produceWait) settle(at place, outcome code) {
	if outcome != codeNone {
		p := w.at(at)
		p.ErrorCode = int16(outcome)
		p.BaseOffset, p.LogStartOffset, p.LogAppendTime = -1, -1, -1
	}
}

func (w *produceWait) countLocked() {
	if w.mu.undecided--; w.mu.undecided == 0 {
		close(w.all)
	}
}

// decided reports whether await would return at once.
func (w *produceWait) decided() bool {
	select {
	case <-w.all:
		return true
	default:
		return false
	}
}

// await waits for the last partition, the client's timeout, or ctx, and takes the answer. timer is
// the writer's own.
func (w *produceWait) await(ctx context.Context, timer *time.Timer) *kmsg.ProduceResponse {
	if !w.decided() {
		timer.Reset(time.Until(w.deadline))
		select {
		case <-w.all:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	w.take()
	w.describe()
	return w.response
}

// told is what to call when the answer is written, nil for nothing. The answer was taken.
func (w *produceWait) told() func() {
	if w.refused == nil {
		return nil
	}
	all, by := w.refusals, w.refused
	return func() { all.told(by) }
}

// abandon cancels what is waited for; nobody wants the answer.
func (w *produceWait) abandon() { w.take() }

// take settles what is still open as timed out, and cancels its waits. From here on the response
// belongs to the caller.
func (w *produceWait) take() {
	w.mu.Lock()
	w.mu.taken = true
	var cancels []func()
	for _, wait := range w.mu.waits {
		if !wait.decided {
			w.refusals.add(w, wait.at) // it may yet be cut
			w.settle(wait.at, codeRequestTimedOut)
			cancels = append(cancels, wait.cancel)
		}
	}
	w.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
}

// firstError is the first failure of a produce that nobody waits for.
func (w *produceWait) firstError() code {
	w.describe()
	for _, t := range w.response.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return code(p.ErrorCode)
			}
		}
	}
	return codeNone
}

// describe counts failures and names leaders to clients that asked the wrong node.
func (w *produceWait) describe() {
	view := w.broker.cluster.View()
	found := hints{broker: w.broker, view: view, listener: w.listener}
	for i := range w.response.Topics {
		for j := range w.response.Topics[i].Partitions {
			p := &w.response.Topics[i].Partitions[j]
			if p.ErrorCode == 0 {
				continue
			}
			w.broker.meters.failure("Produce", code(p.ErrorCode))
			if w.meters[i] != nil {
				w.meters[i].failedProduces.Inc()
			}
			if code(p.ErrorCode) == codeNotLeaderOrFollower && w.version >= produceHints {
				w.hint(&found, place{i, j})
			}
		}
	}
	found.each(func(id int32, host string, port int32, rack *string) {
		n := kmsg.NewProduceResponseBroker()
		n.NodeID, n.Host, n.Port, n.Rack = id, host, port, rack
		w.response.Brokers = append(w.response.Brokers, n)
	})
}

func (w *produceWait) hint(found *hints, at place) {
	asked := &w.request.Topics[at.topic]
	t, _ := topicOf(found.view, asked.Topic, asked.TopicID, w.version >= produceByID)
	to := w.broker.resolve(t, asked.Partitions[at.partition].Partition)
	if hint, ok := found.leader(to.placement); ok {
		p := w.at(at)
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = int32(hint.node), int32(hint.epoch)
	}
}
