package broker

import (
	"context"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/group"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

const (
	// absence is the pause after which a shard gives all sessions another term: it was not there to hear
	// the heartbeats.
	absence = 3 * time.Second
	// sweepEvery is how often offsets of deleted topics are looked for.
	sweepEvery = 10 * time.Second
)

// groupShard coordinates the groups of one partition of the offsets topic while this node leads it
// in one epoch. Its goroutine alone touches the machines.
type groupShard struct {
	*coordinator
	shardCore
	mailbox chan *groupCall

	groups shownGroups
	calls  map[group.Token]*groupCall
	fx     group.Effects
	// replies are those of the present turn.
	replies []turnReply
	// undecided finds the groups that a marker is for.
	undecided undecidedGroups
	// wake is when the first timer of a machine may be due; turned and swept are when the shard last
	// had its turn, and when it last swept, all in milliseconds of coordinator.now.
	wake, turned, swept int64
	// shut: nothing could be written in the last turn.
	shut bool
}

// groupCall is a request to a shard: an event for a group, or a look at all of them.
type groupCall struct {
	group string
	token group.Token
	event group.Event
	look  func(shownGroups) any
	reply chan group.Reply
	// producer is the transaction that the event's records are part of.
	producer *transactionOf
	// marker, if set, is to be written, and told hears what became of it.
	marker *partition.EndTransaction
	told   chan<- error
}

// shownGroup is a group of a shard.
type shownGroup struct {
	*group.Machine
	// last is the newest batch that holds a record of the group.
	last *flight
}

type shownGroups map[string]*shownGroup

type turnReply struct {
	from *shownGroup
	group.Reply
}

func newGroupShard(c *coordinator, log *partition.Log, epoch topic.Epoch) *groupShard {
	return &groupShard{
		coordinator: c, shardCore: newShardCore(c.broker, offsetsTopic, log, epoch),
		mailbox: make(chan *groupCall, mailboxMax), calls: map[group.Token]*groupCall{},
		undecided: undecidedGroups{},
	}
}

// run implements shard.
func (s *groupShard) run(ctx context.Context) { s.live(ctx, s.load, s.serve, s.look) }

// load replays the log.
func (s *groupShard) load(ctx context.Context) error {
	replay := group.NewReplay()
	if err := s.loadLog(ctx, func(b []byte) (topic.Offset, error) { return replayBatch(replay, b) }); err != nil {
		return err
	}
	now := s.now()
	s.groups = shownGroups{}
	for name, m := range replay.Machines(&s.cfg, now) {
		s.groups[name] = &shownGroup{Machine: m}
		for _, producer := range m.Producers() {
			s.undecided.note(producer, name)
		}
	}
	s.turned, s.swept = now.Mono, now.Mono
	if len(s.groups) > 0 {
		s.broker.logger.Info("group coordinator loaded", keyPartition, s.log.Partition().Index,
			keyEpoch, s.epoch, keyGroups, len(s.groups))
	}
	return nil
}

// replayBatch applies the records of one batch, and returns the offset behind it.
func replayBatch(replay *group.Replay, b []byte) (topic.Offset, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return 0, err
	}
	if h.Control() {
		m, ok, err := batch.ParseMarker(b)
		if ok {
			replay.Decide(h.ProducerID, m.Commit)
		}
		return topic.Offset(h.LastOffset()) + 1, err
	}
	apply := replay.Apply
	if h.Transactional() {
		apply = func(r group.Record) error { return replay.ApplyIn(h.ProducerID, r) }
	}
	return eachRecord(func(r batch.Record) error { return apply(group.Record{Key: r.Key, Value: r.Value}) })(b)
}

// serve has turns until ctx ends or the shard must.
func (s *groupShard) serve(ctx context.Context) error {
	return turns(ctx, s.mailbox, s.settled, s.turn, func() int64 { return s.wake - s.now().Mono })
}

