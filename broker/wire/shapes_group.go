package wire

// groupShapes are consumer groups, classic and KIP-848.
var groupShapes = []shape{
	{8, "OffsetCommit", 10, 8, fields{
		str("Group"), int32s("Generation").since(1), str("MemberID").since(1),
		str("InstanceID").since(7).orNull(), int64s("RetentionTimeMillis").since(2).until(4),
		array("Topics",
			str("Topic").until(9), uuid("TopicID").since(10),
			array("Partitions",
				int32s("Partition"), int64s("Offset"), int64s("Timestamp").since(1).until(1),
				int32s("LeaderEpoch").since(6), str("Metadata").orNull())),
	}},
	{9, "OffsetFetch", 10, 6, fields{
		str("Group").until(7),
		array("Topics", str("Topic"), list("Partitions", int32s)).until(7).nullSince(2),
		array("Groups",
			str("Group"), str("MemberID").since(9).orNull(), int32s("MemberEpoch").since(9),
			array("Topics",
				str("Topic").since(8).until(9), uuid("TopicID").since(10),
				list("Partitions", int32s)).orNull()).since(8),
		boolean("RequireStable").since(7),
	}},
	{10, "FindCoordinator", 6, 3, fields{
		str("CoordinatorKey").until(3), int8s("CoordinatorType").since(1),
		list("CoordinatorKeys", str).since(4),
	}},
	{11, "JoinGroup", 9, 6, fields{
		str("Group"), int32s("SessionTimeoutMillis"), int32s("RebalanceTimeoutMillis").since(1),
		str("MemberID"), str("InstanceID").since(5).orNull(), str("ProtocolType"),
		array("Protocols", str("Name"), octets("Metadata")), str("Reason").since(8).orNull(),
	}},
	{12, "Heartbeat", 4, 4, fields{
		str("Group"), int32s("Generation"), str("MemberID"), str("InstanceID").since(3).orNull(),
	}},
	{13, "LeaveGroup", 5, 4, fields{
		str("Group"), str("MemberID").until(2),
		array("Members",
			str("MemberID"), str("InstanceID").orNull(), str("Reason").since(5).orNull()).since(3),
	}},
	{14, "SyncGroup", 5, 4, fields{
		str("Group"), int32s("Generation"), str("MemberID"), str("InstanceID").since(3).orNull(),
		str("ProtocolType").since(5).orNull(), str("Protocol").since(5).orNull(),
		array("GroupAssignment", str("MemberID"), octets("MemberAssignment")),
	}},
	{15, "DescribeGroups", 6, 5, fields{
		list("Groups", str), boolean("IncludeAuthorizedOperations").since(3),
	}},
	{16, "ListGroups", 5, 3, fields{
		list("StatesFilter", str).since(4), list("TypesFilter", str).since(5),
	}},
	{42, "DeleteGroups", 3, 2, fields{
		list("Groups", str),
	}},
	{47, "OffsetDelete", 0, never, fields{
		str("Group"), array("Topics", str("Topic"), array("Partitions", int32s("Partition"))),
	}},
	{68, "ConsumerGroupHeartbeat", 1, 0, fields{
		str("Group"), str("MemberID"), int32s("MemberEpoch"), str("InstanceID").orNull(),
		str("RackID").orNull(), int32s("RebalanceTimeoutMillis"),
		list("SubscribedTopicNames", str).orNull(), str("SubscribedTopicRegex").since(1).orNull(),
		str("ServerAssignor").orNull(),
		array("Topics", uuid("TopicID"), list("Partitions", int32s)).orNull(),
	}},
	{69, "ConsumerGroupDescribe", 1, 0, fields{
		list("Groups", str), boolean("IncludeAuthorizedOperations"),
	}},
}

