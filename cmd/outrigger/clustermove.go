package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/cmd/outrigger/internal/moves"
	"outrigger/cmd/outrigger/internal/rebalance"
)

// moveFlags are common to the commands that move replicas.
type moveFlags struct {
	*clusterFlags
	dryRun bool
	// throttle is bytes per second, 0 for none, if throttled says that it was given.
	throttle  int64
	throttled func() bool
	atOnce    int
	wait      time.Duration
}

const (
	moveWait   = 30 * time.Minute
	movePoll   = 300 * time.Millisecond
	moveAtOnce = 100
)

func (f *clusterFlags) moving(command *cobra.Command) *moveFlags {
	m := &moveFlags{clusterFlags: f}
	flags := command.Flags()
	flags.BoolVar(&m.dryRun, "dry-run", false, "show the plan and do nothing")
	flags.Int64Var(&m.throttle, "throttle", 0, "bytes per second that each broker may spend on filling new replicas, until nothing moves any more; "+
		"0 for no bound, without the flag what an earlier run has left")
	m.throttled = func() bool { return flags.Changed("throttle") }
	flags.IntVar(&m.atOnce, "at-once", moveAtOnce, "partitions that move at the same time")
	flags.DurationVar(&m.wait, "wait", moveWait, "how long to wait until nothing moves; what was begun goes on without this command, "+
		"which begins the rest when it is run again")
	return m
}

func (f *clusterFlags) rebalance() *cobra.Command {
	command := &cobra.Command{
		Use:   "rebalance",
		Short: "Even out replicas and leaders over the brokers, by the fewest moves",
		Args:  noArguments,
	}
	m := f.moving(command)
	command.RunE = func(c *cobra.Command, _ []string) error {
		return m.run(c, steps{plan: rebalance.Balance})
	}
	return command
}

func (f *clusterFlags) drain() *cobra.Command {
	command := &cobra.Command{
		Use:   "drain BROKER",
		Short: "Move everything off a broker, which gets nothing new from then on",
		Args:  exactlyArguments(1),
	}
	m := f.moving(command)
	undo := command.Flags().Bool("undo", false, "let the broker hold replicas again; rebalance gives it some")
	command.RunE = func(c *cobra.Command, args []string) error {
		id, err := brokerID(args[0])
		if err != nil {
			return err
		}
		if *undo {
			return f.reach(c.Context(), f.timeout, func(ctx context.Context, a *admins) error { return a.setDraining(ctx, id, false) })
		}
		return m.run(c, steps{
			drained: &id, plan: rebalance.Drain,
			commit: func(ctx context.Context, a *admins) error { return a.setDraining(ctx, id, true) },
		})
	}
	return command
}

func (f *clusterFlags) add() *cobra.Command {
	command := &cobra.Command{
		Use:   "add BROKER",
		Short: "Wait for a broker that was started, let it vote if asked, and give it its share",
		Long: `Wait for a broker that was started, let it vote if asked, and give it its share.

Start the broker first: with a node.id of its own, and the controller.quorum.voters of
the others. It joins as a learner and gets new topics; this command gives it its share
of what is there.`,
		Args: exactlyArguments(1),
	}
	m := f.moving(command)
	voter := command.Flags().Bool("voter", false, "let it vote in the metadata Raft")
	command.RunE = func(c *cobra.Command, args []string) error {
		id, err := brokerID(args[0])
		if err != nil {
			return err
		}
		return m.run(c, steps{
			plan:    rebalance.Balance,
			prepare: func(ctx context.Context, a *admins) error { return a.awaitBroker(ctx, f.timeout, id) },
			commit: func(ctx context.Context, a *admins) error {
				if err := a.setDraining(ctx, id, false); err != nil || !*voter {
					return err
				}
				return a.addVoter(ctx, id)
			},
		})
	}
	return command
}

func brokerID(text string) (int32, error) {
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id < 0 {
		return 0, &usageError{fmt.Errorf("broker %q is refused: want a node.id such as 4", text)}
	}
	return int32(id), nil
}

