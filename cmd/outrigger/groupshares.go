package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
)

// shareGroup is how tools call the protocol of share groups.
const shareGroup = "share"

// describeShares describes those of the named groups that are share groups (KIP-932), and returns the names
// of the others.
func describeShares(
	ctx context.Context, admin *kadm.Client, names []string,
) (views []groupView, others []string, err error) {
	described, err := admin.DescribeShareGroups(ctx, names...)
	if err != nil {
		return nil, nil, fmt.Errorf("describe groups: %w", err)
	}
	return viewKnown(names, func(name string) (groupView, error) {
		g, found := described[name]
		if err := refusal(name, found, g.Err); err != nil {
			return groupView{}, err
		}
		return viewShares(ctx, admin, &g)
	})
}

// viewShares shows where a share group begins in each partition, and how much is left for it from there on.
func viewShares(ctx context.Context, admin *kadm.Client, g *kadm.DescribedShareGroup) (groupView, error) {
	view := groupView{
		Group: g.GroupID, State: g.GroupState, ProtocolType: shareGroup, Protocol: shareGroup,
		Coordinator: g.Coordinator.NodeID, Assignor: g.Assignor, Epoch: g.GroupEpoch,
	}
	for _, m := range g.Members {
		one := groupMemberView{Member: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost, Epoch: m.MemberEpoch}
		one.assign(m.Assignment)
		view.Members = append(view.Members, one)
	}
	offsets, err := admin.DescribeShareGroupOffsets(ctx, g.GroupID)
	if err == nil {
		err = offsets[g.GroupID].Err
	}
	if err != nil {
		return view, refusal(g.GroupID, true, err) // it may be gone by now
	}
	for _, o := range offsets[g.GroupID].Offsets.Sorted() {
		one := groupOffsetView{Topic: o.Topic, Partition: o.Partition, Committed: o.StartOffset, End: -1, Lag: o.Lag}
		if o.Err != nil {
			one.Error = o.Err.Error()
		}
		view.Offsets = append(view.Offsets, one)
	}
	return view, nil
}
