package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/group"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

const (
	// mailboxMax is how many requests may wait for one shard; further ones are refused.
	mailboxMax = 4096
	// turnMax is how many requests share one append.
	turnMax = 256
	// groupBatchBytes is how much goes into one batch of records, unless one record is larger.
	groupBatchBytes = 256 << 10
	// loadBytes is how much of the log is read at a time.
	loadBytes = 1 << 20
	// loadRetry is how long a shard that cannot read its log waits before it tries again.
	loadRetry = time.Second
	// beat is the longest that a shard sleeps, absence the pause after which it gives all sessions
	// another term: it was not there to hear the heartbeats.
	beat    = time.Second
	absence = 3 * time.Second
	// sweepEvery is how often offsets of deleted topics are looked for.
	sweepEvery = 10 * time.Second
)

// groupShard coordinates the groups of one partition of the offsets topic while this node leads it
// in one epoch. Its goroutine alone touches the machines.
type groupShard struct {
	*coordinator
	log     *partition.Log
	epoch   topic.Epoch
	mailbox chan *groupCall
	// loaded: the log was replayed, requests are taken.
	loaded atomic.Bool
	// ended is closed when the shard answers nobody any more.
	ended chan struct{}
	stop  context.CancelFunc

	groups shownGroups
	calls  map[group.Token]*groupCall
	fx     group.Effects
	// records and replies are those of the present turn.
	records []group.Record
	replies []turnReply
	// flights are appended batches that are not committed yet, in their order.
	flights []*flight
	// wake is when the first timer of a machine may be due; turned and swept are when the shard last
	// had its turn, and when it last swept, all in milliseconds of coordinator.now.
	wake, turned, swept int64
	// shut: nothing could be written in the last turn.
	shut bool

	// landed is what the log has told of the flights.
	landed struct {
		sync.Mutex
		end topic.Offset
		err error
	}
	settled chan struct{}
}

// groupCall is a request to a shard: an event for a group, or a look at all of them.
type groupCall struct {
	group string
	token group.Token
	event group.Event
	look  func(shownGroups) any
	reply chan group.Reply
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

// flight is an appended batch on its way to the in-sync replicas.
type flight struct {
	end  topic.Offset
	done bool
	// parked are the replies that wait for it, each with when it is given up (milliseconds).
	parked []parkedReply
}

type parkedReply struct {
	group.Reply
	until int64
}

func newGroupShard(c *coordinator, log *partition.Log, epoch topic.Epoch) *groupShard {
	return &groupShard{
		coordinator: c, log: log, epoch: epoch, mailbox: make(chan *groupCall, mailboxMax),
		ended: make(chan struct{}), settled: make(chan struct{}, 1), calls: map[group.Token]*groupCall{},
	}
}

// over reports whether the shard has ended.
func (s *groupShard) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// run loads the groups and serves them until ctx ends, the leadership does, or a record cannot be
// appended: then what the machines have decided is not what the log says, and another shard begins
// with the log. Callers notice by themselves that the shard has ended.
func (s *groupShard) run(ctx context.Context) {
	err := s.load(ctx)
	if err == nil {
		s.loaded.Store(true)
		err = s.serve(ctx)
	}
	close(s.ended)
	s.look()
	if ctx.Err() == nil && !errors.Is(err, partition.ErrNotLeader) && !errors.Is(err, partition.ErrStopped) {
		s.broker.logger.Warn("group coordinator starts again", keyPartition, s.log.Partition().Index,
			keyError, err)
	}
}

// load waits until everything in the log is committed, and replays it. Nobody else appends in this
// epoch, so what is committed then is all that there is.
func (s *groupShard) load(ctx context.Context) error {
	end := s.log.State().LogEnd
	committed := make(chan error, 1)
	cancel := s.log.AwaitCommit(s.epoch, end, func(err error) { committed <- err })
	select {
	case err := <-committed:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		cancel()
		return ctx.Err()
	}
	replay, err := s.replay(ctx, end)
	if err != nil {
		select {
		case <-time.After(loadRetry):
		case <-ctx.Done():
		}
		return fmt.Errorf("load groups: %w", err)
	}
	now := s.now()
	s.groups = shownGroups{}
	for name, m := range replay.Machines(&s.cfg, now) {
		s.groups[name] = &shownGroup{Machine: m}
	}
	s.turned, s.swept = now.Mono, now.Mono
	if len(s.groups) > 0 {
		s.broker.logger.Info("group coordinator loaded", keyPartition, s.log.Partition().Index,
			keyEpoch, s.epoch, keyGroups, len(s.groups))
	}
	return nil
}

// replay reads the log up to end.
func (s *groupShard) replay(ctx context.Context, end topic.Offset) (*group.Replay, error) {
	replay := group.NewReplay()
	for from := s.log.State().LogStart; from < end && ctx.Err() == nil; {
		read, err := s.log.Read(from, loadBytes, true)
		if err != nil {
			return nil, err
		}
		if len(read.Batches) == 0 {
			return nil, fmt.Errorf("nothing to read at %d, below %d", from, end)
		}
		for _, b := range read.Batches {
			if from, err = replayBatch(replay, b); err != nil {
				return nil, err
			}
		}
	}
	return replay, ctx.Err()
}

// replayBatch applies the records of one batch, and returns the offset behind it.
func replayBatch(replay *group.Replay, b []byte) (topic.Offset, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return 0, err
	}
	next := topic.Offset(h.BaseOffset) + topic.Offset(h.LastOffsetDelta) + 1
	if h.Control() {
		return next, nil
	}
	for r, err := range batch.Records(b) {
		if err != nil {
			return 0, err
		}
		if err := replay.Apply(group.Record{Key: r.Key, Value: r.Value}); err != nil {
			return 0, fmt.Errorf("record at %d: %w", r.Offset, err)
		}
	}
	return next, nil
}

