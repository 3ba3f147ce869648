package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"outrigger/broker/group"
	"outrigger/broker/topic"
)

// offsetsTopic keeps the state of consumer groups.
const offsetsTopic = "__consumer_offsets"

// coordinator is this node's part in coordinating consumer groups: for each partition of the offsets
// topic that the node leads, one groupShard with a goroutine of its own. One per partition, and not a
// few that share them, since a partition is the unit that is loaded, led and lost: a shard that
// replays a long log, or waits for room in one, holds up nobody else.
type coordinator struct {
	broker *Broker
	cfg    group.Config
	table  atomic.Pointer[shardTable]
	tokens atomic.Uint64
	topics catalogCache
	// cue says that a role has changed or a shard has ended; one token.
	cue   chan struct{}
	began time.Time
}

// shardTable is what this node coordinates. It is immutable.
type shardTable struct {
	topic topic.ID
	// shards is indexed by partition; nil where another node leads.
	shards []*groupShard
}

func newCoordinator(b *Broker) *coordinator {
	c := &coordinator{broker: b, cfg: b.config.Groups.machine(b.config.Topics.MessageBytesMax), cue: make(chan struct{}, 1)}
	c.began = time.Now()
	c.table.Store(&shardTable{})
	b.logs.WatchRoles(c.look)
	return c
}

// look has run look at the roles again.
func (c *coordinator) look() {
	select {
	case c.cue <- struct{}{}:
	default:
	}
}

// now is the time for group machines.
func (c *coordinator) now() group.Time {
	now := time.Now()
	return group.Time{Mono: now.Sub(c.began).Milliseconds(), Wall: now.UnixMilli()}
}

// token names a request.
func (c *coordinator) token() group.Token { return group.Token(c.tokens.Add(1)) }

// run keeps one shard for each partition that this node leads, until ctx ends, and returns when all
// shards have.
func (c *coordinator) run(ctx context.Context) {
	var shards sync.WaitGroup
	defer shards.Wait()
	for {
		changed := c.broker.cluster.Changed()
		c.align(ctx, &shards)
		select {
		case <-changed:
		case <-c.cue:
		case <-ctx.Done():
			return
		}
	}
}

// align starts and stops shards so that there is one for each partition, and epoch, that is led.
func (c *coordinator) align(ctx context.Context, shards *sync.WaitGroup) {
	old := c.table.Load()
	next := &shardTable{}
	if t, ok := c.broker.cluster.View().TopicByName(offsetsTopic); ok {
		next.topic, next.shards = t.ID, make([]*groupShard, len(t.Partitions))
	}
	altered := next.topic != old.topic || len(next.shards) != len(old.shards)
	for i := range next.shards {
		var present *groupShard
		if next.topic == old.topic && i < len(old.shards) {
			present = old.shards[i]
		}
		next.shards[i] = c.alignOne(ctx, shards, topic.Partition{Topic: next.topic, Index: int32(i)}, present)
		altered = altered || next.shards[i] != present
	}
	if !altered {
		return
	}
	c.table.Store(next)
	for i, shard := range old.shards {
		if shard != nil && (i >= len(next.shards) || next.shards[i] != shard) {
			shard.stop()
		}
	}
}

// alignOne returns the shard that is to be there for a partition, nil for none. A shard that is to be
// followed by another in the same epoch has ended: two of them would append into each other's state.
func (c *coordinator) alignOne(
	ctx context.Context, shards *sync.WaitGroup, p topic.Partition, present *groupShard,
) *groupShard {
	log := c.broker.logs.Log(p)
	if log == nil {
		return nil
	}
	role := log.State().Role
	switch {
	case !role.Leading:
		return nil
	case present != nil && present.log == log && present.epoch == role.Epoch && !present.over():
		return present
	}
	shard := newGroupShard(c, log, role.Epoch)
	ctx, shard.stop = context.WithCancel(ctx)
	shards.Go(func() { shard.run(ctx) })
	return shard
}

// shardOf is the shard of a group: nil if another node coordinates it, or nobody does.
func (c *coordinator) shardOf(name string) *groupShard {
	table := c.table.Load()
	if len(table.shards) == 0 {
		return nil
	}
	return table.shards[groupPartition(name, len(table.shards))]
}

// groupPartition is the partition of a group, as Kafka computes it: Java's hash of the name, whose
// characters are UTF-16.
func groupPartition(name string, partitions int) int32 {
	var hash int32
	for _, r := range name {
		if r >= 0x10000 {
			r -= 0x10000
			hash = 31*hash + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		hash = 31*hash + r
	}
	return (hash & 0x7fffffff) % int32(partitions)
}

// do has a group take a request, whose token is t, and waits for the reply: at most for limit, which
// is only the last resort, since shard and machine have deadlines of their own.
func (c *coordinator) do(
	ctx context.Context, name string, t group.Token, e group.Event, limit time.Duration,
) (any, error) {
	return c.ask(ctx, c.shardOf(name), &groupCall{group: name, token: t, event: e}, limit)
}

// view has a shard show something of its groups.
func (c *coordinator) view(
	ctx context.Context, s *groupShard, look func(shownGroups) any,
) (any, error) {
	return c.ask(ctx, s, &groupCall{token: c.token(), look: look}, lookWait)
}

// lookWait is how long a shard may take to show its groups.
const lookWait = 5 * time.Second

func (c *coordinator) ask(
	ctx context.Context, s *groupShard, call *groupCall, limit time.Duration,
) (any, error) {
	switch {
	case s == nil:
		return nil, errNotCoordinator
	case !s.loaded.Load():
		return nil, errCoordinatorLoading
	}
	call.reply = make(chan group.Reply, 1)
	select {
	case s.mailbox <- call:
	default:
		return nil, errCoordinatorBusy
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case reply := <-call.reply:
		return reply.Result, reply.Err
	case <-s.ended:
		// What it had decided may be in the log, or not.
		return nil, errNotCoordinator
	case <-timer.C:
		return nil, errCoordinatorBusy
	case <-ctx.Done():
		return nil, errNotCoordinator
	}
}
