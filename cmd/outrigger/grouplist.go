package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What the answers to --state and --type may be. A broker finds no group in a state that it does not know, and
// says nothing.
var (
	groupStates = []string{
		"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Assigning", "Reconciling", deadGroup,
	}
	groupTypes = []string{classicGroup, consumerGroup, shareGroup, "streams"}
)

// The versions of ListGroups that select by state (KIP-518) and by type (KIP-848).
const (
	listsByState = 4
	listsByType  = 5
)

// groupFilter says which groups to list; all of any state or type if none is named.
type groupFilter struct{ states, types []string }

func (f *groupFlags) list() *cobra.Command {
	filter := groupFilter{}
	command := &cobra.Command{
		Use:   "list",
		Short: "List groups",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := filter.validate(); err != nil {
				return err
			}
			return f.within(c.Context(), func(ctx context.Context, client *kgo.Client, _ *kadm.Client) error {
				views, err := listGroups(ctx, client, filter)
				return show(&f.topicFlags, c.OutOrStdout(), views, err, writeGroupList)
			})
		},
	}
	flags := command.Flags()
	flags.StringSliceVar(&filter.states, "state", nil, "only those in one of these states: "+strings.Join(groupStates, ", "))
	flags.StringSliceVar(&filter.types, "type", nil, "only those of one of these types: "+strings.Join(groupTypes, ", "))
	return command
}

// validate wants states and types that there are.
func (f *groupFilter) validate() error {
	return errors.Join(canonical("state", f.states, groupStates), canonical("type", f.types, groupTypes))
}

// canonical writes what was given for a flag, in any case, as it is known.
func canonical(flag string, given, known []string) error {
	for i, name := range given {
		at := slices.IndexFunc(known, func(s string) bool { return strings.EqualFold(s, name) })
		if at < 0 {
			return &usageError{fmt.Errorf("--%s %s is refused: want one of %s", flag, name, strings.Join(known, ", "))}
		}
		given[i] = known[at]
	}
	return nil
}

// listGroups asks all brokers which groups they coordinate.
func listGroups(ctx context.Context, client *kgo.Client, filter groupFilter) ([]groupView, error) {
	q := kmsg.NewPtrListGroupsRequest()
	q.StatesFilter, q.TypesFilter = filter.states, filter.types
	views := []groupView{}
	for _, shard := range client.RequestSharded(ctx, q) {
		if shard.Err != nil {
			return nil, fmt.Errorf("list groups of broker %d: %w", shard.Meta.NodeID, shard.Err)
		}
		response := shard.Resp.(*kmsg.ListGroupsResponse)
		doing := fmt.Sprintf("list groups of broker %d", shard.Meta.NodeID)
		if err := explain(doing, kerr.ErrorForCode(response.ErrorCode), ""); err != nil {
			return nil, err
		}
		switch {
		case len(filter.states) > 0 && response.Version < listsByState:
			return nil, fmt.Errorf("%s: it is too old for --state; leave that away", doing)
		case len(filter.types) > 0 && response.Version < listsByType:
			return nil, fmt.Errorf("%s: it is too old for --type; leave that away", doing)
		}
		for _, g := range response.Groups {
			views = append(views, groupView{
				Group: g.Group, State: g.GroupState, ProtocolType: g.ProtocolType, Coordinator: shard.Meta.NodeID,
				// A broker that does not tell the type has no others.
				Protocol: cmp.Or(strings.ToLower(g.GroupType), classicGroup),
			})
		}
	}
	slices.SortFunc(views, func(a, b groupView) int { return strings.Compare(a.Group, b.Group) })
	return views, nil
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
