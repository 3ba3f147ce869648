package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// resetFlags say where to, and for which topics.
type resetFlags struct {
	topics             []string
	all                bool
	earliest, latest   bool
	offset, shift      int64
	datetime           string
	kind               string
	execute            bool
	offsetSet, shifted bool
}

// resetView is one offset as it was and as it is to be; -1 is none.
type resetView struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Done      bool   `json:"done"`
}

func (f *groupFlags) resetOffsets() *cobra.Command {
	r := resetFlags{}
	command := &cobra.Command{
		Use:   "reset-offsets GROUP",
		Short: "Move the offsets of a group without members",
		Long: `Move the committed offsets of a group without members, or from where on a share
group shares.

Without --execute the new offsets are shown and nothing is changed. Offsets are
kept between the first and the last of each partition.`,
		Args: exactlyArguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			r.offsetSet, r.shifted = c.Flags().Changed("to-offset"), c.Flags().Changed("shift-by")
			if err := r.validate(); err != nil {
				return err
			}
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				views, err := r.run(ctx, admin, args[0])
				if err != nil {
					return err
				}
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(views)
				}
				return r.write(c.OutOrStdout(), views)
			})
		},
	}
	flags := command.Flags()
	flags.StringArrayVar(&r.topics, "topic", nil, "topic to move in, may be repeated")
	flags.BoolVar(&r.all, "all-topics", false, "move in every topic that the group has committed for")
	flags.BoolVar(&r.earliest, "to-earliest", false, "to the first record")
	flags.BoolVar(&r.latest, "to-latest", false, "behind the last record")
	flags.Int64Var(&r.offset, "to-offset", 0, "to this offset")
	flags.Int64Var(&r.shift, "shift-by", 0, "on by so many records, back if negative")
	flags.StringVar(&r.datetime, "to-datetime", "", "to the first record at or after this time, as in 2026-11-28T12:00:00Z")
	flags.StringVar(&r.kind, "type", "", "of a group that is not there yet: classic, the default, or share")
	flags.BoolVar(&r.execute, "execute", false, "do it, and not only show it")
	return command
}

// validate wants one place to move to, and topics to move in.
func (r *resetFlags) validate() error {
	places := 0
	for _, given := range []bool{r.earliest, r.latest, r.offsetSet, r.shifted, r.datetime != ""} {
		if given {
			places++
		}
	}
	if places != 1 {
		return &usageError{errors.New("say where to with one of --to-earliest, --to-latest, --to-offset, --shift-by and --to-datetime")}
	}
	if r.all == (len(r.topics) > 0) {
		return &usageError{errors.New("say which topics with --topic, or take --all-topics")}
	}
	if r.kind != "" && r.kind != classicGroup && r.kind != shareGroup {
		return &usageError{fmt.Errorf("--type %s is refused: want classic or share", r.kind)}
	}
	if r.datetime != "" {
		if _, err := time.Parse(time.RFC3339, r.datetime); err != nil {
			return &usageError{fmt.Errorf("--to-datetime %s is refused: want a time as in 2026-11-28T12:00:00Z", r.datetime)}
		}
	}
	return nil
}

func (r *resetFlags) run(ctx context.Context, admin *kadm.Client, group string) ([]resetView, error) {
	g, err := r.find(ctx, admin, group)
	if err != nil {
		return nil, err
	}
	current, err := g.offsets(ctx, admin)
	if err != nil {
		return nil, err
	}
	topics := r.topics
	if r.all {
		if topics = current.TopicsSet().Topics(); len(topics) == 0 {
			return nil, fmt.Errorf("group %s has committed nothing; name topics with --topic", group)
		}
	}
	views, err := r.plan(ctx, admin, current, topics)
	if err != nil || !r.execute {
		return views, err
	}
	next := kadm.Offsets{}
	for _, v := range views {
		next.AddOffset(v.Topic, v.Partition, v.To, -1)
	}
	if err := g.move(ctx, admin, next); err != nil {
		return nil, err
	}
	for i := range views {
		views[i].Done = true
	}
	return views, nil
}

// find finds the group, which must not have members.
func (r *resetFlags) find(ctx context.Context, admin *kadm.Client, name string) (foundGroup, error) {
	g, err := findGroup(ctx, admin, name)
	switch {
	case err != nil:
		return g, err
	case g.members > 0:
		return g, fmt.Errorf("group %s has %d members; stop its consumers first, or they would overwrite the new offsets",
			name, g.members)
	case g.protocol == "":
		g.protocol = r.kind
	case r.kind != "" && g.protocol != r.kind:
		return g, fmt.Errorf("group %s is of type %s and not %s; leave --type away", name, g.protocol, r.kind)
	}
	return g, nil
}

// plan finds the new offset of every partition.
func (r *resetFlags) plan(
	ctx context.Context, admin *kadm.Client, current kadm.Offsets, topics []string,
) ([]resetView, error) {
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, explain("list first offsets of "+topicsText(topics), err, "")
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, explain("list last offsets of "+topicsText(topics), err, "")
	}
	var dated kadm.ListedOffsets
	if r.datetime != "" {
		at, err := time.Parse(time.RFC3339, r.datetime)
		if err != nil {
			return nil, err
		}
		dated, err = admin.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topics...)
		if err == nil {
			err = dated.Error()
		}
		if err != nil {
			return nil, explain("list offsets of "+topicsText(topics), err, "")
		}
	}
	var views []resetView
	for _, end := range ends.Offsets().Sorted() {
		first, _ := starts.Lookup(end.Topic, end.Partition)
		v := resetView{Topic: end.Topic, Partition: end.Partition, From: -1}
		if o, ok := current.Lookup(end.Topic, end.Partition); ok {
			v.From = o.At
		}
		late, _ := dated.Lookup(end.Topic, end.Partition)
		v.To = r.target(v.From, partitionBounds{first: first.Offset, end: end.At, dated: late.Offset})
		views = append(views, v)
	}
	return views, nil
}

// partitionBounds are offsets of a partition: of its first record, behind its last one, and of the
// first record at or after the time that was given.
type partitionBounds struct{ first, end, dated int64 }

// target is where the flags point to, within the partition.
func (r *resetFlags) target(from int64, b partitionBounds) int64 {
	to := b.dated
	switch {
	case r.earliest:
		to = b.first
	case r.latest:
		to = b.end
	case r.offsetSet:
		to = r.offset
	case r.shifted:
		to = max(from, b.first) + r.shift
	}
	return min(max(to, b.first), b.end)
}

func (r *resetFlags) write(out io.Writer, views []resetView) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TOPIC\tPARTITION\tFROM\tTO")
	for _, v := range views {
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\n", v.Topic, v.Partition, known(v.From), v.To)
	}
	if !r.execute {
		fmt.Fprintln(table, "nothing is changed without --execute")
	}
	return table.Flush()
}
