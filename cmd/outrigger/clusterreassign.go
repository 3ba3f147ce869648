package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/cmd/outrigger/internal/moves"
	"outrigger/cmd/outrigger/internal/rebalance"
)

// Under implements moves.Reassigner.
func (a *admins) Under(ctx context.Context) ([]moves.Move, error) {
	views, err := listMoves(ctx, a)
	var under []moves.Move
	for _, v := range views {
		under = append(under, v.move())
	}
	return under, err
}

func (r *reassignmentView) move() moves.Move {
	return moves.Move{Partition: moves.Partition{Topic: r.Topic, Index: r.Partition}, Adding: r.Adding}
}

// listMoves lists the reassignments under way.
func listMoves(ctx context.Context, a *admins) ([]reassignmentView, error) {
	q := kmsg.NewPtrListPartitionReassignmentsRequest()
	q.TimeoutMillis = int32(topicTimeout.Milliseconds())
	r, err := q.RequestWith(ctx, a.client)
	if err == nil {
		err = kerr.ErrorForCode(r.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("list reassignments: %w", err)
	}
	var under []reassignmentView
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			under = append(under, reassignmentView{
				Topic: t.Topic, Partition: p.Partition, Replicas: p.Replicas, Adding: p.AddingReplicas, Removing: p.RemovingReplicas,
			})
		}
	}
	return under, nil
}

// Begin implements moves.Reassigner. A topic that was deleted since the plan was made needs no move.
func (a *admins) Begin(ctx context.Context, plan rebalance.Plan) error {
	var q kadm.AlterPartitionAssignmentsReq
	for _, move := range plan {
		q.Assign(move.Topic, move.Partition, move.To)
	}
	return a.reassign(ctx, "reassign", q, kerr.UnknownTopicOrPartition)
}

// TakeBack implements moves.Reassigner.
func (a *admins) TakeBack(ctx context.Context, under []moves.Move) error {
	var q kadm.AlterPartitionAssignmentsReq
	for _, move := range under {
		q.CancelAssign(move.Topic, move.Index)
	}
	return a.reassign(ctx, "take back the reassignment of", q, kerr.UnknownTopicOrPartition, kerr.NoReassignmentInProgress)
}

// reassign asks for reassignments; fine are answers that need no further thought.
func (a *admins) reassign(ctx context.Context, doing string, q kadm.AlterPartitionAssignmentsReq, fine ...error) error {
	answers, err := a.admin.AlterPartitionAssignments(ctx, q)
	if err != nil {
		return fmt.Errorf("alter reassignments: %w", err)
	}
	for _, answer := range answers.Sorted() {
		if !slices.ContainsFunc(fine, func(err error) bool { return errors.Is(answer.Err, err) }) && answer.Err != nil {
			return explain(fmt.Sprintf("%s %s-%d", doing, answer.Topic, answer.Partition), answer.Err, answer.ErrMessage)
		}
	}
	return nil
}

// PreferLeaders implements moves.Reassigner. Who cannot lead yet will, as the controller's own balance goes.
func (a *admins) PreferLeaders(ctx context.Context, moved []moves.Partition) error {
	var set kadm.TopicsSet
	for _, p := range moved {
		set.Add(p.Topic, p.Index)
	}
	if _, err := a.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, set); err != nil {
		return fmt.Errorf("elect preferred leaders: %w", err)
	}
	return nil
}

// Rate implements moves.Throttle.
func (a *admins) Rate(ctx context.Context) (int64, error) {
	// Without a name the request tells what was set for all brokers.
	configs, err := a.admin.DescribeBrokerConfigs(ctx)
	if err != nil {
		return 0, fmt.Errorf("describe configs of all brokers: %w", err)
	}
	for _, of := range configs {
		if of.Err != nil {
			return 0, fmt.Errorf("describe configs of all brokers: %w", of.Err)
		}
		for _, c := range of.Configs {
			if c.Key == moves.RateConfig {
				return strconv.ParseInt(c.MaybeValue(), 10, 64)
			}
		}
	}
	return 0, nil
}

// SetRate implements moves.Throttle.
func (a *admins) SetRate(ctx context.Context, rate int64) error {
	change := kadm.AlterConfig{Op: kadm.DeleteConfig, Name: moves.RateConfig}
	if rate > 0 {
		change.Op, change.Value = kadm.SetConfig, kmsg.StringPtr(strconv.FormatInt(rate, 10))
	}
	answers, err := a.admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{change})
	if err != nil {
		return fmt.Errorf("set %s: %w", moves.RateConfig, err)
	}
	for _, answer := range answers {
		err = errors.Join(err, explain("set "+moves.RateConfig, answer.Err, answer.ErrMessage))
	}
	return err
}

// sizes asks how much of its leader's log each new replica has: the sum over the new replicas of a partition.
// Partitions of which somebody does not tell are left out.
func (a *admins) sizes(ctx context.Context, under []moves.Move) map[moves.Partition]moves.Filled {
	if len(under) == 0 {
		return nil
	}
	var set kadm.TopicsSet
	topics := map[string]bool{}
	for _, m := range under {
		set.Add(m.Topic, m.Index)
		topics[m.Topic] = true
	}
	names := make([]string, 0, len(topics))
	for name := range topics {
		names = append(names, name)
	}
	// Whoever does not answer says nothing of its replicas; what the others say counts.
	metadata, err := a.admin.Metadata(ctx, names...)
	if err != nil {
		return nil
	}
	dirs, _ := a.admin.DescribeAllLogDirs(ctx, set)
	filled := map[moves.Partition]moves.Filled{}
	for _, m := range under {
		leader := metadata.Topics[m.Topic].Partitions[m.Index].Leader
		if f, known := fillingOf(dirs, m, leader); known {
			filled[m.Partition] = f
		}
	}
	return filled
}

// fillingOf is how far the new replicas of one partition are. A replica that is not begun has nothing.
func fillingOf(dirs kadm.DescribedAllLogDirs, m moves.Move, leader int32) (moves.Filled, bool) {
	whole, known := dirs[leader].LookupPartition(m.Topic, m.Index)
	if !known || len(m.Adding) == 0 {
		return moves.Filled{}, false
	}
	f := moves.Filled{}
	for _, id := range m.Adding {
		if _, answered := dirs[id]; !answered {
			return moves.Filled{}, false
		}
		// What a leader has compacted away may not be gone from a copy yet.
		part, _ := dirs[id].LookupPartition(m.Topic, m.Index)
		f.Bytes, f.Of = f.Bytes+min(part.Size, whole.Size), f.Of+whole.Size
	}
	return f, true
}
