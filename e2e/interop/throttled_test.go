package interop

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
)

// throttled begins a reassignment that would take hours, looks at it, and takes it back; and then has one at a rate that
// it comes to its end with. No throttle is left of either.
func throttled(ctx context.Context, c *cluster, cl *client) error {
	return administered(c, cl, func(with talker, adm *kadm.Client) error {
		topic := fresh("throttled." + cl.name)
		if err := c.topic(ctx, topic, 1, 2); err != nil {
			return err
		}
		var written []record
		for i := range 5 { // a throttle bounds what comes after a batch
			some, err := c.write(ctx, topic, "none", numbered(60*i, 60, 1))
			if err != nil {
				return err
			}
			written = append(written, some...)
		}
		found, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		old := found[topic].Partitions[0].Replicas
		if len(old) != 2 {
			return fmt.Errorf("the partition has replicas %v, want two of three", old)
		}
		target := fmt.Sprintf("%d,%d", 6-old[0]-old[1], old[1])
		if _, err := with.ask(ctx, "reassign-slowly", topic, "0", target, "1"); err != nil {
			return err
		}
		if err := errorOf(
			awaits(ctx, with, "1", "reassigning", topic, "0"),
			awaits(ctx, with, "progress", "reassign-verify", topic, "0", target),
		); err != nil {
			return err
		}
		if listed, err := throttlesOf(ctx, adm, topic); err != nil || listed != 2 {
			return fmt.Errorf("%d lists of throttled replicas, want two: %w", listed, err)
		}
		if _, err := with.ask(ctx, "reassign-cancel", topic, "0", target); err != nil {
			return err
		}
		if err := unthrottled(ctx, with, adm, topic, old); err != nil {
			return fmt.Errorf("taken back: %w", err)
		}
		if _, err := with.ask(ctx, "reassign-slowly", topic, "0", target, "100000000"); err != nil {
			return err
		}
		if err := awaits(ctx, with, "completed", "reassign-verify", topic, "0", target); err != nil {
			return err
		}
		if err := unthrottled(ctx, with, adm, topic, []int32{6 - old[0] - old[1], old[1]}); err != nil {
			return fmt.Errorf("moved: %w", err)
		}
		read, err := c.read(ctx, topic, false)
		if err != nil {
			return err
		}
		return sameRecords(read, written)
	})
}

// unthrottled wants replicas of which none moves, and no throttle.
func unthrottled(ctx context.Context, with talker, adm *kadm.Client, topic string, replicas []int32) error {
	return errorOf(awaits(ctx, with, "0", "reassigning", topic, "0"), eventually(ctx, func() error {
		found, err := adm.ListTopics(ctx, topic)
		if got := found[topic].Partitions[0].Replicas; err != nil || !slices.Equal(got, replicas) {
			return fmt.Errorf("replicas %v, want %v: %w", got, replicas, err)
		}
		// The tool clears throttles only while nothing else moves, as other cells have it: then it is asked again.
		target := fmt.Sprintf("%d,%d", replicas[0], replicas[1])
		if err := expect(ctx, with, "completed", "reassign-verify", topic, "0", target); err != nil {
			return err
		}
		if listed, err := throttlesOf(ctx, adm, topic); err != nil || listed != 0 {
			return fmt.Errorf("%d lists of throttled replicas, want none: %w", listed, err)
		}
		return nil
	}))
}

// throttlesOf counts the topic's lists of throttled replicas that name some.
func throttlesOf(ctx context.Context, adm *kadm.Client, topic string) (listed int, err error) {
	described, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return 0, err
	}
	for _, config := range described[0].Configs {
		name := config.Key
		if (name == "leader.replication.throttled.replicas" || name == "follower.replication.throttled.replicas") && config.MaybeValue() != "" {
			listed++
		}
	}
	return listed, described[0].Err
}
