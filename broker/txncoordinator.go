package broker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/txn"
)

// transactionsTopic keeps the state of transactional producers.
const transactionsTopic = "__transaction_state"

// txnCoordinator is this node's part in coordinating transactions.
type txnCoordinator struct {
	*shards[*txnShard]
	cfg     txn.Config
	markers *markerSender
	tokens  atomic.Uint64
}

func newTxnCoordinator(b *Broker) *txnCoordinator {
	c := &txnCoordinator{
		shards:  newShards[*txnShard](b, transactionsTopic),
		cfg:     b.config.Transactions.machine(b.config.Topics.MessageBytesMax),
		markers: newMarkerSender(b),
	}
	c.make = func(log *partition.Log, epoch topic.Epoch) *txnShard { return newTxnShard(c, log, epoch) }
	return c
}

// now is the time for the machines.
func (c *txnCoordinator) now() txn.Time {
	now := time.Now()
	return txn.Time{Mono: now.Sub(c.began).Milliseconds(), Wall: now.UnixMilli()}
}

// token names a request.
func (c *txnCoordinator) token() txn.Token { return txn.Token(c.tokens.Add(1)) }

// txnWait is the last resort of requests to a shard, whose records have a shorter deadline of their own.
const txnWait = time.Minute

// do has a transactional id take a request, whose token is t, and waits for the reply.
func (c *txnCoordinator) do(ctx context.Context, id string, t txn.Token, e txn.Event) (any, error) {
	return c.ask(ctx, c.shardOf(id), &txnCall{id: id, token: t, event: e}, txnWait)
}

// identify is do for an event that may need a new producer id, which make puts into it.
func (c *txnCoordinator) identify(
	ctx context.Context, id string, make func(t txn.Token, newID int64) txn.Event,
) (*txn.Identity, error) {
	t := c.token()
	result, err := c.do(ctx, id, t, make(t, txn.NoProducer))
	if errors.Is(err, txn.ErrNeedsProducerID) {
		var fresh int64
		if fresh, err = c.broker.ids.take(ctx, c.broker.cluster); err != nil {
			return nil, errors.Join(errCoordinatorShut, err)
		}
		t = c.token()
		result, err = c.do(ctx, id, t, make(t, fresh))
	}
	identity, _ := result.(*txn.Identity)
	return identity, err
}

// view has a shard show something of its transactional ids.
func (c *txnCoordinator) view(ctx context.Context, s *txnShard, look func(shownTxns) any) (any, error) {
	return c.ask(ctx, s, &txnCall{token: c.token(), look: look}, lookWait)
}

func (c *txnCoordinator) ask(
	ctx context.Context, s *txnShard, call *txnCall, limit time.Duration,
) (any, error) {
	if call.event != nil && call.id == "" {
		return nil, fmt.Errorf("%w: the transactional id is empty", errInvalidRequest)
	}
	if s == nil {
		return nil, errNotCoordinator
	}
	call.reply = make(chan txn.Reply, 1)
	reply, err := await(ctx, &s.shardCore, s.mailbox, call, call.reply, limit)
	if err != nil {
		return nil, err
	}
	return reply.Result, reply.Err
}