// shareShapes are share groups.
var shareShapes = []shape{
	{76, "ShareGroupHeartbeat", 1, 0, fields{
		str("GroupID"), str("MemberID"), int32s("MemberEpoch"), str("RackID").orNull(),
		list("SubscribedTopicNames", str).orNull(),
	}},
	{77, "ShareGroupDescribe", 1, 0, fields{
		list("GroupIDs", str), boolean("IncludeAuthorizedOperations"),
	}},
	{78, "ShareFetch", 2, 0, fields{
		str("GroupID").orNull(), str("MemberID").orNull(), int32s("ShareSessionEpoch"),
		int32s("MaxWaitMillis"), int32s("MinBytes"), int32s("MaxBytes"),
		int32s("MaxRecords").since(1), int32s("BatchSize").since(1),
		int8s("ShareAcquireMode").since(2), boolean("IsRenewAck").since(2),
		array("Topics",
			uuid("TopicID"),
			array("Partitions",
				int32s("Partition"), int32s("PartitionMaxBytes").until(0),
				array("AcknowledgementBatches",
					int64s("FirstOffset"), int64s("LastOffset"), list("AcknowledgeTypes", int8s)))),
		array("ForgottenTopicsData", uuid("TopicID"), list("Partitions", int32s)),
	}},
	{79, "ShareAcknowledge", 2, 0, fields{
		str("GroupID").orNull(), str("MemberID").orNull(), int32s("ShareSessionEpoch"),
		boolean("IsRenewAck").since(2),
		array("Topics",
			uuid("TopicID"),
			array("Partitions",
				int32s("Partition"),
				array("AcknowledgementBatches",
					int64s("FirstOffset"), int64s("LastOffset"), list("AcknowledgeTypes", int8s)))),
	}},
	{83, "InitializeShareGroupState", 0, 0, fields{
		str("GroupID"),
		array("Topics",
			uuid("TopicID"),
			array("Partitions", int32s("Partition"), int32s("StateEpoch"), int64s("StartOffset"))),
	}},
	{84, "ReadShareGroupState", 0, 0, fields{
		str("GroupID"),
		array("Topics",
			uuid("TopicID"), array("Partitions", int32s("Partition"), int32s("LeaderEpoch"))),
	}},
	{85, "WriteShareGroupState", 1, 0, fields{
		str("GroupID"),
		array("Topics",
			uuid("TopicID"),
			array("Partitions",
				int32s("Partition"), int32s("StateEpoch"), int32s("LeaderEpoch"),
				int64s("StartOffset"), int32s("DeliveryCompleteCount").since(1),
				array("StateBatches",
					int64s("FirstOffset"), int64s("LastOffset"), int8s("DeliveryState"),
					int16s("DeliveryCount")))),
	}},
	{86, "DeleteShareGroupState", 0, 0, fields{
		str("GroupID"), array("Topics", uuid("TopicID"), array("Partitions", int32s("Partition"))),
	}},
	{87, "ReadShareGroupStateSummary", 1, 0, fields{
		str("GroupID"),
		array("Topics",
			uuid("TopicID"), array("Partitions", int32s("Partition"), int32s("LeaderEpoch"))),
	}},
	{90, "DescribeShareGroupOffsets", 1, 0, fields{
		array("Groups",
			str("GroupID"), array("Topics", str("Topic"), list("Partitions", int32s)).orNull()),
	}},
	{91, "AlterShareGroupOffsets", 0, 0, fields{
		str("GroupID"),
		array("Topics",
			str("Topic"), array("Partitions", int32s("Partition"), int64s("StartOffset"))),
	}},
	{92, "DeleteShareGroupOffsets", 0, 0, fields{
		str("GroupID"), array("Topics", str("Topic")),
	}},
}

// streamsShapes are streams groups.
var streamsShapes = []shape{
	{88, "StreamsGroupHeartbeat", 1, 0, fields{
		str("Group"), str("MemberID"), int32s("MemberEpoch"), int32s("EndpointInformationEpoch"),
		str("InstanceID").orNull(), str("RackID").orNull(), int32s("RebalanceTimeoutMillis"),
		object("Topology",
			int32s("Epoch"),
			array("Subtopologies",
				str("SubtopologyID"), list("SourceTopics", str), list("SourceTopicRegex", str),
				array("StateChangelogTopics",
					str("Topic"), int32s("NumPartitions"), int16s("ReplicationFactor"),
					array("Configs", str("Key"), str("Value"))),
				list("RepartitionSinkTopics", str),
				array("RepartitionSourceTopics",
					str("Topic"), int32s("NumPartitions"), int16s("ReplicationFactor"),
					array("Configs", str("Key"), str("Value"))),
				array("CopartitionGroups",
					list("SourceTopics", int16s), list("SourceTopicRegex", int16s),
					list("RepartitionSourceTopics", int16s)))).orNull(),
		array("ActiveTasks", str("SubtopologyID"), list("Partitions", int32s)).orNull(),
		array("StandbyTasks", str("SubtopologyID"), list("Partitions", int32s)).orNull(),
		array("WarmupTasks", str("SubtopologyID"), list("Partitions", int32s)).orNull(),
		str("ProcessID").orNull(), object("UserEndpoint", str("Host"), int16s("Port")).orNull(),
		array("ClientTags", str("Key"), str("Value")).orNull(),
		array("TaskOffsets", str("SubtopologyID"), int32s("Partition"), int64s("Offset")).orNull(),
		array("TaskEndOffsets",
			str("SubtopologyID"), int32s("Partition"), int64s("Offset")).orNull(),
		boolean("ShutdownApplication"),
	}},
	{89, "StreamsGroupDescribe", 1, 0, fields{
		list("Groups", str), boolean("IncludeAuthorizedOperations"),
		boolean("IncludeTopologyDescription").since(1),
	}},
	{93, "StreamsGroupTopologyDescriptionUpdate", 0, 0, fields{
		str("Group"), str("MemberID"), int32s("TopologyEpoch"),
		object("TopologyDescription",
			array("Subtopologies",
				str("SubtopologyID"),
				array("Nodes",
					str("Name"), int8s("NodeType"), list("SourceTopics", str),
					str("SinkTopic").orNull(), list("Stores", str), list("Successors", str))),
			array("GlobalStores",
				object("Source",
					str("Name"), int8s("NodeType"), list("SourceTopics", str),
					str("SinkTopic").orNull(), list("Stores", str), list("Successors", str)),
				object("Processor",
					str("Name"), int8s("NodeType"), list("SourceTopics", str),
					str("SinkTopic").orNull(), list("Stores", str), list("Successors", str)))),
	}},
}
