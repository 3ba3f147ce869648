package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/txn"
)

// producerIDs hands out the producer ids of the block that this broker holds. Ids of a block that
// was not used up before a crash are lost, never given again.
type producerIDs struct {
	// turn is held by whoever touches next and left, which may wait for a new block.
	turn chan struct{}
	next int64
	left int32
}

// take is the next id; it fetches a new block when there is none left. Only one request fetches,
// the others wait for it, or for their own deadline.
func (p *producerIDs) take(ctx context.Context, cluster Cluster) (int64, error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return -1, ctx.Err()
	}
	defer func() { <-p.turn }()
	if p.left == 0 {
		first, count, err := cluster.ProducerIDs(ctx)
		if err != nil {
			return -1, err
		}
		p.next, p.left = first, count
	}
	id := p.next
	p.next++
	p.left--
	return id, nil
}

// initProducerFenced is the first version whose clients know PRODUCER_FENCED.
const initProducerFenced = 4

// initProducerID gives a producer its id. An idempotent one always gets a new one, with epoch 0: one that
// lost its way (KIP-360) starts afresh. A transactional one gets that of its transactional id, with an
// epoch that fences all producers before it.
func (b *Broker) initProducerID(
	ctx context.Context, r *request, q *kmsg.InitProducerIDRequest,
) kmsg.Response {
	response := kmsg.NewPtrInitProducerIDResponse()
	if q.TransactionalID != nil && *q.TransactionalID != "" && (q.ProducerID == -1) == (q.ProducerEpoch == -1) {
		b.initTransactional(ctx, r, q, response)
		return response
	}
	id, why := b.producerID(ctx, q)
	response.ProducerID, response.ErrorCode = id, int16(why)
	if why != codeNone {
		response.ProducerEpoch = -1
		b.meters.failure("InitProducerId", why)
	}
	return response
}

func (b *Broker) initTransactional(
	ctx context.Context, r *request, q *kmsg.InitProducerIDRequest, response *kmsg.InitProducerIDResponse,
) {
	ctx, cancel := b.within(ctx, producerIDWaitMillis)
	defer cancel()
	identity, err := b.txns.identify(ctx, *q.TransactionalID, func(t txn.Token, newID int64) txn.Event {
		return txn.Init{
			Token: t, TimeoutMillis: q.TransactionTimeoutMillis, ID: q.ProducerID, Epoch: q.ProducerEpoch, NewID: newID,
		}
	})
	response.ProducerID, response.ProducerEpoch = txn.NoProducer, txn.NoEpoch
	if err == nil {
		response.ProducerID, response.ProducerEpoch = identity.ID, identity.Epoch
	}
	response.ErrorCode = int16(b.txnCode("InitProducerId", err, r.Version >= initProducerFenced))
}

func (b *Broker) producerID(ctx context.Context, q *kmsg.InitProducerIDRequest) (int64, code) {
	if q.TransactionalID != nil || (q.ProducerID == -1) != (q.ProducerEpoch == -1) {
		return -1, codeInvalidRequest
	}
	ctx, cancel := b.within(ctx, producerIDWaitMillis)
	defer cancel()
	id, err := b.ids.take(ctx, b.cluster)
	if err != nil {
		// Whatever it was, no id was given: this is the code on which producers simply ask again.
		b.judge("InitProducerId", err)
		return -1, codeCoordinatorLoading
	}
	return id, codeNone
}

// producerIDWaitMillis bounds the wait for a new block; the request names no timeout itself.
const producerIDWaitMillis = 5000
