package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/cmd/outrigger/internal/rebalance"
)

// moveFlags are common to the commands that move replicas.
type moveFlags struct {
	*clusterFlags
	dryRun bool
	// throttle is bytes per second, 0 for none.
	throttle int64
	atOnce   int
	wait     time.Duration
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
	flags.Int64Var(&m.throttle, "throttle", 0, "bytes per second that each broker may spend on filling new replicas; 0 for no bound")
	flags.IntVar(&m.atOnce, "at-once", moveAtOnce, "partitions that move at the same time")
	flags.DurationVar(&m.wait, "wait", moveWait, "how long to wait for the moves; what is under way goes on without this command")
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
	return m.reach(c.Context(), m.wait, func(ctx context.Context, a *admins) error {
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
	if m.throttle > 0 && plan.Copies() > 0 {
		if err := a.throttle(ctx, plan, m.throttle); err != nil {
			return err
		}
	}
	waiting := slices.Clone(plan)
	for {
		under, err := listMoves(ctx, a)
		if err != nil {
			return err
		}
		if room := m.atOnce - len(under); room > 0 && len(waiting) > 0 {
			some := waiting[:min(room, len(waiting))]
			if err := a.reassign(ctx, some); err != nil {
				return err
			}
			waiting = waiting[len(some):]
			continue
		}
		left := 0
		for _, move := range plan {
			if slices.ContainsFunc(under, func(r reassignmentView) bool { return r.Topic == move.Topic && r.Partition == move.Partition }) {
				left++
			}
		}
		line.show(len(plan)-left-len(waiting), len(plan), "partitions moved")
		if left == 0 && len(waiting) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d partitions have not moved yet: the moves that were begun go on, "+
				"`outrigger cluster status` shows them", left+len(waiting), len(plan))
		case <-time.After(movePoll):
		}
	}
	if m.throttle > 0 {
		if err := a.throttle(ctx, plan, 0); err != nil {
			return err
		}
	}
	return a.preferLeaders(ctx, plan)
}

// reassign begins moves.
func (a *admins) reassign(ctx context.Context, moves rebalance.Plan) error {
	var q kadm.AlterPartitionAssignmentsReq
	for _, move := range moves {
		q.Assign(move.Topic, move.Partition, move.To)
	}
	answers, err := a.admin.AlterPartitionAssignments(ctx, q)
	if err != nil {
		return fmt.Errorf("begin reassignments: %w", err)
	}
	for _, answer := range answers.Sorted() {
		// A topic that was deleted since the plan was made needs no move.
		if answer.Err != nil && !errors.Is(answer.Err, kerr.UnknownTopicOrPartition) {
			return explain(fmt.Sprintf("reassign %s-%d", answer.Topic, answer.Partition), answer.Err, answer.ErrMessage)
		}
	}
	return nil
}

// throttle sets or, with a rate of 0, unsets what Kafka's kafka-reassign-partitions sets.
func (a *admins) throttle(ctx context.Context, plan rebalance.Plan, rate int64) error {
	set := func(name, value string) kadm.AlterConfig {
		if rate == 0 {
			return kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name}
		}
		return kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
	}
	text := strconv.FormatInt(rate, 10)
	var topics []string
	var brokers []int32
	for _, move := range plan {
		topics = append(topics, move.Topic)
		brokers = append(append(brokers, move.From...), move.To...)
	}
	slices.Sort(topics)
	slices.Sort(brokers)
	of, err := a.admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{
		set("leader.replication.throttled.rate", text), set("follower.replication.throttled.rate", text),
	}, slices.Compact(brokers)...)
	for _, answer := range of {
		err = errors.Join(err, explain("throttle broker "+answer.Name, answer.Err, answer.ErrMessage))
	}
	if err != nil {
		return fmt.Errorf("throttle brokers: %w", err)
	}
	of, err = a.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		set("leader.replication.throttled.replicas", "*"), set("follower.replication.throttled.replicas", "*"),
	}, slices.Compact(topics)...)
	for _, answer := range of {
		if !errors.Is(answer.Err, kerr.UnknownTopicOrPartition) {
			err = errors.Join(err, explain("throttle topic "+answer.Name, answer.Err, answer.ErrMessage))
		}
	}
	if err != nil {
		return fmt.Errorf("throttle topics: %w", err)
	}
	return nil
}

// preferLeaders lets the first replicas of what has moved lead. Who cannot yet will, as the controller's
// own balance goes.
func (a *admins) preferLeaders(ctx context.Context, plan rebalance.Plan) error {
	var moved kadm.TopicsSet
	for _, move := range plan {
		moved.Add(move.Topic, move.Partition)
	}
	if len(moved) == 0 {
		return nil
	}
	if _, err := a.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, moved); err != nil {
		return fmt.Errorf("elect preferred leaders: %w", err)
	}
	return nil
}

// setDraining marks a broker, or takes the mark away.
func (a *admins) setDraining(ctx context.Context, id int32, draining bool) error {
	change := kadm.AlterConfig{Op: kadm.DeleteConfig, Name: drainingConfig}
	if draining {
		change.Op, change.Value = kadm.SetConfig, kmsg.StringPtr("true")
	}
	answers, err := a.admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{change}, id)
	if err != nil {
		return fmt.Errorf("mark broker %d: %w", id, err)
	}
	for _, answer := range answers {
		err = errors.Join(err, explain(fmt.Sprintf("mark broker %d", id), answer.Err, answer.ErrMessage))
	}
	return err
}
