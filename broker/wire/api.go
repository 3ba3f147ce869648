package wire

import "slices"

// API is one row of the table of what this broker serves.
type API struct {
	Key  int16
	Name string
	// Advertised is the lowest version that ApiVersions names. Versions from here up to Min are
	// decoded and answered UNSUPPORTED_VERSION. Only Produce has such versions: librdkafka before
	// 2.8.1 turns compression off, silently, when a broker does not name Produce v0.
	Advertised int16
	Min, Max   int16 // served; Max is never above what kmsg encodes
}

// Serves reports whether version gets a real answer.
func (a API) Serves(version int16) bool { return a.Min <= version && version <= a.Max }

// Advertises reports whether ApiVersions names version: it can be decoded and must be answered.
func (a API) Advertises(version int16) bool { return a.Advertised <= version && version <= a.Max }

// apis is sorted by key. The lowest versions are those of Kafka 4, the highest those of kmsg.
var apis = []API{
	{Key: keyProduce, Name: "Produce", Advertised: 0, Min: 3, Max: 13},
	{Key: keyFetch, Name: "Fetch", Advertised: 4, Min: 4, Max: 18},
	{Key: 2, Name: "ListOffsets", Advertised: 1, Min: 1, Max: 11},
	{Key: 3, Name: "Metadata", Advertised: 0, Min: 0, Max: 13},
	{Key: 8, Name: "OffsetCommit", Advertised: 2, Min: 2, Max: 10},
	{Key: 9, Name: "OffsetFetch", Advertised: 1, Min: 1, Max: 10},
	{Key: 10, Name: "FindCoordinator", Advertised: 0, Min: 0, Max: 6},
	{Key: 11, Name: "JoinGroup", Advertised: 0, Min: 0, Max: 9},
	{Key: 12, Name: "Heartbeat", Advertised: 0, Min: 0, Max: 4},
	{Key: 13, Name: "LeaveGroup", Advertised: 0, Min: 0, Max: 5},
	{Key: 14, Name: "SyncGroup", Advertised: 0, Min: 0, Max: 5},
	{Key: 15, Name: "DescribeGroups", Advertised: 0, Min: 0, Max: 6},
	{Key: 16, Name: "ListGroups", Advertised: 0, Min: 0, Max: 5},
	{Key: keyAPIVersions, Name: "ApiVersions", Advertised: 0, Min: 0, Max: 5},
	{Key: 19, Name: "CreateTopics", Advertised: 2, Min: 2, Max: 7},
	{Key: 20, Name: "DeleteTopics", Advertised: 1, Min: 1, Max: 6},
	{Key: 21, Name: "DeleteRecords", Advertised: 0, Min: 0, Max: 2},
	{Key: 22, Name: "InitProducerId", Advertised: 0, Min: 0, Max: 5},
	{Key: 23, Name: "OffsetForLeaderEpoch", Advertised: 2, Min: 2, Max: 4},
	{Key: 24, Name: "AddPartitionsToTxn", Advertised: 0, Min: 0, Max: 5},
	{Key: 25, Name: "AddOffsetsToTxn", Advertised: 0, Min: 0, Max: 4},
	{Key: 26, Name: "EndTxn", Advertised: 0, Min: 0, Max: 5},
	{Key: 27, Name: "WriteTxnMarkers", Advertised: 1, Min: 1, Max: 2},
	{Key: 28, Name: "TxnOffsetCommit", Advertised: 0, Min: 0, Max: 6},
	{Key: 29, Name: "DescribeAcls", Advertised: 1, Min: 1, Max: 3},
	{Key: 30, Name: "CreateAcls", Advertised: 1, Min: 1, Max: 3},
	{Key: 31, Name: "DeleteAcls", Advertised: 1, Min: 1, Max: 3},
	{Key: 32, Name: "DescribeConfigs", Advertised: 1, Min: 1, Max: 4},
	{Key: 33, Name: "AlterConfigs", Advertised: 0, Min: 0, Max: 2},
	{Key: 35, Name: "DescribeLogDirs", Advertised: 1, Min: 1, Max: 5},
	{Key: 37, Name: "CreatePartitions", Advertised: 0, Min: 0, Max: 3},
	{Key: 42, Name: "DeleteGroups", Advertised: 0, Min: 0, Max: 3},
	{Key: 43, Name: "ElectLeaders", Advertised: 0, Min: 0, Max: 2},
	{Key: 44, Name: "IncrementalAlterConfigs", Advertised: 0, Min: 0, Max: 1},
	{Key: 45, Name: "AlterPartitionReassignments", Advertised: 0, Min: 0, Max: 1},
	{Key: 46, Name: "ListPartitionReassignments", Advertised: 0, Min: 0, Max: 0},
	{Key: 47, Name: "OffsetDelete", Advertised: 0, Min: 0, Max: 0},
	{Key: 48, Name: "DescribeClientQuotas", Advertised: 0, Min: 0, Max: 1},
	{Key: 50, Name: "DescribeUserScramCredentials", Advertised: 0, Min: 0, Max: 0},
	{Key: 55, Name: "DescribeQuorum", Advertised: 0, Min: 0, Max: 2},
	{Key: 57, Name: "UpdateFeatures", Advertised: 0, Min: 0, Max: 2},
	{Key: 60, Name: "DescribeCluster", Advertised: 0, Min: 0, Max: 2},
	{Key: 61, Name: "DescribeProducers", Advertised: 0, Min: 0, Max: 0},
	{Key: 64, Name: "UnregisterBroker", Advertised: 0, Min: 0, Max: 0},
	{Key: 65, Name: "DescribeTransactions", Advertised: 0, Min: 0, Max: 0},
	{Key: 66, Name: "ListTransactions", Advertised: 0, Min: 0, Max: 2},
	{Key: 68, Name: "ConsumerGroupHeartbeat", Advertised: 0, Min: 0, Max: 1},
	{Key: 69, Name: "ConsumerGroupDescribe", Advertised: 0, Min: 0, Max: 1},
	{Key: 74, Name: "ListConfigResources", Advertised: 0, Min: 0, Max: 1},
	{Key: 75, Name: "DescribeTopicPartitions", Advertised: 0, Min: 0, Max: 0},
	{Key: 76, Name: "ShareGroupHeartbeat", Advertised: 1, Min: 1, Max: 1},
	{Key: 77, Name: "ShareGroupDescribe", Advertised: 1, Min: 1, Max: 1},
	{Key: 78, Name: "ShareFetch", Advertised: 1, Min: 1, Max: 2},
	{Key: 79, Name: "ShareAcknowledge", Advertised: 1, Min: 1, Max: 2},
	{Key: 80, Name: "AddRaftVoter", Advertised: 0, Min: 0, Max: 1},
	{Key: 81, Name: "RemoveRaftVoter", Advertised: 0, Min: 0, Max: 0},
	{Key: 83, Name: "InitializeShareGroupState", Advertised: 0, Min: 0, Max: 0},
	{Key: 84, Name: "ReadShareGroupState", Advertised: 0, Min: 0, Max: 0},
	{Key: 85, Name: "WriteShareGroupState", Advertised: 0, Min: 0, Max: 1},
	{Key: 86, Name: "DeleteShareGroupState", Advertised: 0, Min: 0, Max: 0},
	{Key: 87, Name: "ReadShareGroupStateSummary", Advertised: 0, Min: 0, Max: 1},
	{Key: 90, Name: "DescribeShareGroupOffsets", Advertised: 0, Min: 0, Max: 1},
	{Key: 91, Name: "AlterShareGroupOffsets", Advertised: 0, Min: 0, Max: 0},
	{Key: 92, Name: "DeleteShareGroupOffsets", Advertised: 0, Min: 0, Max: 0},
}

// Keys that this package itself treats apart.
const (
	keyProduce     = 0
	keyFetch       = 1
	keyAPIVersions = 18
)

// Supported returns the table, sorted by key. The caller owns the slice.
func Supported() []API { return slices.Clone(apis) }

// Lookup returns the row of key.
func Lookup(key int16) (API, bool) {
	i, ok := slices.BinarySearchFunc(apis, key, func(a API, key int16) int {
		return int(a.Key) - int(key)
	})
	if !ok {
		return API{}, false
	}
	return apis[i], true
}
