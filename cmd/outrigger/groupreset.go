package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// resetFlags say where to, and for which topics.
type resetFlags struct {
	place           resetPlace
	topics          []string
	all             bool
	kind            string
	execute, dryRun bool
	export          bool
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
kept between the first and the last of each partition. --export prints them as
topic,partition,offset; --from-file takes that, also with the group before it.`,
		Args: exactlyArguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := r.place.choose(c.Flags()); err != nil {
				return err
			}
			if err := r.validate(f.asJSON); err != nil {
				return err
			}
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				views, err := r.run(ctx, admin, args[0])
				switch {
				case err != nil:
					return err
				case f.asJSON:
					return json.NewEncoder(c.OutOrStdout()).Encode(views)
				case r.export:
					return writeOffsetsFile(c.OutOrStdout(), views)
				}
				return r.write(c.OutOrStdout(), views)
			})
		},
	}
	flags := command.Flags()
	r.place.register(flags)
	flags.StringArrayVar(&r.topics, "topic", nil, "topic to move in, or some of its partitions as in orders:0,1; may be repeated")
	flags.BoolVar(&r.all, "all-topics", false, "move in every topic that the group has committed for")
	flags.StringVar(&r.kind, "type", "", "of a group that is not there yet: classic, the default, or share")
	flags.BoolVar(&r.execute, "execute", false, "do it, and not only show it")
	flags.BoolVar(&r.dryRun, "dry-run", false, "only show it, the default")
	flags.BoolVar(&r.export, "export", false, "print the new offsets as a file for --from-file")
	return command
}

// validate wants partitions to move in, by name or from a file.
func (r *resetFlags) validate(asJSON bool) error {
	wrong := ""
	switch {
	case r.place.file != "" && (r.all || len(r.topics) > 0):
		wrong = "--from-file names the partitions; leave --topic and --all-topics away"
	case r.place.file == "" && r.all == (len(r.topics) > 0):
		wrong = "say which topics with --topic, or take --all-topics"
	case r.kind != "" && r.kind != classicGroup && r.kind != shareGroup:
		wrong = "--type " + r.kind + " is refused: want classic or share"
	case r.execute && r.dryRun:
		wrong = "--execute and --dry-run exclude each other; give one"
	case r.export && asJSON:
		wrong = "--export and --json exclude each other; give one"
	}
	if wrong != "" {
		return &usageError{errors.New(wrong)}
	}
	if _, err := parsePartitions(r.topics); err != nil {
		return &usageError{fmt.Errorf("--topic %s is refused: %w", topicsText(r.topics), err)}
	}
	return nil
}

func (r *resetFlags) run(ctx context.Context, admin *kadm.Client, group string) ([]resetView, error) {
	plan := resetPlan{place: &r.place}
	var err error
	if r.place.file != "" {
		if plan.filed, err = readOffsetsFile(r.place.file, group); err != nil {
			return nil, err
		}
	}
	g, err := r.find(ctx, admin, group)
	if err != nil {
		return nil, err
	}
	if plan.current, err = g.offsets(ctx, admin); err != nil {
		return nil, err
	}
	if plan.scope, err = r.scope(group, &plan); err != nil {
		return nil, err
	}
	views, err := plan.views(ctx, admin)
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

// scope is in which partitions to move: those of the file, of the topics named, or of all that the group has
// offsets of.
func (r *resetFlags) scope(group string, plan *resetPlan) (namedPartitions, error) {
	if !r.all && plan.filed == nil {
		return parsePartitions(r.topics)
	}
	scope := namedPartitions{}
	for _, o := range plan.filed.Sorted() {
		scope[o.Topic] = append(scope[o.Topic], o.Partition)
	}
	if r.all {
		for topic := range plan.current {
			scope[topic] = nil
		}
	}
	if len(scope) == 0 {
		return nil, fmt.Errorf("group %s has committed nothing; name topics with --topic", group)
	}
	return scope, nil
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
