package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// shareTopic keeps the state of share groups.
const shareTopic = "__share_group_state"

// shareSweepEvery is how often states of deleted topics are looked for.
const shareSweepEvery = time.Minute

// shareCoordinator is this node's part in keeping what share groups make of partitions.
type shareCoordinator struct {
	*shards[*shareShard]
	cfg share.KeeperConfig
}

func newShareCoordinator(b *Broker) *shareCoordinator {
	c := &shareCoordinator{
		shards: newShards[*shareShard](b, shareTopic), cfg: b.config.Shares.keeper(b.config.Topics.MessageBytesMax),
	}
	c.make = func(log *partition.Log, epoch topic.Epoch) *shareShard { return newShareShard(c, log, epoch) }
	return c
}

// now is milliseconds on a clock that never jumps.
func (c *shareCoordinator) now() int64 { return time.Since(c.began).Milliseconds() }

// shareEvent is a request for the state of one partition.
type shareEvent struct {
	share.Key
	share.Event
}

// shareCall is a request to a shard for states that it keeps. It is answered as a whole.
type shareCall struct {
	events []shareEvent
	reply  chan shareAnswer
}

// shareAnswer has a reply for each event, or none of them was carried out, as far as is known.
type shareAnswer struct {
	replies []share.Reply
	err     error
}

// do has the shards of all events carry them out, and returns a reply for each.
func (c *shareCoordinator) do(ctx context.Context, events []shareEvent) []share.Reply {
	replies := make([]share.Reply, len(events))
	places := map[*shareShard][]int{}
	for i, e := range events {
		if s := c.shardOf(e.String()); s != nil {
			places[s] = append(places[s], i)
		} else {
			replies[i].Err = errNotCoordinator
		}
	}
	var waits sync.WaitGroup
	for s, at := range places {
		waits.Go(func() {
			call := &shareCall{reply: make(chan shareAnswer, 1)}
			for _, i := range at {
				call.events = append(call.events, events[i])
			}
			answer, err := await(ctx, &s.shardCore, s.mailbox, call, call.reply, groupWait)
			if err == nil {
				err = answer.err
			}
			for n, i := range at {
				if replies[i].Err = err; err == nil {
					replies[i] = answer.replies[n]
				}
			}
		})
	}
	waits.Wait()
	return replies
}

// shareShard keeps the states of one partition of the topic while this node leads it in one epoch. Its
// goroutine alone touches the keepers.
type shareShard struct {
	*shareCoordinator
	shardCore
	mailbox chan *shareCall
	keepers map[share.Key]*share.Keeper
	// snapshots knows the part of the log that has landed.
	snapshots *share.Snapshots
	// answers are those of the present turn.
	answers []func(error)
	// wake is when the shard is to have a turn; swept, pruned and chilled are when it last looked for states of
	// deleted topics, for what the log can do without, and for old snapshots. All are milliseconds of now.
	wake, swept, pruned, chilled int64
	// cutAt is where the log was last cut, zero before.
	cutAt atomic.Int64
}

func newShareShard(c *shareCoordinator, log *partition.Log, epoch topic.Epoch) *shareShard {
	return &shareShard{
		shareCoordinator: c, shardCore: newShardCore(c.broker, shareTopic, log, epoch), mailbox: make(chan *shareCall, mailboxMax),
		snapshots: share.NewSnapshots(),
	}
}

// run implements shard.
func (s *shareShard) run(ctx context.Context) { s.live(ctx, s.load, s.serve, s.look) }

// load replays the log.
func (s *shareShard) load(ctx context.Context) error {
	replay := share.NewReplay()
	now := s.now()
	err := s.loadLog(ctx, eachRecord(func(r batch.Record) error {
		record := share.Record{Key: r.Key, Value: r.Value}
		if m, ok := share.MarkOf(record); ok {
			s.snapshots.Note(m, r.Offset, now)
		}
		s.snapshots.Settle(r.Offset + 1)
		return replay.Apply(record)
	}))
	if err != nil {
		return err
	}
	s.keepers, s.swept, s.pruned, s.chilled = replay.Keepers(&s.cfg), now, now, now
	if len(s.keepers) > 0 {
		s.broker.logger.Info("share coordinator loaded", keyPartition, s.log.Partition().Index, keyEpoch, s.epoch,
			keyPartitions, len(s.keepers))
	}
	return nil
}

