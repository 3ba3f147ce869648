package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

const (
	describeGroupsNotFound = 6
	// operationsGroup is what everybody may do with a group as long as there are no ACLs: READ, DELETE,
	// DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS.
	operationsGroup = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
)

// describeGroups shows groups with their members.
func (b *Broker) describeGroups(
	ctx context.Context, r *request, q *kmsg.DescribeGroupsRequest,
) kmsg.Response {
	response := kmsg.NewPtrDescribeGroupsResponse()
	response.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(q.Groups))
	for i, name := range q.Groups {
		shown := &response.Groups[i]
		shown.Default()
		shown.Group, shown.AuthorizedOperations = name, operationsNotAsked
		if q.IncludeAuthorizedOperations {
			shown.AuthorizedOperations = operationsGroup
		}
		d, err := b.describeGroup(ctx, name)
		if err == nil && d.State == group.Dead && r.Version >= describeGroupsNotFound {
			err = group.ErrUnknownGroup
			shown.ErrorMessage = kmsg.StringPtr("Group " + name + " not found.")
		}
		shown.ErrorCode = int16(b.groupCode("DescribeGroups", err))
		if err == nil || d.State == group.Dead {
			showGroup(shown, d)
		}
	}
	return response
}

// describeGroup asks the shard of a group; one that does not exist is Dead.
func (b *Broker) describeGroup(ctx context.Context, name string) (group.Description, error) {
	result, err := b.groups.view(ctx, b.groups.shardOf(name), func(groups shownGroups) any {
		if g := groups[name]; g != nil {
			return g.Describe()
		}
		return group.Description{State: group.Dead}
	})
	if err != nil {
		return group.Description{}, err
	}
	return result.(group.Description), nil
}

func showGroup(shown *kmsg.DescribeGroupsResponseGroup, d group.Description) {
	shown.State, shown.ProtocolType, shown.Protocol = d.State.String(), d.ProtocolType, d.Protocol
	shown.Members = make([]kmsg.DescribeGroupsResponseGroupMember, len(d.Members))
	for i, m := range d.Members {
		told := &shown.Members[i]
		told.Default()
		told.MemberID, told.InstanceID, told.ClientID, told.ClientHost = m.ID, m.Instance, m.ClientID, m.Host
		told.ProtocolMetadata, told.MemberAssignment = m.Metadata, m.Assignment
	}
}
