package broker

import (
	"context"
	"sync/atomic"
	"time"

	"outrigger/broker/group"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// offsetsTopic keeps the state of consumer groups.
const offsetsTopic = "__consumer_offsets"

// coordinator is this node's part in coordinating consumer groups.
type coordinator struct {
	*shards[*groupShard]
	cfg    group.Config
	tokens atomic.Uint64
	topics catalogCache
}

func newCoordinator(b *Broker) *coordinator {
	c := &coordinator{
		shards: newShards[*groupShard](b, offsetsTopic), cfg: b.config.Groups.machine(b.config.Topics.MessageBytesMax),
	}
	c.cfg.Shares = b.config.Shares.members()
	c.make = func(log *partition.Log, epoch topic.Epoch) *groupShard { return newGroupShard(c, log, epoch) }
	return c
}

// now is the time for group machines.
func (c *coordinator) now() group.Time {
	now := time.Now()
	return group.Time{Mono: now.Sub(c.began).Milliseconds(), Wall: now.UnixMilli()}
}

// token names a request.
func (c *coordinator) token() group.Token { return group.Token(c.tokens.Add(1)) }

// groupPartition is the partition of a group: Java's hash of the name, whose characters are UTF-16, without
// its sign. Kafka takes the absolute value, so a name with a negative hash has another partition there. It
// must stay as it is: with another one, brokers of two versions would each have a coordinator for a group,
// and the offsets that were committed before would be found no more.
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
	if s == nil {
		return nil, errNotCoordinator
	}
	call.reply = make(chan group.Reply, 1)
	reply, err := await(ctx, &s.shardCore, s.mailbox, call, call.reply, limit)
	if err != nil {
		return nil, err
	}
	return reply.Result, reply.Err
}
