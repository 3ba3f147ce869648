package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// forgottenView is a partition whose offset a group is to forget.
type forgottenView struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Offset is the one that the group had, -1 if none.
	Offset int64 `json:"offset"`
	// Error says why the group still has it.
	Error string `json:"error,omitempty"`
	err   error
}

func (f *groupFlags) deleteOffsets() *cobra.Command {
	var topics []string
	command := &cobra.Command{
		Use:   "delete-offsets GROUP --topic TOPIC...",
		Short: "Have a group forget its offsets of topics that it does not read any more",
		Long: `Have a group forget its offsets of topics that none of its members is subscribed to.
A share group must have no members, and forgets whole topics.`,
		Args: exactlyArguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			named, err := parsePartitions(topics)
			if err != nil {
				return &usageError{fmt.Errorf("--topic %s is refused: %w", topicsText(topics), err)}
			}
			if len(named) == 0 {
				return &usageError{errors.New("say of which topics with --topic")}
			}
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				views, err := forgetOffsets(ctx, admin, args[0], named)
				if err != nil {
					return err
				}
				return f.printForgotten(c.OutOrStdout(), args[0], views)
			})
		},
	}
	command.Flags().StringArrayVar(&topics, "topic", nil, "topic, or some of its partitions as in orders:0,1; may be repeated")
	return command
}

// forgetOffsets deletes the offsets of the named partitions: of those that the group has offsets of, where a
// whole topic is named.
func forgetOffsets(ctx context.Context, admin *kadm.Client, name string, named namedPartitions) ([]forgottenView, error) {
	g, err := findGroup(ctx, admin, name)
	if err != nil {
		return nil, err
	}
	doing := "delete offsets of " + name
	if g.protocol == "" {
		return nil, errNoGroup(doing)
	}
	current, err := g.offsets(ctx, admin)
	if err != nil {
		return nil, err
	}
	for _, topic := range named.topics() {
		switch {
		case len(current[topic]) == 0:
			return nil, fmt.Errorf("%s: it has none of topic %s; `outrigger group describe %s` shows those that it has", doing, topic, name)
		case named[topic] == nil:
			named[topic] = slices.Sorted(maps.Keys(current[topic]))
		case g.protocol == shareGroup:
			return nil, fmt.Errorf("%s: a share group forgets whole topics; give --topic %s", doing, topic)
		}
	}
	errs, err := g.forget(ctx, admin, named)
	if err != nil {
		return nil, explainGroup(doing, err)
	}
	var views []forgottenView
	for _, topic := range named.topics() {
		for _, partition := range named[topic] {
			v := forgottenView{Topic: topic, Partition: partition, Offset: -1}
			if o, ok := current.Lookup(topic, partition); ok {
				v.Offset = o.At
			}
			if err := errs(topic, partition); err != nil {
				v.err = explainGroup(fmt.Sprintf("%s in %s-%d", doing, topic, partition), err)
				v.Error = v.err.Error()
			}
			views = append(views, v)
		}
	}
	return views, nil
}

// forget deletes offsets of the group, and returns what became of each.
func (g foundGroup) forget(
	ctx context.Context, admin *kadm.Client, named namedPartitions,
) (errs func(topic string, partition int32) error, err error) {
	if g.protocol == shareGroup {
		deleted, err := admin.DeleteShareGroupOffsets(ctx, g.name, named.topics()...)
		return func(topic string, _ int32) error {
			err, told := deleted.Lookup(topic)
			return orUntold(err, told)
		}, err
	}
	set := kadm.TopicsSet{}
	for topic, partitions := range named {
		set.Add(topic, partitions...)
	}
	deleted, err := admin.DeleteOffsets(ctx, g.name, set)
	return func(topic string, partition int32) error {
		err, told := deleted.Lookup(topic, partition)
		return orUntold(err, told)
	}, err
}

// orUntold takes what a broker did not tell for a failure.
func orUntold(err error, told bool) error {
	if !told {
		return kerr.UnknownServerError
	}
	return err
}

// printForgotten prints what became of each partition, and fails if it did not work for one.
func (f *groupFlags) printForgotten(out io.Writer, name string, views []forgottenView) error {
	var failed []error
	for _, v := range views {
		failed = append(failed, v.err)
	}
	if f.asJSON {
		return errors.Join(json.NewEncoder(out).Encode(views), errors.Join(failed...))
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	header := false
	for _, v := range views {
		if v.err != nil {
			continue
		}
		if !header {
			fmt.Fprintf(table, "%s has forgotten\n  TOPIC\tPARTITION\tOFFSET\n", name)
			header = true
		}
		fmt.Fprintf(table, "  %s\t%d\t%s\n", v.Topic, v.Partition, known(v.Offset))
	}
	return errors.Join(table.Flush(), errors.Join(failed...))
}
