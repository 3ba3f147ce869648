package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupFlags are common to the `group` commands.
type groupFlags struct{ topicFlags }

func newGroup() *cobra.Command {
	f := &groupFlags{}
	command := asGroup(&cobra.Command{Use: "group", Short: "List, describe, reset and delete consumer and share groups"})
	f.register(command)
	command.AddCommand(f.list(), f.describe(), f.resetOffsets(), f.delete())
	return command
}

// groupView is a group as it is shown.
type groupView struct {
	Group        string            `json:"group"`
	State        string            `json:"state"`
	ProtocolType string            `json:"protocol_type"`
	Protocol     string            `json:"protocol"`
	Epoch        int32             `json:"epoch,omitempty"`
	Coordinator  int32             `json:"coordinator"`
	Assignor     string            `json:"assignor,omitempty"`
	Members      []groupMemberView `json:"members,omitempty"`
	Offsets      []groupOffsetView `json:"offsets,omitempty"`
}

type groupMemberView struct {
	Member     string  `json:"member"`
	Instance   *string `json:"instance,omitempty"`
	ClientID   string  `json:"client_id"`
	Host       string  `json:"host"`
	Epoch      int32   `json:"epoch,omitempty"`
	Partitions int     `json:"partitions"`
}

// groupOffsetView is how far a group has come in one partition; -1 is unknown.
type groupOffsetView struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Error     string `json:"error,omitempty"`
}

func (f *groupFlags) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List groups",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				listed, err := admin.ListGroups(ctx)
				if err != nil {
					return fmt.Errorf("list groups: %w", err)
				}
				consumers, err := admin.ListGroupsByType(ctx, []string{consumerGroup})
				if err != nil {
					return fmt.Errorf("list groups: %w", err)
				}
				shares, err := admin.ListGroupsByType(ctx, []string{shareGroup})
				if err != nil {
					return fmt.Errorf("list groups: %w", err)
				}
				views := []groupView{}
				for _, g := range listed.Sorted() {
					protocol := classicGroup
					if _, is := consumers[g.Group]; is {
						protocol = consumerGroup
					}
					if _, is := shares[g.Group]; is {
						protocol = shareGroup
					}
					views = append(views, groupView{
						Group: g.Group, State: g.State, ProtocolType: g.ProtocolType, Coordinator: g.Coordinator,
						Protocol: protocol,
					})
				}
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(views)
				}
				return writeGroupList(c.OutOrStdout(), views)
			})
		},
	}
}

func writeGroupList(out io.Writer, views []groupView) error {
	if len(views) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "GROUP\tSTATE\tTYPE\tPROTOCOL\tCOORDINATOR")
	for _, v := range views {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\n", v.Group, v.State, orDash(v.ProtocolType), v.Protocol, v.Coordinator)
	}
	return table.Flush()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func (f *groupFlags) describe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe [GROUP...]",
		Short: "Describe groups with members, offsets and lag, all of them if none is named",
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				views, err := describeGroups(ctx, admin, args)
				if err != nil {
					return err
				}
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(views)
				}
				return writeGroups(c.OutOrStdout(), views)
			})
		},
	}
}

func describeGroups(ctx context.Context, admin *kadm.Client, names []string) ([]groupView, error) {
	if len(names) == 0 {
		listed, err := admin.ListGroups(ctx)
		if err != nil {
			return nil, fmt.Errorf("list groups: %w", err)
		}
		if names = listed.Groups(); len(names) == 0 {
			return []groupView{}, nil
		}
	}
	views, names, err := describeConsumers(ctx, admin, names)
	if err != nil {
		return nil, err
	}
	var shares []groupView
	if len(names) > 0 {
		if shares, names, err = describeShares(ctx, admin, names); err != nil {
			return nil, err
		}
		views = append(views, shares...)
	}
	if len(names) == 0 {
		slices.SortFunc(views, func(a, b groupView) int { return strings.Compare(a.Group, b.Group) })
		return views, nil
	}
	lags, err := admin.Lag(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("describe groups: %w", err)
	}
	for _, lag := range lags.Sorted() {
		err := lag.Error()
		if err == nil && lag.State == deadGroup {
			err = kerr.GroupIDNotFound // what brokers say in versions before KIP-1043
		}
		if err := explainGroup("describe group "+lag.Group, err); err != nil {
			return nil, err
		}
		views = append(views, viewGroup(lag))
	}
	slices.SortFunc(views, func(a, b groupView) int { return strings.Compare(a.Group, b.Group) })
	return views, nil
}

func viewGroup(lag kadm.DescribedGroupLag) groupView {
	view := groupView{
		Group: lag.Group, State: lag.State, ProtocolType: lag.ProtocolType, Protocol: classicGroup,
		Coordinator: lag.Coordinator.NodeID, Assignor: lag.Protocol,
	}
	for _, m := range lag.Members {
		one := groupMemberView{Member: m.MemberID, Instance: m.InstanceID, ClientID: m.ClientID, Host: m.ClientHost}
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range assigned.Topics {
				one.Partitions += len(t.Partitions)
			}
		}
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
			fmt.Fprintln(table, "  MEMBER\tINSTANCE\tCLIENT\tHOST\tPARTITIONS")
		}
		for _, m := range v.Members {
			instance := "-"
			if m.Instance != nil {
				instance = *m.Instance
			}
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%d\n", m.Member, instance, orDash(m.ClientID), m.Host, m.Partitions)
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

func (f *groupFlags) delete() *cobra.Command {
	return &cobra.Command{
		Use:   "delete GROUP...",
		Short: "Delete groups without members, and their offsets",
		Args:  func(c *cobra.Command, args []string) error { return asUsage(cobra.MinimumNArgs(1)(c, args)) },
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				deleted, err := admin.DeleteGroups(ctx, args...)
				if err != nil {
					return fmt.Errorf("delete groups: %w", err)
				}
				var failed []error
				for _, name := range slices.Sorted(maps.Keys(deleted)) {
					if err := explainGroup("delete group "+name, deleted[name].Err); err != nil {
						failed = append(failed, err)
						continue
					}
					if err := f.print(c.OutOrStdout(), name+" deleted", map[string]string{"deleted": name}); err != nil {
						return err
					}
				}
				return errors.Join(failed...)
			})
		},
	}
}

// topicsText lists names for a sentence.
func topicsText(names []string) string { return strings.Join(names, ", ") }
