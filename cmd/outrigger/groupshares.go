package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
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
	for _, name := range names {
		switch g, found := described[name]; {
		case !found || errors.Is(g.Err, kerr.GroupIDNotFound):
			others = append(others, name)
		case g.Err != nil:
			return nil, nil, explainGroup("describe group "+name, g.Err)
		default:
			view, err := viewShares(ctx, admin, &g)
			if err != nil {
				return nil, nil, err
			}
			views = append(views, view)
		}
	}
	return views, others, nil
}

// viewShares shows where a share group begins in each partition, and how much is left for it from there on.
func viewShares(ctx context.Context, admin *kadm.Client, g *kadm.DescribedShareGroup) (groupView, error) {
	view := groupView{
		Group: g.GroupID, State: g.GroupState, ProtocolType: shareGroup, Protocol: shareGroup,
		Coordinator: g.Coordinator.NodeID, Assignor: g.Assignor, Epoch: g.GroupEpoch,
	}
	for _, m := range g.Members {
		one := groupMemberView{Member: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost, Epoch: m.MemberEpoch}
		for _, t := range m.Assignment.IntoList() {
			one.Partitions += len(t.Partitions)
		}
		view.Members = append(view.Members, one)
	}
	offsets, err := admin.DescribeShareGroupOffsets(ctx, g.GroupID)
	if err == nil {
		err = offsets[g.GroupID].Err
	}
	if err != nil {
		return view, explainGroup("describe offsets of "+g.GroupID, err)
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