// serve has turns until ctx ends or the shard must.
func (s *groupShard) serve(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	calls := make([]*groupCall, 0, turnMax)
	for {
		calls = calls[:0]
		select {
		case call := <-s.mailbox:
			calls = append(calls, call)
		case <-s.settled:
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.turn(ctx, s.more(calls)); err != nil {
			return err
		}
		timer.Reset(time.Duration(max(1, s.wake-s.now().Mono)) * time.Millisecond)
	}
}

// more takes what else waits in the mailbox, so that it shares one append.
func (s *groupShard) more(calls []*groupCall) []*groupCall {
	for len(calls) < turnMax {
		select {
		case call := <-s.mailbox:
			calls = append(calls, call)
		default:
			return calls
		}
	}
	return calls
}

// turn carries out requests and timers, appends what they have decided, and answers.
func (s *groupShard) turn(ctx context.Context, calls []*groupCall) error {
	if err := s.land(); err != nil {
		return err
	}
	now := s.now()
	role := s.log.State().Role
	if !role.Leading || role.Epoch != s.epoch {
		return partition.ErrNotLeader
	}
	speaks := s.speaks()
	open := speaks && role.AcceptAll
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
	if err := s.append(ctx, now); err != nil {
		return err
	}
	s.answer(now)
	return nil
}

// speaks says whether this node may tell what the groups are. While it may, it is in the in-sync set of
// whoever may have been elected, who commits nothing that has not come here under a later epoch.
func (s *groupShard) speaks() bool { return s.broker.speaksFor(s.log.Partition(), s.epoch) }

// take carries out one request. Where this node does not speak another may lead by now, and without
// enough replicas nothing that is decided can be kept: then nothing is begun.
func (s *groupShard) take(call *groupCall, now group.Time, speaks, open bool) {
	switch {
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
	g := s.groups[call.group]
	if g == nil {
		g = &shownGroup{Machine: group.New(&s.cfg, call.group)}
		s.groups[call.group] = g
	}
	if open {
		g.Refresh(s.topics.of(s.broker.cluster), now, &s.fx)
	}
	s.calls[call.token] = call
	g.Step(call.event, now, &s.fx)
	s.collect(g)
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
func (s *groupShard) collect(g *shownGroup) {
	if len(s.fx.Records) > 0 {
		if s.flying() == nil {
			s.flights = append(s.flights, &flight{})
		}
		g.last = s.flying()
		s.records = append(s.records, s.fx.Records...)
	}
	for _, r := range s.fx.Replies {
		s.replies = append(s.replies, turnReply{g, r})
	}
	s.fx.Reset()
	s.wake = min(s.wake, g.Wake())
	if !g.Exists() && (g.last == nil || g.last.done) {
		delete(s.groups, g.Name())
	}
}

// flying is the flight of the present turn, nil while it has no records.
func (s *groupShard) flying() *flight {
	if n := len(s.flights); n > 0 && s.flights[n-1].end == 0 {
		return s.flights[n-1]
	}
	return nil
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
		s.collect(g)
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

// append writes the records of the turn. It may wait for room in the log, for a moment.
func (s *groupShard) append(ctx context.Context, now group.Time) error {
	if len(s.records) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.broker.config.Requests.AppendWait)
	defer cancel()
	f := s.flying()
	for rest := s.records; len(rest) > 0; {
		n := fitting(rest)
		b, err := groupBatch(rest[:n], now.Wall)
		if err != nil {
			return err
		}
		appended, err := s.log.Append(ctx, b, partition.AppendOptions{
			Acks: partition.AcksAll, Fenced: true, Epoch: s.epoch,
		})
		if err != nil {
			return fmt.Errorf("append records of groups: %w", err)
		}
		f.end = appended.End
		rest = rest[n:]
	}
	clear(s.records)
	s.records = s.records[:0]
	end := f.end
	s.log.AwaitCommit(s.epoch, end, func(err error) { s.tell(end, err) })
	return nil
}

// fitting is how many records go into the next batch.
func fitting(records []group.Record) int {
	n, bytes := 1, records[0].Bytes()
	for n < len(records) && bytes+records[n].Bytes() <= groupBatchBytes {
		bytes += records[n].Bytes()
		n++
	}
	return n
}

// groupBatch makes a batch of records.
func groupBatch(records []group.Record, wall int64) ([]byte, error) {
	b := batch.NewBuilder(batch.CodecNone)
	for _, r := range records {
		b.Add(batch.Record{Timestamp: wall, Key: r.Key, Value: r.Value})
	}
	return b.Build()
}

// tell is the log's word on a flight. It runs on the log's goroutines.
func (s *groupShard) tell(end topic.Offset, err error) {
	s.landed.Lock()
	s.landed.end = max(s.landed.end, end)
	if err != nil && s.landed.err == nil {
		s.landed.err = err
	}
	s.landed.Unlock()
	select {
	case s.settled <- struct{}{}:
	default:
	}
}

// land answers those who waited for what is committed by now.
func (s *groupShard) land() error {
	s.landed.Lock()
	end, err := s.landed.end, s.landed.err
	s.landed.Unlock()
	if err != nil {
		return fmt.Errorf("await records of groups: %w", err)
	}
	n := 0
	for ; n < len(s.flights) && s.flights[n].end <= end; n++ {
		s.flights[n].done = true
		for _, p := range s.flights[n].parked {
			s.send(p.Reply)
		}
	}
	clear(s.flights[:n])
	s.flights = s.flights[n:]
	return nil
}

// answer sends the replies of the turn, or parks them with the batch that they wait for, and gives up
// on those that have waited too long.
func (s *groupShard) answer(now group.Time) {
	until := now.Mono + s.broker.config.Groups.CommitTimeout.Milliseconds()
	speaks := s.speaks()
	for _, r := range s.replies {
		switch {
		case r.AfterRecords && r.from.last != nil && !r.from.last.done:
			r.from.last.parked = append(r.from.last.parked, parkedReply{r.Reply, until})
		case speaks:
			s.send(r.Reply)
		default:
			s.send(group.Reply{Token: r.Token, Err: errNotCoordinator})
		}
	}
	clear(s.replies)
	s.replies = s.replies[:0]
	for _, f := range s.flights {
		n := 0
		for ; n < len(f.parked) && f.parked[n].until <= now.Mono; n++ {
			// The record may be committed yet; the client asks again.
			s.send(group.Reply{Token: f.parked[n].Token, Err: errCoordinatorShut})
		}
		f.parked = f.parked[n:]
	}
}

func (s *groupShard) send(r group.Reply) {
	if call := s.calls[r.Token]; call != nil {
		delete(s.calls, r.Token)
		call.reply <- r
	}
}
