package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

const (
	// shareSlotsMax bounds the partitions of all share sessions together.
	shareSlotsMax = 200_000
	// shareBeat is how often it is looked for records that were held for too long.
	shareBeat = 250 * time.Millisecond
	// shareRetry is the pause before a request to a coordinator is made again, shareAskMax bounds how many
	// partitions share one.
	shareRetry  = 50 * time.Millisecond
	shareAskMax = 500
)

// sharePartitions are what share groups make of the partitions that this node leads. Its goroutine asks the
// coordinators of their states: for the state, when somebody first fetches, and to keep what has changed, in
// one request at a time to each for each group, and again until it is kept, or p is over.
//
// It holds as many as the sessions name, and those that are not idle yet.
type sharePartitions struct {
	broker *Broker
	began  time.Time
	// cue says that there is something to do; one token.
	cue chan struct{}
	mu  struct {
		sync.Mutex
		table    map[share.Key]*sharePartition
		sessions *share.Sessions
		// due are those that have something to ask.
		due map[*sharePartition]bool
	}
}

func newSharePartitions(b *Broker) *sharePartitions {
	s := &sharePartitions{broker: b, began: time.Now(), cue: make(chan struct{}, 1)}
	s.mu.table, s.mu.due = map[share.Key]*sharePartition{}, map[*sharePartition]bool{}
	s.mu.sessions = share.NewSessions(b.config.Shares.SessionsMax, shareSlotsMax)
	return s
}

// now is milliseconds on a clock that never jumps.
func (s *sharePartitions) now() int64 { return time.Since(s.began).Milliseconds() }

// look has run look whether this node still leads.
func (s *sharePartitions) look() {
	select {
	case s.cue <- struct{}{}:
	default:
	}
}

// find is a share-partition that is there already, or nil.
func (s *sharePartitions) find(key share.Key) *sharePartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.table[key]
}

// of finds or begins what a group makes of a log that this node leads in an epoch.
func (s *sharePartitions) of(key share.Key, log *partition.Log, epoch topic.Epoch) *sharePartition {
	for {
		old := s.find(key)
		if old != nil && old.log == log && old.epoch == epoch && old.why() == nil {
			return old
		}
		p := newSharePartition(s, key, log, epoch)
		if !s.replace(old, p) {
			continue // somebody else was faster
		}
		if old != nil {
			old.end(partition.ErrNotLeader)
		}
		s.ask(p)
		return p
	}
}

// replace puts p in the place of another one, if that is still there.
func (s *sharePartitions) replace(old, p *sharePartition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.table[p.key] != old {
		return false
	}
	s.mu.table[p.key] = p
	return true
}

// ask notes that a share-partition has something to ask of its coordinator.
func (s *sharePartitions) ask(p *sharePartition) {
	s.mu.Lock()
	s.mu.due[p] = true
	s.mu.Unlock()
	s.look()
}

// shareRound is one request to a coordinator.
type shareRound struct {
	to     sharePlace
	failed []*sharePartition
}

// sharePlace is whom a request goes to, and the group that it is for.
type sharePlace struct {
	node  topic.NodeID
	group string
}

// shareJob is what is to be asked for one share-partition.
type shareJob struct {
	p *sharePartition
	// write is nil to ask for the state.
	write *share.Write
}

