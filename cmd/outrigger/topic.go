package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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

	"outrigger/broker/topic"
)

// topicFlags are common to the `topic` commands, and to `group`.
type topicFlags struct {
	servers []string
	timeout time.Duration
	asJSON  bool
}

// fromBroker asks the broker to use its own default.
const fromBroker = -1

const (
	topicTimeout     = 15 * time.Second
	topicDialTimeout = 3 * time.Second
	topicRetries     = 5
)

func newTopic() *cobra.Command {
	f := &topicFlags{}
	command := asGroup(&cobra.Command{Use: "topic", Short: "Create, list, describe and delete topics"})
	f.register(command)
	command.AddCommand(f.create(), f.list(), f.describe(), f.delete())
	return command
}

// register adds the flags to a command and all below it.
func (f *topicFlags) register(command *cobra.Command) {
	flags := command.PersistentFlags()
	flags.StringSliceVar(&f.servers, "bootstrap-server", []string{"127.0.0.1:9092"}, "host:port of a broker, may be several")
	flags.DurationVar(&f.timeout, "timeout", topicTimeout, "how long to try")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
}

// with runs do on a connected client, for no longer than the timeout.
func (f *topicFlags) with(ctx context.Context, do func(context.Context, *kadm.Client) error) error {
	return f.within(ctx, func(ctx context.Context, _ *kgo.Client, admin *kadm.Client) error { return do(ctx, admin) })
}

// within is with, for who makes requests of his own as well.
func (f *topicFlags) within(ctx context.Context, do func(context.Context, *kgo.Client, *kadm.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return f.dial(ctx, do)
}

// dial runs do on a connected client.
func (f *topicFlags) dial(ctx context.Context, do func(context.Context, *kgo.Client, *kadm.Client) error) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(f.servers...),
		kgo.ClientID("outrigger-admin"),
		kgo.DialTimeout(topicDialTimeout),
		kgo.RequestRetries(topicRetries),
		kgo.RetryTimeout(f.timeout),
	)
	if err != nil {
		return &usageError{fmt.Errorf("--bootstrap-server: %w", err)}
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	admin.SetTimeoutMillis(int32(f.timeout.Milliseconds()))
	err = do(ctx, client, admin)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from %s within %v", strings.Join(f.servers, ","), f.timeout)
	}
	return err
}

func (f *topicFlags) create() *cobra.Command {
	var partitions int32
	var replicas int16
	var configs []string
	command := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a topic",
		Args:  exactlyArguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			values, err := parseConfigs(configs)
			if err != nil {
				return err
			}
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				created, err := admin.CreateTopic(ctx, partitions, replicas, values, args[0])
				if err := explain("create topic "+args[0], errors.Join(err, created.Err), created.ErrMessage); err != nil {
					return err
				}
				return f.print(c.OutOrStdout(), created.Topic+" created", topicView{
					Topic: created.Topic, ID: topic.ID(created.ID).String(), PartitionCount: created.NumPartitions,
					ReplicationFactor: created.ReplicationFactor,
				})
			})
		},
	}
	flags := command.Flags()
	flags.Int32Var(&partitions, "partitions", fromBroker, "number of partitions; -1 takes the broker's num.partitions")
	flags.Int16Var(&replicas, "replication-factor", fromBroker, "number of replicas; -1 takes the broker's default.replication.factor")
	flags.StringArrayVar(&configs, "config", nil, "key=value, may be repeated")
	return command
}

func parseConfigs(configs []string) (map[string]*string, error) {
	values := make(map[string]*string)
	for _, config := range configs {
		key, value, ok := strings.Cut(config, "=")
		if !ok || key == "" {
			return nil, &usageError{fmt.Errorf("--config %s is refused: want key=value", config)}
		}
		values[key] = &value
	}
	return values, nil
}

func (f *topicFlags) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List topics",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				details, err := admin.ListTopics(ctx)
				if err != nil {
					return fmt.Errorf("list topics: %w", err)
				}
				names := details.Names()
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(names)
				}
				for _, name := range names {
					if _, err := fmt.Fprintln(c.OutOrStdout(), name); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// topicView is a topic as it is shown.
type topicView struct {
	Topic             string            `json:"topic"`
	ID                string            `json:"id"`
	PartitionCount    int32             `json:"partition_count"`
	ReplicationFactor int16             `json:"replication_factor"`
	Configs           map[string]string `json:"configs,omitempty"`
	Partitions        []partitionView   `json:"partitions,omitempty"`
}

type partitionView struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Error       string  `json:"error,omitempty"`
}

