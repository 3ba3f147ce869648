package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
)

// killAt is when in the window the broker dies: late enough to know the calm, and with time to see
// everything return.
const killAt = 1.0 / 3

// killLeader ends the leader of partition 0 with kill -9.
func (l *load) killLeader(ctx context.Context, out *outcome) error {
	if !l.wait(ctx, l.window.from+scaled(l.window.to-l.window.from, killAt)) {
		return ctx.Err()
	}
	leader, led, nodes, err := l.leader(ctx)
	if err != nil {
		return fmt.Errorf("find a leader: %w", err)
	}
	pid, err := pidOf(leader, nodes, l.target.pids)
	if err != nil {
		return err
	}
	l.history.Fault("kill", fmt.Sprintf("broker %d", leader))
	l.silence.kill(l.now())
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill broker %d: %w", leader, err)
	}
	out.failover = &Gaps{KilledNode: leader, LedPartitions: led}
	return nil
}

// leader is that of partition 0, with how many partitions it leads, and all brokers in order.
func (l *load) leader(ctx context.Context) (leader int32, led int, nodes []int32, err error) {
	metadata, err := kadm.NewClient(l.admin).Metadata(ctx, l.topic)
	if err != nil {
		return 0, 0, nil, err
	}
	topic := metadata.Topics[l.topic]
	if err := topic.Err; err != nil || len(topic.Partitions) == 0 {
		return 0, 0, nil, errors.Join(errors.New("the topic has no partitions"), err)
	}
	leader = topic.Partitions[0].Leader
	for _, p := range topic.Partitions {
		if p.Leader == leader {
			led++
		}
	}
	for _, broker := range metadata.Brokers {
		nodes = append(nodes, broker.NodeID)
	}
	slices.Sort(nodes)
	return leader, led, nodes, nil
}

// pidOf is a broker's process: pids are in the order of the node ids.
func pidOf(node int32, nodes []int32, pids []int) (int, error) {
	if len(nodes) != len(pids) {
		return 0, fmt.Errorf("%d brokers are live and %d processes are known: want one for each", len(nodes), len(pids))
	}
	at := slices.Index(nodes, node)
	if at < 0 {
		return 0, fmt.Errorf("broker %d is none of %v", node, nodes)
	}
	return pids[at], nil
}