// run asks until ctx ends, and returns when no request is under way any more.
func (s *sharePartitions) run(ctx context.Context) {
	var requests sync.WaitGroup
	defer requests.Wait()
	over := make(chan shareRound)
	busy := map[sharePlace]bool{}
	var failed []*sharePartition
	retry, beat := time.NewTimer(shareRetry), time.NewTimer(shareBeat)
	retry.Stop()
	beat.Stop()
	beating := false
	for {
		for to, jobs := range s.place(busy) {
			busy[to] = true
			requests.Go(func() {
				round := shareRound{to, s.request(ctx, to, jobs)}
				select {
				case over <- round:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-s.cue:
			if !beating {
				beat.Reset(shareBeat)
				beating = true
			}
		case round := <-over:
			delete(busy, round.to)
			if len(failed) == 0 && len(round.failed) > 0 {
				retry.Reset(shareRetry)
			}
			failed = append(failed, round.failed...)
		case <-retry.C:
			for _, p := range failed {
				s.again(p)
			}
			failed = nil
		case <-beat.C:
			if beating = s.tick(); beating {
				beat.Reset(shareBeat)
			}
		case <-ctx.Done():
			return
		}
	}
}

// again ends a job; if there is another one it is due.
func (s *sharePartitions) again(p *sharePartition) {
	if p.asked() {
		s.ask(p)
	}
}

// place takes those that have something to ask, by whom they ask, unless a request is under way there.
func (s *sharePartitions) place(busy map[sharePlace]bool) map[sharePlace][]shareJob {
	s.mu.Lock()
	due := make([]*sharePartition, 0, len(s.mu.due))
	for p := range s.mu.due {
		due = append(due, p)
	}
	s.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	view := s.broker.cluster.View()
	placed := map[sharePlace][]shareJob{}
	for _, p := range due {
		to := sharePlace{shareCoordinatorOf(view, p.key), p.key.Group}
		if busy[to] || len(placed[to]) >= shareAskMax {
			continue
		}
		s.mu.Lock()
		delete(s.mu.due, p)
		s.mu.Unlock()
		if write, some := p.job(); some {
			placed[to] = append(placed[to], shareJob{p, write})
		}
	}
	return placed
}

// tick passes the time to all, and forgets those that are over. It reports whether any are left.
func (s *sharePartitions) tick() bool {
	s.mu.Lock()
	all := make([]*sharePartition, 0, len(s.mu.table))
	for _, p := range s.mu.table {
		all = append(all, p)
	}
	s.mu.Unlock()
	limits := map[string]share.Limits{}
	for _, p := range all {
		if _, known := limits[p.key.Group]; !known {
			limits[p.key.Group] = s.broker.shareSettings(p.key.Group).limits
		}
		gone, due := p.tick(limits[p.key.Group])
		if due {
			s.ask(p)
		}
		if gone {
			s.drop(p)
		}
	}
	return len(all) > 0
}

// drop takes out one that is over, unless another one is in its place.
func (s *sharePartitions) drop(p *sharePartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.due, p)
	if s.mu.table[p.key] == p {
		delete(s.mu.table, p.key)
	}
}

// request asks a coordinator, tells all what it has said, and returns those that must ask again.
func (s *sharePartitions) request(ctx context.Context, to sharePlace, jobs []shareJob) (failed []*sharePartition) {
	ctx, cancel := context.WithTimeout(ctx, s.broker.config.Shares.WriteTimeout)
	defer cancel()
	var loads, writes []shareJob
	for _, job := range jobs {
		switch {
		case !job.p.leads():
			job.p.end(partition.ErrNotLeader)
			s.drop(job.p)
		case job.write == nil:
			loads = append(loads, job)
		default:
			writes = append(writes, job)
		}
	}
	for _, some := range []struct {
		jobs []shareJob
		ask  func(context.Context, sharePlace, []shareJob) func(shareJob) error
	}{{loads, s.load}, {writes, s.keep}} {
		if len(some.jobs) == 0 {
			continue
		}
		said := some.ask(ctx, to, some.jobs)
		for _, job := range some.jobs {
			if s.settle(job, said(job)) {
				failed = append(failed, job.p)
			} else {
				s.again(job.p)
			}
		}
	}
	return failed
}

// settle acts on what became of a job, and reports whether it is to be tried again later.
func (s *sharePartitions) settle(job shareJob, err error) bool {
	switch {
	case err == nil && job.write != nil:
		job.p.written(job.write.Number)
	case err == nil:
	case errors.Is(err, share.ErrFencedLeader):
		s.finish(job.p, partition.ErrNotLeader)
	case errors.Is(err, share.ErrFencedState), errors.Is(err, share.ErrUninitialized), errors.Is(err, share.ErrTooLarge):
		s.finish(job.p, err)
	default:
		s.broker.troubles.report("WriteShareGroupState", codeCoordinatorNotAvailable, err)
		return true
	}
	return false
}

// finish ends one, for another to begin with what is kept.
func (s *sharePartitions) finish(p *sharePartition, why error) {
	p.end(why)
	s.drop(p)
}

// nowhere is what is said of jobs while nobody leads the partition of their state.
func nowhere(why error) func(shareJob) error { return func(shareJob) error { return why } }

var errShareNowhere = fmt.Errorf("%w: nobody leads the partition of the state", errCoordinatorShut)

// load asks for states, and begins with them.
func (s *sharePartitions) load(ctx context.Context, to sharePlace, jobs []shareJob) func(shareJob) error {
	if to.node == topic.NoNode {
		if _, ok := s.broker.cluster.View().TopicByName(shareTopic); !ok {
			return nowhere(share.ErrUninitialized)
		}
		return nowhere(errShareNowhere)
	}
	q := kmsg.NewPtrReadShareGroupStateRequest()
	q.GroupID = to.group
	for _, job := range jobs {
		q.Topics = append(q.Topics, kmsg.ReadShareGroupStateRequestTopic{
			TopicID: job.p.key.Topic, Partitions: []kmsg.ReadShareGroupStateRequestTopicPartition{{
				Partition: job.p.key.Partition, LeaderEpoch: int32(job.p.epoch),
			}},
		})
	}
	response, err := s.broker.askNode(ctx, to.node, q)
	if err != nil {
		return nowhere(err)
	}
	settings := s.broker.shareSettings(to.group)
	said := map[share.Key]*kmsg.ReadShareGroupStateResponseTopicPartition{}
	for i := range response.(*kmsg.ReadShareGroupStateResponse).Topics {
		t := &response.(*kmsg.ReadShareGroupStateResponse).Topics[i]
		for j := range t.Partitions {
			said[share.Key{Group: to.group, Topic: t.TopicID, Partition: t.Partitions[j].Partition}] = &t.Partitions[j]
		}
	}
	return func(job shareJob) error {
		answer := said[job.p.key]
		if answer == nil {
			return fmt.Errorf("%w: no state in the answer", errPeer)
		}
		if err := errShareState(answer.ErrorCode, answer.ErrorMessage); err != nil {
			return err
		}
		return job.p.begun(answer, settings)
	}
}

// begun begins with a state that was read, or, if the group has none yet, where it wants to begin.
func (p *sharePartition) begun(kept *kmsg.ReadShareGroupStateResponseTopicPartition, settings shareSettings) error {
	l := share.Loaded{StateEpoch: kept.StateEpoch, LeaderEpoch: int32(p.epoch), Start: kept.StartOffset, Limits: settings.limits}
	if l.Start < 0 {
		start, err := settings.reset.offset(p.log, settings.committed, time.Now())
		if err != nil {
			return err
		}
		l.Start, l.Fresh = int64(start), true
	}
	for _, b := range kept.StateBatches {
		l.Batches = append(l.Batches, share.Batch{
			First: b.FirstOffset, Last: b.LastOffset, State: share.DeliveryState(b.DeliveryState), Count: b.DeliveryCount,
		})
	}
	p.loaded(l)
	return nil
}

// keep asks for changes to be kept.
func (s *sharePartitions) keep(ctx context.Context, to sharePlace, jobs []shareJob) func(shareJob) error {
	if to.node == topic.NoNode {
		return nowhere(errShareNowhere)
	}
	q := kmsg.NewPtrWriteShareGroupStateRequest()
	q.Version, q.GroupID = 1, to.group
	for _, job := range jobs {
		p := kmsg.WriteShareGroupStateRequestTopicPartition{
			Partition: job.p.key.Partition, StateEpoch: job.write.StateEpoch, LeaderEpoch: job.write.LeaderEpoch,
			StartOffset: job.write.Start, DeliveryCompleteCount: job.write.Complete,
		}
		for _, b := range job.write.Batches {
			p.StateBatches = append(p.StateBatches, kmsg.WriteShareGroupStateRequestTopicPartitionStateBatch{
				FirstOffset: b.First, LastOffset: b.Last, DeliveryState: int8(b.State), DeliveryCount: b.Count,
			})
		}
		q.Topics = append(q.Topics, kmsg.WriteShareGroupStateRequestTopic{
			TopicID: job.p.key.Topic, Partitions: []kmsg.WriteShareGroupStateRequestTopicPartition{p},
		})
	}
	response, err := s.broker.askNode(ctx, to.node, q)
	if err != nil {
		return nowhere(err)
	}
	said := map[share.Key]error{}
	for _, t := range response.(*kmsg.WriteShareGroupStateResponse).Topics {
		for _, p := range t.Partitions {
			said[share.Key{Group: to.group, Topic: t.TopicID, Partition: p.Partition}] = errShareState(p.ErrorCode, p.ErrorMessage)
		}
	}
	return func(job shareJob) error {
		if err, told := said[job.p.key]; told {
			return err
		}
		return fmt.Errorf("%w: nothing of the write in the answer", errPeer)
	}
}
