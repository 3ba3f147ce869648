package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// removeReason stands in the log of the coordinator (KIP-800).
const removeReason = "removed by outrigger group remove-members"

// removeFlags say which members to remove.
type removeFlags struct {
	instances, members []string
	all                bool
}

func (f *groupFlags) removeMembers() *cobra.Command {
	r := removeFlags{}
	command := &cobra.Command{
		Use:   "remove-members GROUP",
		Short: "Have members leave a group",
		Long: `Have members leave a group, so that others take their partitions over at once: static
ones whose instance does not come back, or others that hang. One that still runs
joins again.`,
		Args: exactlyArguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			if r.all == (len(r.instances)+len(r.members) > 0) {
				return &usageError{errors.New("say whom with --instance-id and --member, or take --all")}
			}
			return f.within(c.Context(), func(ctx context.Context, client *kgo.Client, admin *kadm.Client) error {
				removed, err := r.remove(ctx, client, admin, args[0])
				for _, name := range removed {
					err := f.print(c.OutOrStdout(), name+" removed", map[string]string{"removed": name})
					if err != nil {
						return err
					}
				}
				return err
			})
		},
	}
	flags := command.Flags()
	flags.StringArrayVar(&r.instances, "instance-id", nil, "group.instance.id of a static member, may be repeated")
	flags.StringArrayVar(&r.members, "member", nil, "id of a member, may be repeated")
	flags.BoolVar(&r.all, "all", false, "all members")
	return command
}

// remove has members leave, and returns those that did, each by the name that it was called.
func (r *removeFlags) remove(
	ctx context.Context, client *kgo.Client, admin *kadm.Client, group string,
) (removed []string, err error) {
	doing := "remove members of " + group
	found, err := describeGroups(ctx, admin, []string{group})
	switch {
	case err != nil:
		return nil, err
	case found[0].Protocol == shareGroup:
		return nil, fmt.Errorf("%s: members of a share group cannot be removed; end them, or wait for their session timeout", doing)
	}
	q := kmsg.NewPtrLeaveGroupRequest()
	q.Group = group
	reason := removeReason
	add := func(member string, instance *string) {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID, m.InstanceID, m.Reason = member, instance, &reason
		q.Members = append(q.Members, m)
	}
	for _, id := range r.instances {
		add("", &id)
	}
	for _, id := range r.members {
		add(id, instanceOf(found[0].Members, id))
	}
	if r.all {
		for _, m := range found[0].Members {
			add(m.Member, m.Instance)
		}
	}
	if len(q.Members) == 0 {
		return nil, fmt.Errorf("%s: it has none", doing)
	}
	response, err := q.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(response.ErrorCode)
	}
	if err != nil {
		return nil, explainGroup(doing, err)
	}
	var failed []error
	for _, m := range response.Members {
		name := m.MemberID
		if m.InstanceID != nil {
			name = cmp.Or(*m.InstanceID, name)
		}
		if err := kerr.ErrorForCode(m.ErrorCode); errors.Is(err, kerr.UnknownMemberID) {
			failed = append(failed, fmt.Errorf("remove member %s of %s: it is not there; `outrigger group describe %s` names those that are (%s)",
				name, group, group, kerr.UnknownMemberID.Message))
		} else if err != nil {
			failed = append(failed, explainGroup("remove member "+name+" of "+group, err))
		} else {
			removed = append(removed, name)
		}
	}
	return removed, errors.Join(failed...)
}

// instanceOf is the instance id of a member; a static one leaves with both.
func instanceOf(members []groupMemberView, id string) *string {
	for _, m := range members {
		if m.Member == id {
			return m.Instance
		}
	}
	return nil
}
