package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (v *versions) fillConfigs(q kmsg.Request) {
	five := "5000"
	switch q := q.(type) {
	case *kmsg.AlterConfigsRequest:
		q.Resources = []kmsg.AlterConfigsRequestResource{{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "known",
			Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: configMessageBytes, Value: &five}},
		}}
	case *kmsg.IncrementalAlterConfigsRequest:
		q.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "known",
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: configMessageBytes, Value: &five}},
		}}
	case *kmsg.ListConfigResourcesRequest:
		q.ResourceTypes = []int8{int8(kmsg.ConfigResourceTypeTopic)}
	default:
		v.fillAbout(q)
	}
}

// fillAbout fills what asks about the cluster.
func (v *versions) fillAbout(q kmsg.Request) {
	const known = "known"
	switch q := q.(type) {
	case *kmsg.DescribeACLsRequest:
		q.ResourceType, q.ResourcePatternType, q.Operation, q.PermissionType = 1, 1, 1, 1
	case *kmsg.CreateACLsRequest:
		q.Creations = make([]kmsg.CreateACLsRequestCreation, 2)
	case *kmsg.DeleteACLsRequest:
		q.Filters = make([]kmsg.DeleteACLsRequestFilter, 2)
	case *kmsg.DescribeLogDirsRequest:
		q.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: known, Partitions: []int32{0, 9}}}
	case *kmsg.DescribeClientQuotasRequest:
		q.Components = []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "user", MatchType: 2}}
	case *kmsg.DescribeUserSCRAMCredentialsRequest:
		q.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "u"}, {Name: "twice"}, {Name: "twice"}}
	case *kmsg.DescribeQuorumRequest:
		q.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: metadataTopic,
			Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}
	case *kmsg.UpdateFeaturesRequest:
		q.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: featureMetadata, MaxVersionLevel: 33, UpgradeType: upgradeRaises}}
	case *kmsg.ElectLeadersRequest:
		q.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: known, Partitions: []int32{0, 9}}}
	case *kmsg.ListPartitionReassignmentsRequest:
		q.Default()
	case *kmsg.AlterPartitionAssignmentsRequest:
		q.Default()
		q.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: known,
			Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 0}, {Partition: 9}}}}
	case *kmsg.UnregisterBrokerRequest:
		q.BrokerID = 77
	case *kmsg.AddRaftVoterRequest:
		q.VoterID, q.TimeoutMillis = int32(testNode), 5000
	case *kmsg.RemoveRaftVoterRequest:
		q.VoterID = 77
	case *kmsg.DescribeProducersRequest:
		q.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: known, Partitions: []int32{0}}}
	case *kmsg.DescribeTopicPartitionsRequest:
		q.ResponsePartitionLimit = 1
		q.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: known}}
	default:
		v.fillTxn(q)
	}
}

func (v *versions) checkConfigs(t *testing.T, r kmsg.Response) {
	t.Helper()
	switch r := r.(type) {
	case *kmsg.AlterConfigsResponse:
		onlyCode(t, "alter configs", r.Resources[0].ErrorCode)
	case *kmsg.IncrementalAlterConfigsResponse:
		onlyCode(t, "alter configs incrementally", r.Resources[0].ErrorCode)
		if mustTopic(v.harness, "known").Configs[configMessageBytes] != "5000" {
			t.Errorf("configs: got %v, want what was set", mustTopic(v.harness, "known").Configs)
		}
	case *kmsg.ListConfigResourcesResponse:
		onlyCode(t, "list config resources", r.ErrorCode)
		if (len(r.ConfigResources) > 0) != (r.Version >= listConfigResourcesByType) {
			t.Errorf("config resources: got %+v, want the topics from version 1 on", r.ConfigResources)
		}
	default:
		v.checkAbout(t, r)
	}
}

