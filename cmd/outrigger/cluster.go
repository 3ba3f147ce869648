package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/cmd/outrigger/internal/moves"
	"outrigger/cmd/outrigger/internal/rebalance"
)

// drainingConfig marks a broker that shall hold no replicas any more.
const drainingConfig = "broker.draining"

// clusterFlags are common to the `cluster` commands.
type clusterFlags struct{ topicFlags }

func newCluster() *cobra.Command {
	f := &clusterFlags{}
	command := asGroup(&cobra.Command{Use: "cluster", Short: "Show, add, drain, remove and upgrade brokers, and rebalance"})
	f.register(command)
	command.AddCommand(f.status(), f.add(), f.drain(), f.remove(), f.rebalance(), f.cancel(), f.upgrade())
	return command
}

// admins are a connection and the two ways to use it.
type admins struct {
	client *kgo.Client
	admin  *kadm.Client
}

// reach runs do on a connected client, for no longer than patience.
func (f *clusterFlags) reach(ctx context.Context, patience time.Duration, do func(context.Context, *admins) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return f.dial(ctx, func(ctx context.Context, client *kgo.Client, admin *kadm.Client) error {
		return do(ctx, &admins{client, admin})
	})
}

// clusterView is a cluster as it is shown.
type clusterView struct {
	Cluster    string `json:"cluster"`
	Controller int32  `json:"controller"`
	// Format is the finalized format level, 0 if no broker knows of levels.
	Format        int16              `json:"format"`
	Brokers       []brokerView       `json:"brokers"`
	Reassignments []reassignmentView `json:"reassignments"`
	// ThrottledTopics are those that list replicas, if a rate of a broker counts for them.
	ThrottledTopics []throttledTopic `json:"throttled_topics,omitempty"`

	partitions []rebalance.Partition
}

type brokerView struct {
	Broker   int32  `json:"broker"`
	Rack     string `json:"rack,omitempty"`
	Live     bool   `json:"live"`
	Draining bool   `json:"draining"`
	// Quorum is voter, learner, or empty while the controller does not know the broker.
	Quorum string `json:"quorum"`
	// Formats are the format levels that a live broker speaks; one from before there were levels speaks the
	// first.
	Formats   levels `json:"formats"`
	Leaders   int    `json:"leaders"`
	Preferred int    `json:"preferred"`
	Replicas  int    `json:"replicas"`
	// Throttle is what slows down the filling of replicas of a live broker.
	Throttle throttleView `json:"throttle"`
}

// reassignmentView is a partition that moves.
type reassignmentView struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Replicas  []int32 `json:"replicas"`
	Adding    []int32 `json:"adding"`
	Removing  []int32 `json:"removing"`
	// CopiedBytes of Bytes are in the new replicas; nil where brokers cannot tell.
	CopiedBytes *int64 `json:"copied_bytes,omitempty"`
	Bytes       *int64 `json:"bytes,omitempty"`
}

func (f *clusterFlags) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show brokers, who votes, and what moves",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.reach(c.Context(), f.timeout, func(ctx context.Context, a *admins) error {
				view, err := lookAtCluster(ctx, a)
				if err != nil {
					return err
				}
				if err := view.askThrottled(ctx, a); err != nil {
					return err
				}
				view.askSizes(ctx, a)
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(view)
				}
				return view.write(c.OutOrStdout())
			})
		},
	}
}

func (v *clusterView) write(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BROKER\tRACK\tSTATE\tQUORUM\tFORMATS\tLEADERS\tPREFERRED\tREPLICAS")
	for _, b := range v.Brokers {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", b.Broker, cmp.Or(b.Rack, "-"), b.state(),
			cmp.Or(b.Quorum, "-"), b.Formats, b.Leaders, b.Preferred, b.Replicas)
	}
	if next := v.upgradable(); next > v.Format {
		fmt.Fprintf(table, "\nformat level %d is finalized, and every broker speaks %d: outrigger cluster upgrade\n", v.Format, next)
	} else {
		fmt.Fprintf(table, "\nformat level %d is finalized\n", v.Format)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := v.writeThrottles(out); err != nil || len(v.Reassignments) == 0 {
		return err
	}
	fmt.Fprintln(table, "\nPARTITION\tREPLICAS\tADDING\tREMOVING\tCOPIED")
	for _, r := range v.Reassignments {
		fmt.Fprintf(table, "%s-%d\t%s\t%s\t%s\t%s\n", r.Topic, r.Partition, joinIDs(r.Replicas), joinIDs(r.Adding),
			joinIDs(r.Removing), r.copied())
	}
	return table.Flush()
}