// serve has turns until ctx ends or the shard must.
func (s *shareShard) serve(ctx context.Context) error {
	return turns(ctx, s.mailbox, s.settled, s.turn, func() int64 { return s.wake - s.now() })
}

// turn carries out requests, appends what they have decided, and answers. Where this node does not speak
// another may lead by now, and without enough replicas nothing that is decided can be kept.
func (s *shareShard) turn(ctx context.Context, calls []*shareCall) error {
	if err := s.land(); err != nil {
		return err
	}
	role, err := s.leads()
	if err != nil {
		return err
	}
	speaks, keeps, wall := s.speaks(), s.keeps(role), time.Now().UnixMilli()
	for _, call := range calls {
		switch {
		case !speaks:
			call.reply <- shareAnswer{err: errNotCoordinator}
		case !keeps:
			call.reply <- shareAnswer{err: errCoordinatorShut}
		default:
			s.take(call, wall)
		}
	}
	s.tick(ctx, speaks && keeps, wall)
	appends, marks := len(s.entries) > 0, marksOf(s.entries)
	if err := s.append(ctx, wall); err != nil {
		return err
	}
	if appends {
		s.note(s.flights[len(s.flights)-1], marks)
	}
	s.answer()
	return nil
}

// take carries out one request.
func (s *shareShard) take(call *shareCall, wall int64) {
	answer := shareAnswer{replies: make([]share.Reply, len(call.events))}
	for i, e := range call.events {
		answer.replies[i] = s.step(e.Key, e.Event, wall)
	}
	s.answers = append(s.answers, func(err error) {
		if err != nil {
			answer = shareAnswer{err: err}
		}
		call.reply <- answer
	})
}

// step has one keeper take an event. Its records go out at the end of the turn.
func (s *shareShard) step(key share.Key, e share.Event, wall int64) share.Reply {
	k := s.keepers[key]
	if k == nil {
		k = share.NewKeeper(&s.cfg, key)
		s.keepers[key] = k
	}
	fx := k.Step(e, wall)
	if len(fx.Records) > 0 {
		s.board()
		for _, r := range fx.Records {
			s.entries = append(s.entries, entry{key: r.Key, value: r.Value})
		}
	}
	if !k.Exists() {
		delete(s.keepers, key)
	}
	return fx.Reply
}

// tick does what it is time for.
func (s *shareShard) tick(ctx context.Context, open bool, wall int64) {
	now := s.now()
	if s.wake > now {
		return
	}
	cfg := &s.broker.config.Shares
	s.wake = now + min(beat, cfg.PruneInterval, cfg.ColdInterval).Milliseconds()
	if !open {
		return
	}
	if now-s.swept >= shareSweepEvery.Milliseconds() {
		s.swept = now
		s.sweep(wall)
	}
	if now-s.chilled >= cfg.ColdInterval.Milliseconds() {
		s.chill(now, wall)
	}
	if now-s.pruned >= cfg.PruneInterval.Milliseconds() {
		s.pruned = now
		s.prune(ctx)
	}
}

// sweep takes away the states of topics that have been deleted.
func (s *shareShard) sweep(wall int64) {
	view := s.broker.cluster.View()
	for key := range s.keepers {
		if _, found := view.TopicByID(topic.ID(key.Topic)); !found {
			s.step(key, share.Delete{}, wall)
		}
	}
}

// answer parks the answers of the turn with the newest batch, since what they tell may be in it, or sends
// them, and gives up on those that have waited too long.
func (s *shareShard) answer() {
	now := s.now()
	until := now + s.broker.config.Shares.WriteTimeout.Milliseconds()
	var newest *flight
	if n := len(s.flights); n > 0 {
		newest = s.flights[n-1]
	}
	var err error
	if newest == nil && !s.speaks() {
		err = errNotCoordinator
	}
	for _, deliver := range s.answers {
		if newest != nil {
			newest.parked = append(newest.parked, parked{deliver, until})
		} else {
			deliver(err)
		}
	}
	clear(s.answers)
	s.answers = s.answers[:0]
	s.giveUp(now)
}