func (f *topicFlags) describe() *cobra.Command {
	return &cobra.Command{
		Use:   "describe [NAME...]",
		Short: "Describe topics, all of them if none is named",
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				views, err := describeTopics(ctx, admin, args)
				if err != nil {
					return err
				}
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(views)
				}
				return writeTopics(c.OutOrStdout(), views)
			})
		},
	}
}

func describeTopics(ctx context.Context, admin *kadm.Client, names []string) ([]topicView, error) {
	details, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	views := []topicView{}
	for _, detail := range details.Sorted() {
		if err := explain("describe topic "+detail.Topic, detail.Err, ""); err != nil {
			return nil, err
		}
		views = append(views, viewTopic(detail))
	}
	if len(views) == 0 {
		return views, nil
	}
	configs, err := admin.DescribeTopicConfigs(ctx, details.Names()...)
	if err != nil {
		return nil, fmt.Errorf("describe configs: %w", err)
	}
	for i := range views {
		views[i].Configs = setForTopic(configs, views[i].Topic)
	}
	return views, nil
}

func viewTopic(detail kadm.TopicDetail) topicView {
	view := topicView{Topic: detail.Topic, ID: topic.ID(detail.ID).String(), PartitionCount: int32(len(detail.Partitions)),
		ReplicationFactor: int16(detail.Partitions.NumReplicas())}
	for _, p := range detail.Partitions.Sorted() {
		one := partitionView{Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR}
		if p.Err != nil {
			one.Error = p.Err.Error()
		}
		view.Partitions = append(view.Partitions, one)
	}
	return view
}

// setForTopic keeps what was set for this very topic.
func setForTopic(configs kadm.ResourceConfigs, name string) map[string]string {
	values := make(map[string]string)
	for _, resource := range configs {
		if resource.Name != name {
			continue
		}
		for _, config := range resource.Configs {
			if config.Source == kmsg.ConfigSourceDynamicTopicConfig {
				values[config.Key] = config.MaybeValue()
			}
		}
	}
	return values
}

func writeTopics(out io.Writer, views []topicView) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, view := range views {
		if i > 0 {
			fmt.Fprintln(table)
		}
		fmt.Fprintf(table, "%s\n  id %s, %d partitions, %d replicas%s\n", view.Topic, view.ID, view.PartitionCount,
			view.ReplicationFactor, configText(view.Configs))
		fmt.Fprintln(table, "  PARTITION\tLEADER\tEPOCH\tREPLICAS\tISR\t")
		for _, p := range view.Partitions {
			fmt.Fprintf(table, "  %d\t%d\t%d\t%s\t%s\t%s\n", p.Partition, p.Leader, p.LeaderEpoch, ids(p.Replicas), ids(p.ISR), p.Error)
		}
	}
	return table.Flush()
}

func configText(configs map[string]string) string {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(configs)) {
		text.WriteString(", " + key + "=" + configs[key])
	}
	return text.String()
}

func ids(nodes []int32) string {
	var all []string
	for _, node := range nodes {
		all = append(all, strconv.Itoa(int(node)))
	}
	return strings.Join(all, ",")
}

func (f *topicFlags) delete() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete topics and all their records",
		Args:  func(c *cobra.Command, args []string) error { return asUsage(cobra.MinimumNArgs(1)(c, args)) },
		RunE: func(c *cobra.Command, args []string) error {
			return f.with(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				deleted, err := admin.DeleteTopics(ctx, args...)
				if err != nil {
					return fmt.Errorf("delete topics: %w", err)
				}
				var failed []error
				for _, one := range deleted.Sorted() {
					if err := explain("delete topic "+one.Topic, one.Err, one.ErrMessage); err != nil {
						failed = append(failed, err)
						continue
					}
					if err := f.print(c.OutOrStdout(), one.Topic+" deleted", map[string]string{"deleted": one.Topic}); err != nil {
						return err
					}
				}
				return errors.Join(failed...)
			})
		},
	}
}

// show writes what was found as JSON, or as a table; the error is that of who looked.
func show[V any](f *topicFlags, out io.Writer, found V, err error, table func(io.Writer, V) error) error {
	if err != nil {
		return err
	}
	if f.asJSON {
		return json.NewEncoder(out).Encode(found)
	}
	return table(out, found)
}

// print writes a line for people or an object for programs.
func (f *topicFlags) print(out io.Writer, line string, object any) error {
	if f.asJSON {
		return json.NewEncoder(out).Encode(object)
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

// explain says what did not work, with the broker's own words where it gave any.
func explain(doing string, err error, message string) error {
	if err == nil {
		return nil
	}
	var code *kerr.Error
	if errors.As(err, &code) {
		if message == "" {
			message = code.Description
		}
		return fmt.Errorf("%s: %s (%s)", doing, strings.TrimSuffix(message, "."), code.Message)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