func (r *reassignmentView) copied() string {
	if r.Bytes == nil {
		return "-"
	}
	return bytesOf(*r.CopiedBytes, *r.Bytes)
}

func (b brokerView) state() string {
	switch {
	case !b.Live && b.Draining:
		return "fenced, draining"
	case !b.Live:
		return "fenced"
	case b.Draining:
		return "draining"
	default:
		return "live"
	}
}

func joinIDs(ids []int32) string {
	if len(ids) == 0 {
		return "-"
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.Itoa(int(id))
	}
	return strings.Join(texts, ",")
}

// broker finds one, nil if it is not registered.
func (v *clusterView) broker(id int32) *brokerView {
	for i := range v.Brokers {
		if v.Brokers[i].Broker == id {
			return &v.Brokers[i]
		}
	}
	return nil
}

// places are the brokers as the planner knows them.
func (v *clusterView) places() []rebalance.Broker {
	var places []rebalance.Broker
	for _, b := range v.Brokers {
		places = append(places, rebalance.Broker{ID: b.Broker, Rack: b.Rack, Draining: b.Draining, Full: !b.Live})
	}
	return places
}

// lookAtCluster asks for everything that plans are made of.
func lookAtCluster(ctx context.Context, a *admins) (*clusterView, error) {
	v := &clusterView{Brokers: []brokerView{}, Reassignments: []reassignmentView{}}
	for _, ask := range []func(context.Context, *admins) error{v.askBrokers, v.askQuorum, v.askTopics, v.askMoves, v.askFormats} {
		if err := ask(ctx, a); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// askBrokers asks for the registered brokers, the fenced among them (KIP-1073), and which of them drain and how
// they are throttled.
func (v *clusterView) askBrokers(ctx context.Context, a *admins) error {
	q := kmsg.NewPtrDescribeClusterRequest()
	q.EndpointType, q.IncludeFencedBrokers = 1, true
	r, err := q.RequestWith(ctx, a.client)
	if err == nil {
		err = kerr.ErrorForCode(r.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("describe cluster: %w", err)
	}
	v.Cluster, v.Controller = r.ClusterID, r.ControllerID
	var ids, fenced []int32
	for _, b := range r.Brokers {
		view := brokerView{Broker: b.NodeID, Live: !b.IsFenced}
		if b.Rack != nil {
			view.Rack = *b.Rack
		}
		v.Brokers = append(v.Brokers, view)
		if view.Live {
			ids = append(ids, b.NodeID)
		} else {
			fenced = append(fenced, b.NodeID)
		}
	}
	slices.SortFunc(v.Brokers, func(a, b brokerView) int { return cmp.Compare(a.Broker, b.Broker) })
	configs, err := a.admin.DescribeBrokerConfigs(ctx, ids...)
	var silent *kadm.ShardErrors
	if errors.As(err, &silent) && !silent.AllFailed {
		v.missing(silent.Errs)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("describe configs of brokers: %w", err)
	}
	for _, of := range configs {
		id, _ := strconv.ParseInt(of.Name, 10, 32)
		b := v.broker(int32(id))
		for _, c := range of.Configs {
			if b == nil {
				continue
			}
			b.Throttle.note(c)
			if c.Key == drainingConfig {
				b.Draining = c.MaybeValue() == "true"
			}
		}
	}
	return v.askFenced(ctx, a, ids, fenced)
}

// askFenced asks the live brokers which of the fenced ones drain. One that does not know says so: it is of an older
// version, or none of ours.
func (v *clusterView) askFenced(ctx context.Context, a *admins, live, fenced []int32) error {
	if len(fenced) == 0 || len(live) == 0 {
		return nil
	}
	q := kmsg.NewPtrDescribeConfigsRequest()
	for _, id := range fenced {
		q.Resources = append(q.Resources, kmsg.DescribeConfigsRequestResource{
			ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: strconv.Itoa(int(id)), ConfigNames: []string{drainingConfig},
		})
	}
	var failed error
	for _, id := range live { // one of them may have just died
		r, err := q.RequestWith(ctx, a.client.Broker(int(id)))
		if err != nil {
			failed = fmt.Errorf("describe configs of fenced brokers: %w", err)
			continue
		}
		for _, of := range r.Resources {
			id, err := strconv.ParseInt(of.ResourceName, 10, 32)
			if b := v.broker(int32(id)); err == nil && of.ErrorCode == 0 && b != nil {
				b.Draining = slices.ContainsFunc(of.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool {
					return c.Name == drainingConfig && c.Value != nil && *c.Value == "true"
				})
			}
		}
		return nil
	}
	return failed
}

// missing takes in who did not tell its configs: it has just died, it seems, and the controller does not know yet.
func (v *clusterView) missing(failed []kadm.ShardError) {
	for _, of := range failed {
		q, ok := of.Req.(*kmsg.DescribeConfigsRequest)
		if !ok {
			continue
		}
		for _, r := range q.Resources {
			id, _ := strconv.ParseInt(r.ResourceName, 10, 32)
			if b := v.broker(int32(id)); b != nil {
				b.Live = false
			}
		}
	}
}

// askQuorum asks who votes. Without a controller nobody knows, which is no reason to show nothing.
func (v *clusterView) askQuorum(ctx context.Context, a *admins) error {
	q := kmsg.NewPtrDescribeQuorumRequest()
	q.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata",
		Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}}}}
	r, err := q.RequestWith(ctx, a.client)
	if err != nil {
		return fmt.Errorf("describe quorum: %w", err)
	}
	if r.ErrorCode != 0 || len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return nil
	}
	p := r.Topics[0].Partitions[0]
	for kind, replicas := range map[string][]kmsg.DescribeQuorumResponseTopicPartitionReplicaState{
		"voter": p.CurrentVoters, "learner": p.Observers,
	} {
		for _, replica := range replicas {
			if b := v.broker(replica.ReplicaID); b != nil {
				b.Quorum = kind
			}
		}
	}
	return nil
}

