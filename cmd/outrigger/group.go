package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// groupFlags are common to the `group` commands.
type groupFlags struct{ topicFlags }

func newGroup() *cobra.Command {
	f := &groupFlags{}
	command := asGroup(&cobra.Command{Use: "group", Short: "List, describe, change and delete consumer and share groups"})
	f.register(command)
	command.AddCommand(f.list(), f.describe(), f.resetOffsets(), f.deleteOffsets(), f.removeMembers(), f.delete())
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
	Member   string  `json:"member"`
	Instance *string `json:"instance,omitempty"`
	ClientID string  `json:"client_id"`
	Host     string  `json:"host"`
	Epoch    int32   `json:"epoch,omitempty"`
	// Partitions counts those of the assignment.
	Partitions int                  `json:"partitions"`
	Assignment []topicPartitionView `json:"assignment"`
}

// topicPartitionView is what a member has of a topic, sorted.
type topicPartitionView struct {
	Topic      string  `json:"topic"`
	Partitions []int32 `json:"partitions"`
}

// assign notes which partitions a member has.
func (v *groupMemberView) assign(assigned kadm.TopicsSet) {
	v.Assignment = []topicPartitionView{}
	for _, topic := range slices.Sorted(maps.Keys(assigned)) {
		partitions := slices.Sorted(maps.Keys(assigned[topic]))
		v.Partitions += len(partitions)
		v.Assignment = append(v.Assignment, topicPartitionView{topic, partitions})
	}
}

// assignmentText is the assignment as --topic takes it.
func (v *groupMemberView) assignmentText() string {
	named := namedPartitions{}
	for _, t := range v.Assignment {
		named[t.Topic] = t.Partitions
	}
	return named.String()
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

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
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