// turn carries out requests and timers, appends what they have decided, and answers.
func (s *groupShard) turn(ctx context.Context, calls []*groupCall) error {
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
	if now.Mono-s.turned > absence.Milliseconds() || s.shut && open {
		for _, g := range s.groups {
			g.Rearm(now)
		}
	}
	s.turned, s.shut = now.Mono, !open
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
// enough replicas nothing that is decided can be kept: then nothing is begun.
func (s *groupShard) take(call *groupCall, now group.Time, speaks, open bool) {
	switch {
	case call.marker != nil:
		s.mark(call, now, open)
		return
	case !speaks:
		call.reply <- group.Reply{Err: errNotCoordinator}
		return
	case call.look != nil:
		call.reply <- group.Reply{Result: call.look(s.groups)}
		return
	case !open && writes(call.event):
		call.reply <- group.Reply{Err: errCoordinatorShut}
		return
	}
	if p := call.producer; p != nil {
		// Nobody appends to this log but this goroutine, so what holds now holds until the append.
		if err := s.log.JudgeTransaction(p.id, p.epoch, p.guard); err != nil {
			call.reply <- group.Reply{Err: err}
			return
		}
		s.undecided.note(p.id, call.group)
	}
	g := s.groups[call.group]
	if g == nil {
		g = &shownGroup{Machine: group.New(&s.cfg, call.group)}
		s.groups[call.group] = g
	}
	if open && call.producer == nil { // what it writes is no part of a transaction
		g.Refresh(s.topics.of(s.broker.cluster), now, &s.fx)
	}
	s.calls[call.token] = call
	g.Step(call.event, now, &s.fx)
	s.collect(g, call.producer)
}

// writes says whether a request may put something into the log.
func writes(e group.Event) bool {
	switch e.(type) {
	case group.Heartbeat, group.Fetch:
		return false
	default:
		return true
	}
}

// collect takes the effects of one step. Records go out at the end of the turn, and so do replies.
func (s *groupShard) collect(g *shownGroup, producer *transactionOf) {
	if len(s.fx.Records) > 0 {
		g.last = s.board()
		for _, r := range s.fx.Records {
			s.entries = append(s.entries, entry{key: r.Key, value: r.Value, producer: producer})
		}
	}
	for _, r := range s.fx.Replies {
		s.replies = append(s.replies, turnReply{g, r})
	}
	s.fx.Reset()
	if n := g.TakeRebalances(); n > 0 {
		s.broker.meters.rebalances.Add(float64(n))
	}
	s.wake = min(s.wake, g.Wake())
	if !g.Exists() && (g.last == nil || g.last.done) {
		delete(s.groups, g.Name())
	}
}

// tick passes the time to the machines, sweeps when it is time to, and sets when it is to be called
// again at the latest. While nothing can be kept, time stands still for the groups.
func (s *groupShard) tick(now group.Time, open bool) {
	if s.wake > now.Mono {
		return
	}
	s.wake = now.Mono + beat.Milliseconds()
	if !open {
		return
	}
	sweep := now.Mono-s.swept >= min(sweepEvery, s.broker.config.Groups.RetentionCheck).Milliseconds()
	gone, catalog := s.goneTopics(), s.topics.of(s.broker.cluster)
	for _, g := range s.groups {
		g.Refresh(catalog, now, &s.fx)
		g.Tick(now, &s.fx)
		if sweep {
			g.Sweep(now, gone, &s.fx)
		}
		s.collect(g, nil)
	}
	if sweep {
		s.swept = now.Mono
	}
}

// goneTopics tells which topics have been deleted. The view is never older than the leadership, and
// the topics of all commits are older than that.
func (s *groupShard) goneTopics() func(string, [16]byte) bool {
	view := s.broker.cluster.View()
	return func(name string, id [16]byte) bool {
		t, found := view.TopicByName(name)
		return !found || id != [16]byte{} && t.ID != topic.ID(id)
	}
}

// answer sends the replies of the turn, or parks them with the batch that they wait for, and gives up
// on those that have waited too long.
func (s *groupShard) answer(now group.Time) {
	until := now.Mono + s.broker.config.Groups.CommitTimeout.Milliseconds()
	speaks := s.speaks()
	for _, r := range s.replies {
		switch {
		case r.AfterRecords && r.from.last != nil && !r.from.last.done:
			r.from.last.parked = append(r.from.last.parked, parked{s.sender(r.Reply), until})
		case speaks:
			s.send(r.Reply)
		default:
			s.send(group.Reply{Token: r.Token, Err: errNotCoordinator})
		}
	}
	clear(s.replies)
	s.replies = s.replies[:0]
	s.giveUp(now.Mono)
}

// sender sends a reply when what it waits for is committed, or says that it is not known to be.
func (s *groupShard) sender(r group.Reply) func(error) {
	return func(err error) {
		if err != nil {
			r = group.Reply{Token: r.Token, Err: err}
		}
		s.send(r)
	}
}

func (s *groupShard) send(r group.Reply) {
	if call := s.calls[r.Token]; call != nil {
		delete(s.calls, r.Token)
		call.reply <- r
	}
}
