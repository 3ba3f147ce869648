package broker

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const listConfigResourcesByType = 1 // before, it listed client metrics only

// configResourceTypes are those that ListConfigResources knows, in the order of their numbers.
var configResourceTypes = []kmsg.ConfigResourceType{
	kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger,
	kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig,
}

// listConfigResources tells what there is that has configs (KIP-1142). Groups are listed when
// something is set for them, client metrics would be, but nothing can be set for them yet; log levels are no configs here.
func (b *Broker) listConfigResources(
	_ context.Context, r *request, q *kmsg.ListConfigResourcesRequest,
) kmsg.Response {
	response := kmsg.NewPtrListConfigResourcesResponse()
	asked := map[kmsg.ConfigResourceType]bool{}
	for _, kind := range q.ResourceTypes {
		asked[kmsg.ConfigResourceType(kind)] = true
	}
	if r.Version < listConfigResourcesByType {
		asked = map[kmsg.ConfigResourceType]bool{kmsg.ConfigResourceTypeClientMetrics: true}
	}
	all := len(asked) == 0
	for _, kind := range configResourceTypes {
		if all || asked[kind] {
			for _, name := range b.resourcesOf(kind) {
				resource := kmsg.NewListConfigResourcesResponseConfigResource()
				resource.Name, resource.Type = name, int8(kind)
				response.ConfigResources = append(response.ConfigResources, resource)
			}
		}
		delete(asked, kind)
	}
	if len(asked) > 0 {
		response.ErrorCode, response.ConfigResources = int16(codeUnsupportedVersion), nil
		b.meters.failure("ListConfigResources", codeUnsupportedVersion)
	}
	return response
}

func (b *Broker) resourcesOf(kind kmsg.ConfigResourceType) []string {
	var names []string
	view := b.cluster.View()
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		for _, t := range view.Topics() {
			names = append(names, t.Name)
		}
	case kmsg.ConfigResourceTypeBroker:
		for _, known := range view.Brokers() {
			names = append(names, strconv.Itoa(int(known.ID)))
		}
	case kmsg.ConfigResourceTypeGroupConfig:
		for _, name := range view.Configured(topic.GroupConfigs) {
			if len(view.Configs(topic.GroupConfigs, name).Values) > 0 {
				names = append(names, name)
			}
		}
	}
	return names
}
