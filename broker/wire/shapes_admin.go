package wire

// adminShapes are topics, partitions, log directories and the cluster.
var adminShapes = []shape{
	{19, "CreateTopics", 7, 5, fields{
		array("Topics",
			str("Topic"), int32s("NumPartitions"), int16s("ReplicationFactor"),
			array("ReplicaAssignment", int32s("Partition"), list("Replicas", int32s)),
			array("Configs", str("Name"), str("Value").orNull())),
		int32s("TimeoutMillis"), boolean("ValidateOnly").since(1),
	}},
	{20, "DeleteTopics", 6, 4, fields{
		list("TopicNames", str).until(5),
		array("Topics", str("Topic").orNull(), uuid("TopicID")).since(6), int32s("TimeoutMillis"),
	}},
	{21, "DeleteRecords", 2, 2, fields{
		array("Topics", str("Topic"), array("Partitions", int32s("Partition"), int64s("Offset"))),
		int32s("TimeoutMillis"),
	}},
	{34, "AlterReplicaLogDirs", 2, 2, fields{
		array("Dirs", str("Dir"), array("Topics", str("Topic"), list("Partitions", int32s))),
	}},
	{35, "DescribeLogDirs", 5, 2, fields{
		array("Topics", str("Topic"), list("Partitions", int32s)).orNull(),
	}},
	{37, "CreatePartitions", 3, 2, fields{
		array("Topics",
			str("Topic"), int32s("Count"), array("Assignment", list("Replicas", int32s)).orNull()),
		int32s("TimeoutMillis"), boolean("ValidateOnly"),
	}},
	{43, "ElectLeaders", 2, 2, fields{
		int8s("ElectionType").since(1),
		array("Topics", str("Topic"), list("Partitions", int32s)).orNull(), int32s("TimeoutMillis"),
	}},
	{45, "AlterPartitionReassignments", 1, 0, fields{
		int32s("TimeoutMillis"), boolean("AllowReplicationFactorChange").since(1),
		array("Topics",
			str("Topic"),
			array("Partitions", int32s("Partition"), list("Replicas", int32s).orNull())),
	}},
	{46, "ListPartitionReassignments", 0, 0, fields{
		int32s("TimeoutMillis"), array("Topics", str("Topic"), list("Partitions", int32s)).orNull(),
	}},
	{55, "DescribeQuorum", 2, 0, fields{
		array("Topics", str("Topic"), array("Partitions", int32s("Partition"))),
	}},
	{57, "UpdateFeatures", 2, 0, fields{
		int32s("TimeoutMillis"),
		array("FeatureUpdates",
			str("Feature"), int16s("MaxVersionLevel"), boolean("AllowDowngrade").until(0),
			int8s("UpgradeType").since(1)),
		boolean("ValidateOnly").since(1),
	}},
	{64, "UnregisterBroker", 0, 0, fields{
		int32s("BrokerID"),
	}},
	{80, "AddRaftVoter", 1, 0, fields{
		str("ClusterID").orNull(), int32s("TimeoutMillis"), int32s("VoterID"),
		uuid("VoterDirectoryID"), array("Listeners", str("Name"), str("Host"), int16s("Port")),
		boolean("AckWhenCommitted").since(1),
	}},
	{81, "RemoveRaftVoter", 0, 0, fields{
		str("ClusterID").orNull(), int32s("VoterID"), uuid("VoterDirectoryID"),
	}},
	{94, "UnregisterController", 0, 0, fields{
		int32s("ControllerID"),
	}},
}

// configShapes are configuration, quotas and who may do what.
var configShapes = []shape{
	{29, "DescribeAcls", 3, 2, fields{
		int8s("ResourceType"), str("ResourceName").orNull(), int8s("ResourcePatternType").since(1),
		str("Principal").orNull(), str("Host").orNull(), int8s("Operation"),
		int8s("PermissionType"),
	}},
	{30, "CreateAcls", 3, 2, fields{
		array("Creations",
			int8s("ResourceType"), str("ResourceName"), int8s("ResourcePatternType").since(1),
			str("Principal"), str("Host"), int8s("Operation"), int8s("PermissionType")),
	}},
	{31, "DeleteAcls", 3, 2, fields{
		array("Filters",
			int8s("ResourceType"), str("ResourceName").orNull(),
			int8s("ResourcePatternType").since(1), str("Principal").orNull(), str("Host").orNull(),
			int8s("Operation"), int8s("PermissionType")),
	}},
	{32, "DescribeConfigs", 4, 4, fields{
		array("Resources",
			int8s("ResourceType"), str("ResourceName"), list("ConfigNames", str).orNull()),
		boolean("IncludeSynonyms").since(1), boolean("IncludeDocumentation").since(3),
	}},
	{33, "AlterConfigs", 2, 2, fields{
		array("Resources",
			int8s("ResourceType"), str("ResourceName"),
			array("Configs", str("Name"), str("Value").orNull())),
		boolean("ValidateOnly"),
	}},
	{38, "CreateDelegationToken", 3, 2, fields{
		str("OwnerPrincipalType").since(3).orNull(), str("OwnerPrincipalName").since(3).orNull(),
		array("Renewers", str("PrincipalType"), str("PrincipalName")), int64s("MaxLifetimeMillis"),
	}},
	{39, "RenewDelegationToken", 2, 2, fields{
		octets("HMAC"), int64s("RenewTimeMillis"),
	}},
	{40, "ExpireDelegationToken", 2, 2, fields{
		octets("HMAC"), int64s("ExpiryPeriodMillis"),
	}},
	{41, "DescribeDelegationToken", 3, 2, fields{
		array("Owners", str("PrincipalType"), str("PrincipalName")).orNull(),
	}},
	{44, "IncrementalAlterConfigs", 1, 1, fields{
		array("Resources",
			int8s("ResourceType"), str("ResourceName"),
			array("Configs", str("Name"), int8s("Op"), str("Value").orNull())),
		boolean("ValidateOnly"),
	}},
	{48, "DescribeClientQuotas", 1, 1, fields{
		array("Components", str("EntityType"), int8s("MatchType"), str("Match").orNull()),
		boolean("Strict"),
	}},
	{49, "AlterClientQuotas", 1, 1, fields{
		array("Entries",
			array("Entity", str("Type"), str("Name").orNull()),
			array("Ops", str("Key"), float64s("Value"), boolean("Remove"))),
		boolean("ValidateOnly"),
	}},
	{50, "DescribeUserScramCredentials", 0, 0, fields{
		array("Users", str("Name")).orNull(),
	}},
	{51, "AlterUserScramCredentials", 0, 0, fields{
		array("Deletions", str("Name"), int8s("Mechanism")),
		array("Upsertions",
			str("Name"), int8s("Mechanism"), int32s("Iterations"), octets("Salt"),
			octets("SaltedPassword")),
	}},
	{74, "ListConfigResources", 1, 0, fields{
		list("ResourceTypes", int8s).since(1),
	}},
}
