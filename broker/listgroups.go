package broker

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/group"
)

// What ListGroups calls groups of the classic protocol, of KIP-848, and share groups.
const (
	classicType  = "classic"
	consumerType = "consumer"
	shareType    = "share"
)

// listGroups lists the groups that this broker coordinates. Clients ask all brokers.
func (b *Broker) listGroups(
	ctx context.Context, _ *request, q *kmsg.ListGroupsRequest,
) kmsg.Response {
	response := kmsg.NewPtrListGroupsResponse()
	for _, shard := range b.groups.table.Load().shards {
		if shard == nil || shard.over() {
			continue
		}
		listed, err := b.groups.view(ctx, shard, func(groups shownGroups) any {
			return listShard(groups, q.StatesFilter, q.TypesFilter)
		})
		if err != nil {
			// A list that lacks some would be taken for all there are.
			response.ErrorCode, response.Groups = int16(b.groupCode("ListGroups", err)), nil
			return response
		}
		response.Groups = append(response.Groups, listed.([]kmsg.ListGroupsResponseGroup)...)
	}
	slices.SortFunc(response.Groups, func(a, b kmsg.ListGroupsResponseGroup) int {
		return strings.Compare(a.Group, b.Group)
	})
	return response
}

// listShard lists the groups of a shard that are in one of the states and of one of the types, or of any.
func listShard(groups shownGroups, states, types []string) []kmsg.ListGroupsResponseGroup {
	var listed []kmsg.ListGroupsResponseGroup
	for name, g := range groups {
		s := g.Summary()
		kind := typeOf(s)
		if !g.Exists() || len(states) > 0 && !containsFold(states, s.State.String()) ||
			len(types) > 0 && !containsFold(types, kind) {
			continue
		}
		line := kmsg.NewListGroupsResponseGroup()
		line.Group, line.ProtocolType = name, s.ProtocolType
		line.GroupState, line.GroupType = s.State.String(), kind
		listed = append(listed, line)
	}
	return listed
}

// typeOf is what a group's protocol is called.
func typeOf(s group.Summary) string {
	switch {
	case s.Consumers:
		return consumerType
	case s.Shares:
		return shareType
	default:
		return classicType
	}
}

func containsFold(all []string, one string) bool {
	return slices.ContainsFunc(all, func(s string) bool { return strings.EqualFold(s, one) })
}
