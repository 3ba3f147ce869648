package broker

import (
	"context"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/txn"
)

// txnSweepEvery is how often ids are looked for whose producers have been silent for too long.
const txnSweepEvery = time.Minute

// txnShard coordinates the transactional ids of one partition of the transactions topic while this node
// leads it in one epoch. Its goroutine alone touches the machines.
type txnShard struct {
	*txnCoordinator
	shardCore
	mailbox chan *txnCall

	txns  shownTxns
	calls map[txn.Token]*txnCall
	fx    txn.Effects
	// replies are those of the present turn, held the news of markers that could not be kept in it.
	replies []txnReply
	held    []*txnCall
	// wake is when the first timer of a machine may be due, swept when the shard last swept, both in
	// milliseconds of txnCoordinator.now.
	wake, swept int64
}

// txnCall is a request to a shard: an event for a transactional id, or a look at all of them. News of
// markers has no token, and nobody waits.
type txnCall struct {
	id    string
	token txn.Token
	event txn.Event
	look  func(shownTxns) any
	reply chan txn.Reply
}

// shownTxn is a transactional id of a shard.
type shownTxn struct {
	*txn.Machine
	// last is the newest batch that holds a record of the id.
	last *flight
}

type shownTxns map[string]*shownTxn

type txnReply struct {
	from *shownTxn
	txn.Reply
}

func newTxnShard(c *txnCoordinator, log *partition.Log, epoch topic.Epoch) *txnShard {
	return &txnShard{
		txnCoordinator: c, shardCore: newShardCore(c.broker, transactionsTopic, log, epoch),
		mailbox: make(chan *txnCall, mailboxMax), calls: map[txn.Token]*txnCall{}, txns: shownTxns{},
	}
}

// run implements shard.
func (s *txnShard) run(ctx context.Context) { s.live(ctx, s.load, s.serve, s.look) }

// load replays the log, and has the markers sent of what was decided before.
func (s *txnShard) load(ctx context.Context) error {
	replay := txn.NewReplay()
	err := s.loadLog(ctx, eachRecord(func(r batch.Record) error { return replay.Apply(txn.Record{Key: r.Key, Value: r.Value}) }))
	if err != nil {
		return err
	}
	now := s.now()
	for id, m := range replay.Machines(&s.cfg, now) {
		t := &shownTxn{Machine: m}
		s.txns[id] = t
		t.Resume(now, &s.fx)
		s.collect(t)
	}
	s.swept = now.Mono
	if len(s.txns) > 0 {
		s.broker.logger.Info("transaction coordinator loaded", keyPartition, s.log.Partition().Index,
			keyEpoch, s.epoch, keyTransactions, len(s.txns))
	}
	return nil
}

// serve has turns until ctx ends or the shard must.
func (s *txnShard) serve(ctx context.Context) error {
	return turns(ctx, s.mailbox, s.settled, s.turn, func() int64 { return s.wake - s.now().Mono })
}

// turn carries out requests and timeouts, appends what they have decided, and answers.
func (s *txnShard) turn(ctx context.Context, calls []*txnCall) error {
	if err := s.land(); err != nil {
		return err
	}
	now := s.now()
	role, err := s.leads()
	if err != nil {
		return err
	}
	speaks := s.speaks()
	open := speaks && s.keeps(role)
	if open && len(s.held) > 0 {
		calls = append(s.held, calls...)
		s.held = nil
	}
	for _, call := range calls {
		s.take(call, now, speaks, open)
	}
	s.tick(now, open)
	if err := s.append(ctx, now.Wall); err != nil {
		return err
	}
	s.answer(now)
	return nil
}

