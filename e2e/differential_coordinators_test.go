package e2e

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// internalKeys are the configs of a coordinator's topic on which it depends that nothing is lost.
var internalKeys = []string{
	"cleanup.policy", "compression.type", "min.insync.replicas", "retention.ms", "unclean.leader.election.enable",
}

// coordinators: what the topics that they keep their state in are made with, and who may ask for them.
func (d *dialogue) coordinators() {
	for _, name := range []string{"__consumer_offsets", "__transaction_state", "__share_group_state"} {
		q := kmsg.NewPtrDescribeConfigsRequest()
		q.Resources = []kmsg.DescribeConfigsRequestResource{{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name, ConfigNames: internalKeys,
		}}
		d.ask("configs of "+name, q, func(r kmsg.Response) string {
			described := r.(*kmsg.DescribeConfigsResponse).Resources[0]
			configs := []string{}
			for _, c := range described.Configs {
				if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
					configs = append(configs, fmt.Sprintf("%s=%s", c.Name, *c.Value))
				}
			}
			slices.Sort(configs)
			return codeName(described.ErrorCode) + " " + strings.Join(configs, " ")
		})
	}
	q := kmsg.NewPtrFindCoordinatorRequest()
	q.CoordinatorType, q.CoordinatorKeys = 2, []string{"g:AAAAAAAAAAAAAAAAAAAAAQ:0"}
	d.asks(d.old, "share coordinator, by an old client", q, func(r kmsg.Response) string {
		c := r.(*kmsg.FindCoordinatorResponse).Coordinators[0]
		return fmt.Sprintf("%s %v", codeName(c.ErrorCode), c.NodeID >= 0)
	})
}
