package broker

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// classicType is what ListGroups calls groups of the classic protocol.
const classicType = "classic"

// listGroups lists the groups that this broker coordinates. Clients ask all brokers.
func (b *Broker) listGroups(
	ctx context.Context, _ *request, q *kmsg.ListGroupsRequest,
) kmsg.Response {
	response := kmsg.NewPtrListGroupsResponse()
	if len(q.TypesFilter) > 0 && !containsFold(q.TypesFilter, classicType) {
		return response
	}
	for _, shard := range b.groups.table.Load().shards {
		if shard == nil || shard.over() {
			continue
		}
		listed, err := b.groups.view(ctx, shard, func(groups shownGroups) any {
			return listShard(groups, q.StatesFilter)
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

// listShard lists the groups of a shard that are in one of the states, or in any.
func listShard(groups shownGroups, states []string) []kmsg.ListGroupsResponseGroup {
	var listed []kmsg.ListGroupsResponseGroup
	for name, g := range groups {
		s := g.Summary()
		if !g.Exists() || len(states) > 0 && !containsFold(states, s.State.String()) {
			continue
		}
		line := kmsg.NewListGroupsResponseGroup()
		line.Group, line.ProtocolType = name, s.ProtocolType
		line.GroupState, line.GroupType = s.State.String(), classicType
		listed = append(listed, line)
	}
	return listed
}

func containsFold(all []string, one string) bool {
	return slices.ContainsFunc(all, func(s string) bool { return strings.EqualFold(s, one) })
}
