package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func (f *groupFlags) describe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe [GROUP...]",
		Short: "Describe groups with members, offsets and lag, all of them if none is named",
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				views, err := describeGroups(ctx, admin, args)
				return show(&f.topicFlags, c.OutOrStdout(), views, err, writeGroups)
			})
		},
	}
}

// describeGroups describes the groups that are named, or all.
func describeGroups(ctx context.Context, admin *kadm.Client, names []string) ([]groupView, error) {
	if len(names) > 0 {
		return describeNamed(ctx, admin, names, false)
	}
	listed, err := admin.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	return describeNamed(ctx, admin, listed.Groups(), true)
}

// describeNamed describes groups by name. One that is gone is left out if the names come from a list, since
// it may have ended meanwhile, and else refused.
func describeNamed(ctx context.Context, admin *kadm.Client, names []string, listed bool) ([]groupView, error) {
	views := []groupView{}
	for _, describe := range []func(context.Context, *kadm.Client, []string) ([]groupView, []string, error){
		describeConsumers, describeShares, describeClassics,
	} {
		if len(names) == 0 {
			break // none would be taken for all
		}
		some, others, err := describe(ctx, admin, names)
		if err != nil {
			return nil, err
		}
		views, names = append(views, some...), others
	}
	if len(names) > 0 && !listed {
		return nil, errNoGroup("describe group " + names[0])
	}
	slices.SortFunc(views, func(a, b groupView) int { return strings.Compare(a.Group, b.Group) })
	return views, nil
}

// describeClassics describes those of the named groups that are of the classic protocol, and returns the
// names of the others.
func describeClassics(
	ctx context.Context, admin *kadm.Client, names []string,
) (views []groupView, others []string, err error) {
	lags, err := admin.Lag(ctx, slices.Clone(names)...) // it writes into what it is given
	if err != nil {
		return nil, nil, fmt.Errorf("describe groups: %w", err)
	}
	return viewKnown(names, func(name string) (groupView, error) {
		lag, found := lags[name]
		if lag.State == deadGroup {
			found = false
		}
		if err := refusal(name, found, lag.Error()); err != nil {
			return groupView{}, err
		}
		return viewGroup(lag), nil
	})
}

func viewGroup(lag kadm.DescribedGroupLag) groupView {
	view := groupView{
		Group: lag.Group, State: lag.State, ProtocolType: lag.ProtocolType, Protocol: classicGroup,
		Coordinator: lag.Coordinator.NodeID, Assignor: lag.Protocol,
	}
	for _, m := range lag.Members {
		one := groupMemberView{Member: m.MemberID, Instance: m.InstanceID, ClientID: m.ClientID, Host: m.ClientHost}
		assigned := kadm.TopicsSet{}
		if consumer, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range consumer.Topics {
				assigned.Add(t.Topic, t.Partitions...)
			}
		}
		one.assign(assigned)
		view.Members = append(view.Members, one)
	}
	for _, l := range lag.Lag.Sorted() {
		one := groupOffsetView{Topic: l.Topic, Partition: l.Partition, Committed: l.Commit.At, End: l.End.Offset, Lag: l.Lag}
		if l.Member != nil {
			one.Member = l.Member.MemberID
		}
		if l.Err != nil {
			one.Error = l.Err.Error()
		}
		view.Offsets = append(view.Offsets, one)
	}
	return view
}

func writeGroups(out io.Writer, views []groupView) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, v := range views {
		if i > 0 {
			fmt.Fprintln(table)
		}
		fmt.Fprintf(table, "%s\n  %s, type %s, %s protocol, coordinator %d, %d members%s\n", v.Group, v.State,
			orDash(v.ProtocolType), v.Protocol, v.Coordinator, len(v.Members), assignorText(v.Assignor))
		if len(v.Members) > 0 {
			fmt.Fprintln(table, "  MEMBER\tINSTANCE\tCLIENT\tHOST\tPARTITIONS\tASSIGNMENT")
		}
		for _, m := range v.Members {
			instance := "-"
			if m.Instance != nil {
				instance = *m.Instance
			}
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%d\t%s\n", m.Member, instance, orDash(m.ClientID), m.Host, m.Partitions,
				orDash(m.assignmentText()))
		}
		if len(v.Offsets) > 0 {
			fmt.Fprintln(table, "  TOPIC\tPARTITION\tCOMMITTED\tEND\tLAG\tMEMBER\t")
		}
		for _, o := range v.Offsets {
			fmt.Fprintf(table, "  %s\t%d\t%s\t%s\t%s\t%s\t%s\n", o.Topic, o.Partition, known(o.Committed), known(o.End),
				known(o.Lag), orDash(o.Member), o.Error)
		}
	}
	return table.Flush()
}

func assignorText(assignor string) string {
	if assignor == "" {
		return ""
	}
	return ", assignor " + assignor
}

func known(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
