package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// How tools call the protocols that groups are of.
const (
	classicGroup  = "classic"
	consumerGroup = "consumer"
)

// describeConsumers describes those of the named groups that are of the consumer protocol (KIP-848), and
// returns the names of the others.
func describeConsumers(
	ctx context.Context, admin *kadm.Client, names []string,
) (views []groupView, others []string, err error) {
	described, err := admin.DescribeConsumerGroups(ctx, names...)
	if err != nil {
		return nil, nil, fmt.Errorf("describe groups: %w", err)
	}
	return viewKnown(names, func(name string) (groupView, error) {
		g, found := described[name]
		if err := refusal(name, found, g.Err); err != nil {
			return groupView{}, err
		}
		return viewConsumers(ctx, admin, &g)
	})
}

// errOtherProtocol: a group is not of the protocol that was asked for, or not at all.
var errOtherProtocol = errors.New("group is of another protocol")

// refusal is why a group cannot be shown, nil if it can.
func refusal(name string, described bool, err error) error {
	switch {
	case !described || errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnsupportedVersion):
		return errOtherProtocol // or the brokers do not have that protocol, and so no group of it
	case err != nil:
		return explainGroup("describe group "+name, err)
	}
	return nil
}

// viewKnown shows the groups that view knows, and returns the names of those of another protocol.
func viewKnown(names []string, view func(name string) (groupView, error)) (views []groupView, others []string, err error) {
	for _, name := range names {
		one, err := view(name)
		switch {
		case errors.Is(err, errOtherProtocol):
			others = append(others, name)
		case err != nil:
			return nil, nil, err
		default:
			views = append(views, one)
		}
	}
	return views, others, nil
}

// viewConsumers adds offsets and lag, as the classic description has them, to a consumer group.
func viewConsumers(ctx context.Context, admin *kadm.Client, g *kadm.DescribedConsumerGroup) (groupView, error) {
	view := groupView{
		Group: g.Group, State: g.State, ProtocolType: "consumer", Protocol: consumerGroup,
		Coordinator: g.Coordinator.NodeID, Assignor: g.AssignorName, Epoch: g.Epoch,
	}
	committed, err := admin.FetchOffsets(ctx, g.Group)
	if err != nil {
		return view, refusal(g.Group, true, err) // it may be gone by now
	}
	owners := map[string]map[int32]string{}
	for _, t := range committed.Offsets().TopicsSet().Topics() {
		owners[t] = map[int32]string{}
	}
	committed.Each(func(o kadm.OffsetResponse) { owners[o.Topic][o.Partition] = "" })
	for i := range g.Members {
		m := &g.Members[i]
		view.Members = append(view.Members, viewConsumer(m))
		for _, p := range m.Assignment.IntoList() {
			if owners[p.Topic] == nil {
				owners[p.Topic] = map[int32]string{}
			}
			for _, partition := range p.Partitions {
				owners[p.Topic][partition] = m.MemberID
			}
		}
	}
	if len(owners) == 0 {
		return view, nil // without names, the ends of all topics would be listed
	}
	topics := slices.Sorted(maps.Keys(owners))
	progress := groupProgress{committed: committed}
	if progress.starts, err = admin.ListStartOffsets(ctx, topics...); err != nil {
		return view, fmt.Errorf("list starts of %s: %w", topicsText(topics), err)
	}
	if progress.ends, err = admin.ListEndOffsets(ctx, topics...); err != nil {
		return view, fmt.Errorf("list ends of %s: %w", topicsText(topics), err)
	}
	for _, topic := range topics {
		for _, partition := range slices.Sorted(maps.Keys(owners[topic])) {
			view.Offsets = append(view.Offsets, progress.view(topic, partition, owners[topic][partition]))
		}
	}
	return view, nil
}

func viewConsumer(m *kadm.ConsumerGroupMember) groupMemberView {
	one := groupMemberView{
		Member: m.MemberID, Instance: m.InstanceID, ClientID: m.ClientID, Host: m.ClientHost, Epoch: m.MemberEpoch,
	}
	one.assign(m.Assignment)
	return one
}

// groupProgress is how far a group has come, and between which offsets.
type groupProgress struct {
	committed    kadm.OffsetResponses
	starts, ends kadm.ListedOffsets
}

// view shows one partition, which a member has, or nobody. Where nothing is committed everything that is
// there lies before the group; a start that is not known counts as 0.
func (p groupProgress) view(topic string, partition int32, member string) groupOffsetView {
	one := groupOffsetView{Topic: topic, Partition: partition, Committed: -1, End: -1, Lag: -1, Member: member}
	from := int64(0)
	if start, ok := p.starts.Lookup(topic, partition); ok && start.Err == nil {
		from = start.Offset
	}
	if o, ok := p.committed.Lookup(topic, partition); ok && o.At >= 0 {
		one.Committed, from = o.At, o.At
	}
	switch end, ok := p.ends.Lookup(topic, partition); {
	case !ok:
		one.Error = kerr.UnknownTopicOrPartition.Message
	case end.Err != nil:
		one.Error = end.Err.Error()
	default:
		one.End = end.Offset
		one.Lag = max(end.Offset-from, 0)
	}
	return one
}