// askTopics asks where all replicas are.
func (v *clusterView) askTopics(ctx context.Context, a *admins) error {
	metadata, err := a.admin.Metadata(ctx)
	if err != nil {
		return fmt.Errorf("list partitions: %w", err)
	}
	for _, t := range metadata.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			if p.Err != nil && len(p.Replicas) == 0 {
				continue
			}
			v.partitions = append(v.partitions, rebalance.Partition{Topic: t.Topic, Index: p.Partition, Replicas: p.Replicas})
			for i, id := range p.Replicas {
				if b := v.broker(id); b != nil {
					b.Replicas++
					b.Preferred += map[bool]int{true: 1}[i == 0]
				}
			}
			if b := v.broker(p.Leader); b != nil {
				b.Leaders++
			}
		}
	}
	return nil
}

// askMoves asks for what is being reassigned. Plans are made from where it will be.
func (v *clusterView) askMoves(ctx context.Context, a *admins) error {
	moves, err := listMoves(ctx, a)
	if err != nil {
		return err
	}
	v.Reassignments = append(v.Reassignments, moves...)
	for i := range v.partitions {
		p := &v.partitions[i]
		for _, m := range moves {
			if m.Topic == p.Topic && m.Partition == p.Index {
				p.Replicas = slices.DeleteFunc(slices.Clone(p.Replicas), func(id int32) bool { return slices.Contains(m.Removing, id) })
			}
		}
	}
	return nil
}

// askSizes asks how far the new replicas are.
func (v *clusterView) askSizes(ctx context.Context, a *admins) {
	var under []moves.Move
	for i := range v.Reassignments {
		under = append(under, v.Reassignments[i].move())
	}
	filled := a.sizes(ctx, under)
	for i := range v.Reassignments {
		if f, known := filled[under[i].Partition]; known {
			v.Reassignments[i].CopiedBytes, v.Reassignments[i].Bytes = &f.Bytes, &f.Of
		}
	}
}