func (v *versions) checkAbout(t *testing.T, r kmsg.Response) {
	t.Helper()
	switch r := r.(type) {
	case *kmsg.DescribeACLsResponse:
		expectCode(t, "describe acls", r.ErrorCode, codeSecurityDisabled)
	case *kmsg.CreateACLsResponse:
		expectCode(t, "create acls", r.Results[1].ErrorCode, codeSecurityDisabled)
	case *kmsg.DeleteACLsResponse:
		expectCode(t, "delete acls", r.Results[1].ErrorCode, codeSecurityDisabled)
	case *kmsg.DescribeLogDirsResponse:
		onlyCode(t, "describe log dirs", r.ErrorCode)
		if p := r.Dirs[0].Topics[0].Partitions; len(p) != 1 || p[0].Size < 60 || p[0].IsFuture || p[0].OffsetLag != 0 {
			t.Errorf("log dirs: got %+v, want the one partition that is here, and its size", r.Dirs)
		}
	case *kmsg.DescribeClientQuotasResponse:
		if r.ErrorCode != 0 || r.Entries == nil || len(r.Entries) != 0 {
			t.Errorf("quotas: got %+v, want an empty list", r)
		}
	case *kmsg.DescribeUserSCRAMCredentialsResponse:
		expectCode(t, "stranger", r.Results[0].ErrorCode, codeResourceNotFound)
		expectCode(t, "named twice", r.Results[1].ErrorCode, codeDuplicateResource)
		if len(r.Results) != 2 {
			t.Errorf("credentials: got %d results, want one per name", len(r.Results))
		}
	case *kmsg.DescribeQuorumResponse:
		v.checkQuorum(t, r)
	case *kmsg.UpdateFeaturesResponse:
		onlyCode(t, "update features", r.ErrorCode)
		if (len(r.Results) == 1) != (r.Version < updateFeaturesWhole) {
			t.Errorf("features: got %+v, want results up to version 1", r.Results)
		}
	case *kmsg.ElectLeadersResponse:
		onlyCode(t, "elect leaders", r.ErrorCode)
		expectCode(t, "elect the leader", r.Topics[0].Partitions[0].ErrorCode, codeElectionNotNeeded)
		expectCode(t, "elect a stranger", r.Topics[0].Partitions[1].ErrorCode, codeUnknownTopicOrPartition)
	case *kmsg.ListPartitionReassignmentsResponse:
		onlyCode(t, "list reassignments", r.ErrorCode)
		if len(r.Topics) != 0 {
			t.Errorf("reassignments: got %+v, want none", r.Topics)
		}
	case *kmsg.AlterPartitionAssignmentsResponse:
		onlyCode(t, "alter reassignments", r.ErrorCode)
		expectCode(t, "take back nothing", r.Topics[0].Partitions[0].ErrorCode, codeNoReassignment)
		expectCode(t, "move a stranger", r.Topics[0].Partitions[1].ErrorCode, codeUnknownTopicOrPartition)
	case *kmsg.UnregisterBrokerResponse:
		expectCode(t, "unregister a stranger", r.ErrorCode, codeBrokerIDNotRegistered)
	case *kmsg.AddRaftVoterResponse:
		expectCode(t, "add who votes", r.ErrorCode, codeDuplicateVoter)
	case *kmsg.RemoveRaftVoterResponse:
		expectCode(t, "remove who does not vote", r.ErrorCode, codeVoterNotFound)
	case *kmsg.DescribeProducersResponse:
		onlyCode(t, "describe producers", r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.DescribeTopicPartitionsResponse:
		if len(r.Topics[0].Partitions) != 1 || r.NextCursor == nil || r.NextCursor.Partition != 1 {
			t.Errorf("partitions: got %+v, want the first of two and where to go on", r)
		}
	default:
		v.checkTxn(t, r)
	}
}

func (v *versions) checkQuorum(t *testing.T, r *kmsg.DescribeQuorumResponse) {
	t.Helper()
	onlyCode(t, "describe quorum", r.ErrorCode)
	p := r.Topics[0].Partitions[0]
	onlyCode(t, "describe quorum", p.ErrorCode)
	expectCode(t, "another partition", r.Topics[0].Partitions[1].ErrorCode, codeUnknownTopicOrPartition)
	if p.LeaderID != int32(testNode) || p.LeaderEpoch != 3 || p.HighWatermark != 10 ||
		len(p.CurrentVoters) != 1 || p.CurrentVoters[0].LogEndOffset != 10 || len(p.Observers) != 2 {
		t.Errorf("quorum: got %+v, want the leader and two observers", p)
	}
	unknown, late := p.Observers[0], p.Observers[1]
	if r.Version >= 1 && (unknown.LastFetchTimestamp != -1 || late.LastFetchTimestamp <= 0 ||
		late.LastCaughtUpTimestamp != -1 || p.CurrentVoters[0].LastCaughtUpTimestamp <= late.LastFetchTimestamp) {
		t.Errorf("quorum: got %+v, want -1 for what is not known", p.Observers)
	}
	if r.Version >= 2 && (len(r.Nodes) != 1 || r.Nodes[0].Listeners[0].Host != "127.0.0.1" || p.CurrentVoters[0].ReplicaDirectoryID[0] != 1) {
		t.Errorf("nodes: got %+v, want the registered one", r.Nodes)
	}
}