// take carries out one request. Where this node does not speak another may lead by now, and without
// enough replicas nothing that is decided can be kept: then nothing is begun, and news of markers waits.
func (s *txnShard) take(call *txnCall, now txn.Time, speaks, open bool) {
	switch {
	case call.token == 0 && !open:
		s.held = append(s.held, call)
		return
	case !speaks:
		call.reply <- txn.Reply{Err: errNotCoordinator}
		return
	case call.look != nil:
		call.reply <- txn.Reply{Result: call.look(s.txns)}
		return
	case !open:
		call.reply <- txn.Reply{Err: errCoordinatorShut}
		return
	}
	t := s.txns[call.id]
	if t == nil {
		t = &shownTxn{Machine: txn.New(&s.cfg, call.id)}
		s.txns[call.id] = t
	}
	if call.token != 0 {
		s.calls[call.token] = call
	}
	t.Step(call.event, now, &s.fx)
	s.collect(t)
}

// collect takes the effects of one step. Records go out at the end of the turn, and so do replies;
// markers when the record of the decision is committed, which is the last of the id.
func (s *txnShard) collect(t *shownTxn) {
	if len(s.fx.Records) > 0 {
		t.last = s.board()
		for _, r := range s.fx.Records {
			s.entries = append(s.entries, entry{key: r.Key, value: r.Value})
		}
	}
	for _, r := range s.fx.Replies {
		s.replies = append(s.replies, txnReply{t, r})
	}
	for _, m := range s.fx.Markers {
		job := &markerJob{shard: s, id: t.Name(), Markers: m}
		if t.last == nil || t.last.done {
			s.markers.send(job)
			continue
		}
		t.last.parked = append(t.last.parked, parked{func(err error) {
			if err == nil {
				s.markers.send(job)
			}
		}, untilCommitted})
	}
	s.fx.Reset()
	s.wake = min(s.wake, t.Wake())
	if !t.Exists() && (t.last == nil || t.last.done) {
		delete(s.txns, t.Name())
	}
}

// tick passes the time to the machines, sweeps when it is time to, and sets when it is to be called again
// at the latest. While nothing can be kept, no transaction times out.
func (s *txnShard) tick(now txn.Time, open bool) {
	if s.wake > now.Mono {
		return
	}
	s.wake = now.Mono + beat.Milliseconds()
	if !open {
		return
	}
	sweep := now.Mono-s.swept >= txnSweepEvery.Milliseconds()
	for _, t := range s.txns {
		if t.Wake() <= now.Mono {
			s.broker.logger.Info("transaction has timed out", keyTransaction, t.Name())
		}
		t.Tick(now, &s.fx)
		if sweep {
			t.Sweep(now, &s.fx)
		}
		s.collect(t)
	}
	if sweep {
		s.swept = now.Mono
	}
}

// answer sends the replies of the turn, or parks them with the batch that they wait for, and gives up on
// those that have waited too long.
func (s *txnShard) answer(now txn.Time) {
	until := now.Mono + s.broker.config.Transactions.CommitTimeout.Milliseconds()
	speaks := s.speaks()
	for _, r := range s.replies {
		switch {
		case r.AfterRecords && r.from.last != nil && !r.from.last.done:
			r.from.last.parked = append(r.from.last.parked, parked{s.sender(r.Reply), until})
		case speaks:
			s.reply(r.Reply)
		default:
			s.reply(txn.Reply{Token: r.Token, Err: errNotCoordinator})
		}
	}
	clear(s.replies)
	s.replies = s.replies[:0]
	s.giveUp(now.Mono)
}

// sender sends a reply when what it waits for is committed, or says that it is not known to be.
func (s *txnShard) sender(r txn.Reply) func(error) {
	return func(err error) {
		if err != nil {
			r = txn.Reply{Token: r.Token, Err: err}
		}
		s.reply(r)
	}
}

func (s *txnShard) reply(r txn.Reply) {
	if call := s.calls[r.Token]; call != nil {
		delete(s.calls, r.Token)
		call.reply <- r
	}
}

// marked takes the news that partitions have their markers. It waits for room in the mailbox: whoever
// sends markers has nothing better to do for this shard, and it must not be lost.
func (s *txnShard) marked(id string, e txn.Marked) {
	select {
	case s.mailbox <- &txnCall{id: id, event: e}:
	case <-s.ended:
	}
}