// interruptible ends with the first Ctrl-C, after which a command says what goes on without it; a second one
// ends the process.
func interruptible(ctx context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// steps are what tells the commands apart.
type steps struct {
	plan func([]rebalance.Broker, []rebalance.Partition) rebalance.Plan
	// drained, when not nil, is planned for as if it were draining already.
	drained *int32
	// prepare comes before the plan and changes nothing, commit after it; either may be nil.
	prepare, commit func(context.Context, *admins) error
}

// make plans for the cluster as it is.
func (s steps) make(view *clusterView) (rebalance.Plan, []rebalance.Partition) {
	places := view.places()
	for i := range places {
		places[i].Draining = places[i].Draining || s.drained != nil && places[i].ID == *s.drained
	}
	plan := s.plan(places, view.partitions)
	return plan, plan.Stuck(places, view.partitions)
}

// run prepares, plans, shows the plan, and carries it out. What was committed to may have changed the
// cluster, so the plan that is carried out is made after it.
func (m *moveFlags) run(c *cobra.Command, s steps) error {
	if m.atOnce < 1 || m.throttle < 0 {
		return &usageError{fmt.Errorf("--at-once %d and --throttle %d are refused: want at least 1 and 0", m.atOnce, m.throttle)}
	}
	ctx, stop := interruptible(c.Context())
	defer stop()
	return m.reach(ctx, m.wait, func(ctx context.Context, a *admins) error {
		if s.prepare != nil {
			if err := s.prepare(ctx, a); err != nil {
				return err
			}
		}
		view, err := lookAtCluster(ctx, a)
		if err != nil {
			return err
		}
		if s.drained != nil && view.broker(*s.drained) == nil {
			return fmt.Errorf("broker %d is not registered", *s.drained)
		}
		plan, stuck := s.make(view)
		if err := m.show(c.OutOrStdout(), plan); err != nil {
			return err
		}
		if len(stuck) > 0 {
			return fmt.Errorf("%d partitions cannot leave, the first is %s-%d: there are fewer other brokers than replicas, "+
				"add a broker first", len(stuck), stuck[0].Topic, stuck[0].Index)
		}
		if m.dryRun {
			return nil
		}
		if s.commit != nil {
			if err := s.commit(ctx, a); err != nil {
				return err
			}
			if view, err = lookAtCluster(ctx, a); err != nil {
				return err
			}
			plan, _ = s.make(view)
		}
		return m.carryOut(ctx, c.ErrOrStderr(), a, plan)
	})
}

// show prints the plan.
func (m *moveFlags) show(out io.Writer, plan rebalance.Plan) error {
	if m.asJSON {
		return json.NewEncoder(out).Encode(struct {
			Moves  rebalance.Plan `json:"moves"`
			Copies int            `json:"copies"`
			DryRun bool           `json:"dry_run"`
		}{append(rebalance.Plan{}, plan...), plan.Copies(), m.dryRun})
	}
	if len(plan) == 0 {
		_, err := fmt.Fprintln(out, "nothing has to move")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PARTITION\tREPLICAS\tWILL BE")
	for _, move := range plan {
		fmt.Fprintf(table, "%s-%d\t%s\t%s\n", move.Topic, move.Partition, joinIDs(move.From), joinIDs(move.To))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d partitions change, %d replicas are copied\n", len(plan), plan.Copies())
	return err
}

// carryOut begins the moves, some at a time, waits for all of them, and lets the preferred leaders lead.
func (m *moveFlags) carryOut(ctx context.Context, terminal io.Writer, a *admins, plan rebalance.Plan) error {
	line := newProgress(terminal)
	defer line.end()
	o := moves.Options{AtOnce: m.atOnce}
	if m.throttled() {
		o.Rate = &m.throttle
	}
	if line.seen() {
		o.Show, o.Sizes = line.moved, a.sizes
	}
	return moves.Run(ctx, a, plan, o)
}

// setDraining marks a broker, or takes the mark away. A client sends what is about a broker to that one, which may be dead for
// good; any other takes it, too.
func (a *admins) setDraining(ctx context.Context, id int32, draining bool) error {
	doing := fmt.Sprintf("mark broker %d", id)
	brokers, err := a.admin.ListBrokers(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if len(brokers) == 0 {
		return fmt.Errorf("%s: no broker is live", doing)
	}
	change := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	change.Name, change.Op = drainingConfig, kmsg.IncrementalAlterConfigOpDelete
	if draining {
		change.Op, change.Value = kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr("true")
	}
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(id))
	resource.Configs = append(resource.Configs, change)
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	q.Resources = append(q.Resources, resource)
	answer, err := a.client.Broker(int(brokers[0].NodeID)).RetriableRequest(ctx, q)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	for _, r := range answer.(*kmsg.IncrementalAlterConfigsResponse).Resources {
		err = errors.Join(err, explain(doing, kerr.ErrorForCode(r.ErrorCode), deref(r.ErrorMessage)))
	}
	return err
}
