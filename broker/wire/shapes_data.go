package wire

// dataShapes are the APIs of producers and consumers, and the two that every client begins with.
var dataShapes = []shape{
	{0, "Produce", 13, 9, fields{
		str("TransactionID").since(3).orNull(), int16s("Acks"), int32s("TimeoutMillis"),
		array("Topics",
			str("Topic").until(12), uuid("TopicID").since(13),
			array("Partitions", int32s("Partition"), octets("Records").orNull())),
	}},
	{1, "Fetch", 18, 12, fields{
		int32s("ReplicaID").until(14), int32s("MaxWaitMillis"), int32s("MinBytes"),
		int32s("MaxBytes").since(3), int8s("IsolationLevel").since(4), int32s("SessionID").since(7),
		int32s("SessionEpoch").since(7),
		array("Topics",
			str("Topic").until(12), uuid("TopicID").since(13),
			array("Partitions",
				int32s("Partition"), int32s("CurrentLeaderEpoch").since(9), int64s("FetchOffset"),
				int32s("LastFetchedEpoch").since(12), int64s("LogStartOffset").since(5),
				int32s("PartitionMaxBytes"), uuid("ReplicaDirectoryID").tagged(0),
				int64s("HighWatermark").tagged(1))),
		array("ForgottenTopics",
			str("Topic").since(7).until(12), uuid("TopicID").since(13),
			list("Partitions", int32s)).since(7),
		str("Rack").since(11), str("ClusterID").tagged(0).orNull(),
		object("ReplicaState", int32s("ID"), int64s("Epoch")).tagged(1),
	}},
	{2, "ListOffsets", 11, 6, fields{
		int32s("ReplicaID"), int8s("IsolationLevel").since(2),
		array("Topics",
			str("Topic"),
			array("Partitions",
				int32s("Partition"), int32s("CurrentLeaderEpoch").since(4), int64s("Timestamp"),
				int32s("MaxNumOffsets").until(0))),
		int32s("TimeoutMillis").since(10),
	}},
	{3, "Metadata", 13, 9, fields{
		array("Topics", uuid("TopicID").since(10), str("Topic").nullSince(10)).nullSince(1),
		boolean("AllowAutoTopicCreation").since(4),
		boolean("IncludeClusterAuthorizedOperations").since(8).until(10),
		boolean("IncludeTopicAuthorizedOperations").since(8),
	}},
	{17, "SaslHandshake", 1, never, fields{
		str("Mechanism"),
	}},
	{18, "ApiVersions", 5, 3, fields{
		str("ClientSoftwareName").since(3), str("ClientSoftwareVersion").since(3),
		str("ClusterID").since(5).orNull(), int32s("NodeID").since(5),
	}},
	{22, "InitProducerId", 5, 2, fields{
		str("TransactionalID").orNull(), int32s("TransactionTimeoutMillis"),
		int64s("ProducerID").since(3), int16s("ProducerEpoch").since(3),
	}},
	{23, "OffsetForLeaderEpoch", 4, 4, fields{
		int32s("ReplicaID").since(3),
		array("Topics",
			str("Topic"),
			array("Partitions",
				int32s("Partition"), int32s("CurrentLeaderEpoch").since(2), int32s("LeaderEpoch"))),
	}},
	{36, "SaslAuthenticate", 2, 2, fields{
		octets("SASLAuthBytes"),
	}},
	{60, "DescribeCluster", 2, 0, fields{
		boolean("IncludeClusterAuthorizedOperations"), int8s("EndpointType").since(1),
		boolean("IncludeFencedBrokers").since(2),
	}},
	{71, "GetTelemetrySubscriptions", 0, 0, fields{
		uuid("ClientInstanceID"),
	}},
	{72, "PushTelemetry", 0, 0, fields{
		uuid("ClientInstanceID"), int32s("SubscriptionID"), boolean("Terminating"),
		int8s("CompressionType"), octets("Metrics"),
	}},
	{75, "DescribeTopicPartitions", 0, 0, fields{
		array("Topics", str("Topic")), int32s("ResponsePartitionLimit"),
		object("Cursor", str("Topic"), int32s("Partition")).orNull(),
	}},
}

// transactionShapes are transactions.
var transactionShapes = []shape{
	{24, "AddPartitionsToTxn", 5, 3, fields{
		str("TransactionalID").until(3), int64s("ProducerID").until(3),
		int16s("ProducerEpoch").until(3),
		array("Topics", str("Topic"), list("Partitions", int32s)).until(3),
		array("Transactions",
			str("TransactionalID"), int64s("ProducerID"), int16s("ProducerEpoch"),
			boolean("VerifyOnly"),
			array("Topics", str("Topic"), list("Partitions", int32s))).since(4),
	}},
	{25, "AddOffsetsToTxn", 4, 3, fields{
		str("TransactionalID"), int64s("ProducerID"), int16s("ProducerEpoch"), str("Group"),
	}},
	{26, "EndTxn", 5, 3, fields{
		str("TransactionalID"), int64s("ProducerID"), int16s("ProducerEpoch"), boolean("Commit"),
	}},
	{27, "WriteTxnMarkers", 2, 1, fields{
		array("Markers",
			int64s("ProducerID"), int16s("ProducerEpoch"), boolean("Committed"),
			array("Topics", str("Topic"), list("Partitions", int32s)), int32s("CoordinatorEpoch"),
			int8s("TransactionVersion").since(2)),
	}},
	{28, "TxnOffsetCommit", 6, 3, fields{
		str("TransactionalID"), str("Group"), int64s("ProducerID"), int16s("ProducerEpoch"),
		int32s("Generation").since(3), str("MemberID").since(3),
		str("InstanceID").since(3).orNull(),
		array("Topics",
			str("Topic").until(5), uuid("TopicID").since(6),
			array("Partitions",
				int32s("Partition"), int64s("Offset"), int32s("LeaderEpoch").since(2),
				str("Metadata").orNull())),
	}},
	{61, "DescribeProducers", 0, 0, fields{
		array("Topics", str("Topic"), list("Partitions", int32s)),
	}},
	{65, "DescribeTransactions", 0, 0, fields{
		list("TransactionalIDs", str),
	}},
	{66, "ListTransactions", 2, 0, fields{
		list("StateFilters", str), list("ProducerIDFilters", int64s),
		int64s("DurationFilterMillis").since(1), str("TransactionalIDPattern").since(2).orNull(),
	}},
}
