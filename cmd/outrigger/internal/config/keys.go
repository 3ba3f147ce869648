package config

import (
	"math"
	"slices"

	"outrigger/broker/topic"
)

// Names of the keys that the code asks for. The table below is complete; these are the ones in force.
const (
	keyNodeID              = "node.id"
	keyBrokerID            = "broker.id"
	keyClusterID           = "cluster.id"
	keyRack                = "broker.rack"
	keyProcessRoles        = "process.roles"
	keyLogDirs             = "log.dirs"
	keyLogDir              = "log.dir"
	keyVoters              = "controller.quorum.voters"
	keyListeners           = "listeners"
	keyAdvertised          = "advertised.listeners"
	keyProtocolMap         = "listener.security.protocol.map"
	keyControllerListeners = "controller.listener.names"
	keyPeerListener        = "inter.broker.listener.name"
	keyPeerProtocol        = "security.inter.broker.protocol"
	keyNumPartitions       = "num.partitions"
	keyReplicationFactor   = "default.replication.factor"
	keyMinISR              = "min.insync.replicas"
	keyAutoCreate          = "auto.create.topics.enable"
	keyDeleteTopics        = "delete.topic.enable"
	keyUnclean             = "unclean.leader.election.enable"
	keyMessageBytes        = "message.max.bytes"
	keyRequestBytes        = "socket.request.max.bytes"
	keyFetchBytes          = "fetch.max.bytes"
	keyFetchSessions       = "max.incremental.fetch.session.cache.slots"
	keyReplicaSelector     = "replica.selector.class"
	keyConnections         = "max.connections"
	keyConnectionsPerIP    = "max.connections.per.ip"
	keyIdle                = "connections.max.idle.ms"
	keyProducerExpiration  = "producer.id.expiration.ms"
	keyLagTime             = "replica.lag.time.max.ms"
	keyFlushPolicy         = "log.flush.policy"
	keyFlushInterval       = "log.flush.interval.ms"
	keyFlushMessages       = "log.flush.interval.messages"
	keyDamagePolicy        = "log.damage.policy"
	keyScrubInterval       = "log.scrub.interval.ms"
	keyScrubRate           = "log.scrub.bytes.per.second"
	keyDiskFreeMin         = "log.disk.free.min"
	keyWALRetained         = "wal.retained.bytes"
	keyCleanerBuffer       = "log.cleaner.dedupe.buffer.size"
	keyCleanerBackoff      = "log.cleaner.backoff.ms"
	keyCleanerEnable       = "log.cleaner.enable"
	keyCleanerRate         = "log.cleaner.io.max.bytes.per.second"
	keyWALFile             = "wal.file.bytes"
	keyWALTail             = "wal.tail.bytes"
	keyWALCache            = "wal.cache.bytes"
	keyHeartbeat           = "replica.heartbeat.interval.ms"
	keyLeaderTimeout       = "replica.leader.timeout.ms"
	keyRaftTick            = "raft.tick.ms"
	keyRaftElection        = "raft.election.timeout.ms"
	keyNATSClient          = "nats.client.listen"
	keyNATSCluster         = "nats.cluster.listen"
	keyNATSSecret          = "nats.cluster.secret"
	keyNATSOpsUser         = "nats.ops.user"
	keyNATSOpsPassword     = "nats.ops.password"
	keyNATSSysUser         = "nats.sys.user"
	keyNATSSysPassword     = "nats.sys.password"
	keyNATSConfig          = "nats.config"
	keyNATSTap             = "nats.debug.tap"
	keyNATSFeeds           = "nats.feed.enable"
	keyHTTPListen          = "http.listen"
	keyHTTPProfiles        = "http.debug.profiles"
	keyAuthorizer          = "authorizer.class.name"
	keyOffsetsPartitions   = "offsets.topic.num.partitions"
	keyBalance             = "auto.leader.rebalance.enable"
	keyBalanceInterval     = "leader.imbalance.check.interval.seconds"
	keyBalancePercent      = "leader.imbalance.per.broker.percentage"
	keyOffsetsReplication  = "offsets.topic.replication.factor"
	keyOffsetsRetention    = "offsets.retention.minutes"
	keyOffsetsCheck        = "offsets.retention.check.interval.ms"
	keyOffsetsTimeout      = "offsets.commit.timeout.ms"
	keyOffsetMetadata      = "offset.metadata.max.bytes"
	keyGroupDelay          = "group.initial.rebalance.delay.ms"
	keyGroupSessionMin     = "group.min.session.timeout.ms"
	keyGroupSessionMax     = "group.max.session.timeout.ms"
	keyGroupSize           = "group.max.size"
	keyProtocols           = "group.coordinator.rebalance.protocols"
	keyConsumerSize        = "group.consumer.max.size"
	keyConsumerSession     = "group.consumer.session.timeout.ms"
	keyConsumerInterval    = "group.consumer.heartbeat.interval.ms"
	keyConsumerSessionMin  = "group.consumer.min.session.timeout.ms"
	keyConsumerSessionMax  = "group.consumer.max.session.timeout.ms"
	keyConsumerBeatMin     = "group.consumer.min.heartbeat.interval.ms"
	keyConsumerBeatMax     = "group.consumer.max.heartbeat.interval.ms"
	keyConsumerAssignors   = "group.consumer.assignors"
	keyConsumerMigration   = "group.consumer.migration.policy"
	keyTxnPartitions       = "transaction.state.log.num.partitions"
	keyTxnReplication      = "transaction.state.log.replication.factor"
	keyTxnMinISR           = "transaction.state.log.min.isr"
	keyTxnTimeoutMax       = "transaction.max.timeout.ms"
	keyTxnExpiration       = "transactional.id.expiration.ms"
)

// Whom consumers may read from, by the names of Kafka's classes.
const (
	leaderSelector = "org.apache.kafka.common.replica.LeaderSelector"
	rackSelector   = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
)

// DefaultLogDir is Kafka's: a broker that runs on it says so, since it seldom outlives a reboot.
const DefaultLogDir = "/tmp/kafka-logs"

// kafkaKeys are Kafka's own that are in force, in the order in which they are shown.
func kafkaKeys() []Key {
	return []Key{
		{Name: keyProcessRoles, Kind: List, OneOf: []string{"broker", "controller"}, Effect: Silent,
			Doc: "Accepted: every Outrigger process is a broker, and a controller if it is a voter."},
		{Name: keyNodeID, Kind: Integer, Max: math.MaxInt32,
			Doc: "This broker's number. Needed as soon as there are voters; 1 without them."},
		{Name: keyBrokerID, Kind: Integer, Min: -1, Max: math.MaxInt32,
			Doc: "The old name of node.id."},
		{Name: keyClusterID, Kind: Text,
			Doc: "The cluster's id. Unset: the first controller draws one, and data directories keep it."},
		{Name: keyRack, Kind: Text, Doc: "Where this broker stands, for clients that choose by it."},
		{Name: keyVoters, Kind: List,
			Doc: "id@host:port of each metadata voter's NATS cluster address. Unset: a one-node cluster."},
		{Name: keyLogDirs, Kind: List,
			Doc: "The data directory. One only: a node has one write-ahead log."},
		{Name: keyLogDir, Kind: Text, Default: DefaultLogDir, Doc: "The data directory if log.dirs is unset."},
		{Name: keyNumPartitions, Kind: Integer, Default: "1", Min: 1, Max: 10_000,
			Doc: "Partitions of a topic whose creator names no number."},
		{Name: keyReplicationFactor, Kind: Integer, Min: 1, Max: math.MaxInt16,
			Doc: "Replicas of a topic whose creator names no number. Unset: min(3, brokers)."},
		{Name: keyMinISR, Kind: Integer, Min: 1, Max: math.MaxInt16,
			Doc: "In-sync replicas without which acks=all is refused; min(this, replicas) counts. " +
				"Unset: 2 from three brokers up, else 1."},
		{Name: keyAutoCreate, Kind: Flag, Default: "true",
			Doc: "Whether a client that names an unknown topic creates it."},
		{Name: keyDeleteTopics, Kind: Flag, Default: "true", Doc: "Whether clients may delete topics."},
		{Name: keyUnclean, Kind: Flag, Default: "false",
			Doc: "Whether a replica that may lack acknowledged records may lead when nobody else can."},
		{Name: keyMessageBytes, Kind: Integer, Default: "1048588", Unit: "bytes", Min: 61, Max: topic.BatchBytesMost,
			Doc: "The largest record batch of a topic that does not say otherwise (max.message.bytes)."},
		{Name: keyRequestBytes, Kind: Integer, Default: "104857600", Unit: "bytes", Min: 1024, Max: math.MaxInt32,
			Doc: "The largest request."},
		{Name: keyFetchBytes, Kind: Integer, Default: "57671680", Unit: "bytes", Min: 1024, Max: math.MaxInt32,
			Doc: "The most record bytes that one fetch is answered with, but for one whole batch."},
		{Name: keyFetchSessions, Kind: Integer, Default: "1000", Max: math.MaxInt32,
			Doc: "Incremental fetch sessions kept."},
		{Name: keyReplicaSelector, Kind: Choice, OneOf: []string{leaderSelector, rackSelector},
			Default: leaderSelector,
			Doc:     "Whom consumers read from: the leader, or an in-sync follower in their own rack (client.rack)."},
		{Name: keyConnections, Kind: Integer, Default: "2147483647", Min: 1, Max: math.MaxInt32,
			Doc: "Client connections at once."},
		{Name: keyConnectionsPerIP, Kind: Integer, Default: "2147483647", Min: 1, Max: math.MaxInt32,
			Doc: "Client connections at once from one address."},
		{Name: keyIdle, Kind: Integer, Default: "600000", Unit: "ms", Min: -1, Max: math.MaxInt64 / 1_000_000,
			Doc: "A connection that is silent this long is closed; -1 never."},
		{Name: keyProducerExpiration, Kind: Integer, Default: "86400000", Unit: "ms", Min: 1, Max: math.MaxInt64 / 1_000_000,
			Doc: "A partition forgets a producer that is silent this long."},
		{Name: keyLagTime, Kind: Integer, Default: "30000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "A follower that has not caught up for this long leaves the in-sync set."},
		{Name: keyBalance, Kind: Flag, Default: "true",
			Doc: "Whether leaderships go back to the preferred leaders by themselves."},
		{Name: keyBalanceInterval, Kind: Integer, Default: "300", Unit: "s", Min: 1, Max: math.MaxInt32,
			Doc: "How often the controller looks whether they should."},
		{Name: keyBalancePercent, Kind: Integer, Default: "10", Max: 100,
			Doc: "How much of the leaderships that prefer it a broker may lack."},
		{Name: keyFlushInterval, Kind: Integer, Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "With log.flush.policy=interval, how often the log is synced. Unset: 1000 ms."},
		{Name: keyAuthorizer, Kind: Text,
			Doc: "Refused when set: access control does not exist in this version."},
	}
}

// listenerKeys are Kafka's own that say where clients and brokers connect.
func listenerKeys() []Key {
	return []Key{
		{Name: keyListeners, Kind: List, Default: "PLAINTEXT://:9092",
			Doc: "name://host:port to listen on, for Kafka clients. An empty host means every address."},
		{Name: keyAdvertised, Kind: List,
			Doc: "name://host:port that clients are told. Unset: the listener's host, or the machine's name."},
		{Name: keyProtocolMap, Kind: List,
			Doc: "name:protocol of each listener. Only PLAINTEXT can be opened in this version."},
		{Name: keyControllerListeners, Kind: List,
			Doc: "Listeners for Kafka's own controllers; they are not opened: ours speak NATS."},
		{Name: keyPeerListener, Kind: Text,
			Doc: "The listener at which brokers ask each other for transactions, markers and states of share groups. " +
				"Unset: the one named as " + keyPeerProtocol + ", else the first."},
		{Name: keyPeerProtocol, Kind: Text,
			Doc: "The other way to name that listener, by its protocol, which can only be PLAINTEXT in this version. " +
				"Unset: PLAINTEXT."},
	}
}

// groupKeys are Kafka's own that consumer groups go by.
func groupKeys() []Key {
	return []Key{
		{Name: keyTxnPartitions, Kind: Integer, Default: "50", Min: 1, Max: 10_000,
			Doc: "Partitions of __transaction_state, when it is created; transactional ids are spread over them."},
		{Name: keyTxnReplication, Kind: Integer, Min: 1, Max: math.MaxInt16,
			Doc: "Replicas of __transaction_state, when it is created. Unset: min(3, brokers)."},
		{Name: keyTxnMinISR, Kind: Integer, Default: "2", Min: 1, Max: math.MaxInt16,
			Doc: "The min.insync.replicas of __transaction_state, when it is created; min(this, replicas) counts."},
		{Name: keyTxnTimeoutMax, Kind: Integer, Default: "900000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "The longest transaction timeout that a producer may ask for."},
		{Name: keyTxnExpiration, Kind: Integer, Default: "604800000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "How long the id of a silent transactional producer is kept."},
		{Name: keyOffsetsPartitions, Kind: Integer, Default: "50", Min: 1, Max: 10_000,
			Doc: "Partitions of __consumer_offsets, when it is created; groups are spread over them."},
		{Name: keyOffsetsReplication, Kind: Integer, Min: 1, Max: math.MaxInt16,
			Doc: "Replicas of __consumer_offsets, when it is created. Unset: min(3, brokers)."},
		{Name: keyOffsetsRetention, Kind: Integer, Default: "10080", Unit: "minutes", Min: 1, Max: math.MaxInt32,
			Doc: "How long committed offsets outlive the last member of their group."},
		{Name: keyOffsetsCheck, Kind: Integer, Default: "600000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "How often expired offsets are looked for; at least every 10 s."},
		{Name: keyOffsetsTimeout, Kind: Integer, Default: "5000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "How long a commit waits for the in-sync replicas before the client is told to try again."},
		{Name: keyOffsetMetadata, Kind: Integer, Default: "4096", Unit: "bytes", Max: math.MaxInt32,
			Doc: "The longest text beside a committed offset."},
		{Name: keyGroupDelay, Kind: Integer, Default: "3000", Unit: "ms", Max: math.MaxInt32,
			Doc: "How long the first members of an empty group wait for others."},
		{Name: keyGroupSessionMin, Kind: Integer, Default: "6000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "The shortest session timeout that a member may ask for."},
		{Name: keyGroupSessionMax, Kind: Integer, Default: "1800000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "The longest session timeout that a member may ask for."},
		{Name: keyGroupSize, Kind: Integer, Default: "2147483647", Min: 1, Max: math.MaxInt32,
			Doc: "Members of one group."},
		{Name: keyProtocols, Kind: List, Default: "classic,consumer", OneOf: []string{"classic", "consumer", "share", "streams"},
			Doc: "The protocols of groups. Without consumer nobody is a member of a KIP-848 group; classic and share " +
				"are always on, streams does not exist in this version."},
		{Name: keyConsumerSize, Kind: Integer, Default: "2147483647", Min: 1, Max: math.MaxInt32,
			Doc: "Members of one group of the consumer protocol (KIP-848)."},
		{Name: keyConsumerSession, Kind: Integer, Default: "45000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "A member of the consumer protocol that is silent for this long is taken out."},
		{Name: keyConsumerInterval, Kind: Integer, Default: "5000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "How often members of the consumer protocol are told to beat; below " + keyConsumerSession + "."},
		{Name: keyConsumerSessionMin, Kind: Integer, Default: "45000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "The shortest consumer.session.timeout.ms that a group may be given as its own."},
		{Name: keyConsumerSessionMax, Kind: Integer, Default: "60000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "The longest consumer.session.timeout.ms that a group may be given as its own."},
		{Name: keyConsumerBeatMin, Kind: Integer, Default: "5000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "The shortest consumer.heartbeat.interval.ms that a group may be given as its own."},
		{Name: keyConsumerBeatMax, Kind: Integer, Default: "15000", Unit: "ms", Min: 1, Max: math.MaxInt32,
			Doc: "The longest consumer.heartbeat.interval.ms that a group may be given as its own; below " +
				keyConsumerSessionMin + "."},
		{Name: keyConsumerAssignors, Kind: List, Default: "uniform,range", OneOf: []string{"uniform", "range"},
			Doc: "Who may divide partitions for the consumer protocol; the first one where no member has a wish."},
		{Name: keyConsumerMigration, Kind: Choice, Default: "bidirectional",
			OneOf: []string{"bidirectional", "upgrade", "downgrade", "disabled"},
			Doc:   "Which way groups with members may change between the classic and the consumer protocol."},
	}
}

// ownKeys are Outrigger's.
func ownKeys() []Key {
	return []Key{
		{Name: keyFlushPolicy, Kind: Choice, Default: "always", OneOf: []string{"always", "interval"},
			Doc: "always: synced before it is acknowledged. interval: acknowledged once written."},
		{Name: keyDamagePolicy, Kind: Choice, Default: "repair", OneOf: []string{"repair", "refuse"},
			Doc: "What a start does with damage before the log's tail. repair: set the rest of the log aside " +
				"and fill it again from the leaders. refuse: do not start."},
		{Name: keyScrubInterval, Kind: Integer, Default: "604800000", Unit: "ms", Max: math.MaxInt64 / 1_000_000,
			Doc: "How long to wait between two readings of the whole log in search of damage, stops of the broker included; " +
				"0 for none."},
		{Name: keyScrubRate, Kind: Integer, Default: "4194304", Unit: "bytes", Min: 65536, Max: 1 << 40,
			Doc: "How fast the log is read in search of damage; slower while records wait for the disk."},
		{Name: keyDiskFreeMin, Kind: Integer, Default: "-1", Unit: "bytes", Min: -1, Max: 1 << 50,
			Doc: "Producers wait while the file system of the data has less than this free, until a quarter more is; " +
				"-1 is a twentieth of the file system, at most 1 GiB; 0 for no such bound."},
		{Name: keyCleanerBuffer, Kind: Integer, Default: "134217728", Unit: "bytes", Min: 1 << 10, Max: 1 << 40,
			Doc: "The memory that the keys of a compaction may take up; with more keys it takes several turns."},
		{Name: keyCleanerBackoff, Kind: Integer, Default: "15000", Unit: "ms", Max: math.MaxInt64 / 1_000_000,
			Doc: "How long after a look for logs to compact the next one comes."},
		{Name: keyCleanerEnable, Kind: Flag, Default: "true",
			Doc: "Whether logs are compacted at all; without it compacted topics grow, those of coordinators too."},
		{Name: keyCleanerRate, Kind: Rate, Default: "1.7976931348623157E308",
			Doc: "How many bytes per second compactions may read and write together."},
		{Name: keyWALRetained, Kind: Integer, Default: "8589934592", Unit: "bytes", Min: 1 << 20, Max: 1 << 50,
			Doc: "The most that the write-ahead log takes up: full files wait there until the disk is idle, and " +
				"from half of this on they are drained at once. At the bound producers wait. At least four files."},
		{Name: keyWALFile, Kind: Integer, Default: "67108864", Unit: "bytes", Min: 1 << 20, Max: 4 << 30,
			Doc: "The size of a file of the write-ahead log; at least four times " + keyMessageBytes + ". No batch may be larger than a quarter of it."},
		{Name: keyWALTail, Kind: Integer, Default: "-1", Unit: "bytes", Min: -1, Max: 1 << 40,
			Doc: "The newest batches that stay in memory for consumers and followers, of all partitions; up to twice as much " +
				"memory is used for them. -1 is a 64th of the memory, from 64 MiB to 512 MiB."},
		{Name: keyWALCache, Kind: Integer, Default: "33554432", Unit: "bytes", Min: 1 << 20, Max: 1 << 40,
			Doc: "The memory for what consumers read that is in memory no more: what is on its way to them, and what " +
				"is read ahead. It is taken while they read and given back a minute after. A consumer has a quarter of " +
				"it at most; one that finds none is served less at a time."},
		{Name: keyHeartbeat, Kind: Integer, Default: "300", Unit: "ms", Min: 10, Max: 3_600_000,
			Doc: "How often brokers tell each other that they live."},
		{Name: keyLeaderTimeout, Kind: Integer, Default: "1200", Unit: "ms", Min: 50, Max: 3_600_000,
			Doc: "A broker silent for this long is suspected; at least 3 heartbeat intervals."},
		{Name: keyRaftTick, Kind: Integer, Default: "150", Unit: "ms", Min: 10, Max: 600_000,
			Doc: "The unit of time of the metadata Raft; its leader beats every second tick. At most a third of " +
				keyLeaderTimeout + "."},
		{Name: keyRaftElection, Kind: Integer, Default: "1000", Unit: "ms", Min: 50, Max: 3_600_000,
			Doc: "A voter that hears no controller this long stands for election; at least 6 ticks."},
		{Name: keyNATSClient, Kind: Text, Default: "127.0.0.1:4222",
			Doc: "host:port for operators with a NATS client."},
		{Name: keyNATSCluster, Kind: Text,
			Doc: "host:port for the other brokers. Unset: this node's port among the voters, on every " +
				"address unless the voters are on loopback; not opened by a one-node cluster."},
		{Name: keyNATSSecret, Kind: Text, Secret: true,
			Doc: "What brokers prove to each other. Needed unless nats.cluster.listen is on loopback."},
		{Name: keyNATSOpsUser, Kind: Text, Default: "ops", Doc: "The operator's NATS user."},
		{Name: keyNATSOpsPassword, Kind: Text, Secret: true,
			Doc: "Unset: random, in nats-operator.json in the data directory."},
		{Name: keyNATSSysUser, Kind: Text, Default: "admin", Doc: "The NATS system account's user."},
		{Name: keyNATSSysPassword, Kind: Text, Secret: true,
			Doc: "Unset: random, in nats-operator.json in the data directory."},
		{Name: keyNATSConfig, Kind: Text, Doc: "A nats.conf to merge; it may not redefine our accounts."},
		{Name: keyNATSTap, Kind: Choice, Default: "facts", OneOf: []string{"off", "facts", "payload"},
			Doc: "What operators may see of replication. payload: the records themselves, too."},
		{Name: keyNATSFeeds, Kind: Flag, Default: "true",
			Doc: "Whether other brokers that reach " + keyNATSClient + " may take WAL frames from there, past their own " +
				"NATS servers: a fifth less processor time. Routes carry the frames otherwise, and where TLS is used."},
		{Name: keyHTTPListen, Kind: List, Default: "127.0.0.1:9644",
			Doc: "host:port of /health, /ready and /metrics; empty for none."},
		{Name: keyHTTPProfiles, Kind: Flag, Default: "false",
			Doc: "Whether HTTP also serves /debug/pprof/, for `go tool pprof`. Whoever reaches it can slow the broker."},
	}
}

// inertKeys are Kafka's that a working server.properties may hold and this version does not act on.
// A number is still checked to be one, since a typing error is worth hearing about early.
func inertKeys() []Key {
	var keys []Key
	for _, group := range []struct {
		kind  Kind
		names []string
	}{{Integer, inertIntegers}, {Flag, inertFlags}, {Text, inertTexts}} {
		for _, name := range group.names {
			keys = append(keys, Key{Name: name, Kind: group.kind, Min: anyMin, Max: anyMax, Effect: NoEffect})
		}
	}
	return keys
}

// Table returns every key that is not unknown, those in force first.
func Table() []Key {
	return slices.Concat(kafkaKeys(), listenerKeys(), topicKeys(), groupKeys(),
		assignmentKeys(keyConsumerAssign, keyConsumerAssignMin, keyConsumerAssignMax, "consumer.assignment.interval.ms"), shareKeys(), ownKeys(), inertKeys())
}

var inertIntegers = []string{
	"num.network.threads", "num.io.threads", "background.threads", "queued.max.requests",
	"num.recovery.threads.per.data.dir", "num.replica.fetchers", "num.replica.alter.log.dirs.threads",
	"socket.send.buffer.bytes", "socket.receive.buffer.bytes", "socket.listen.backlog.size",
	"max.connection.creation.rate", "request.timeout.ms", "max.request.partition.size.limit",

	"log.segment.delete.delay.ms", "log.initial.task.delay.ms",
	"log.index.size.max.bytes", "log.index.interval.bytes", keyFlushMessages,
	"log.flush.scheduler.interval.ms", "log.flush.offset.checkpoint.interval.ms",
	"log.flush.start.offset.checkpoint.interval.ms",
	"log.message.timestamp.difference.max.ms",
	"log.cleaner.threads", "log.cleaner.io.buffer.size",
	"log.local.retention.ms", "log.local.retention.bytes", "log.remote.copy.lag.ms", "log.remote.copy.lag.bytes",
	"replica.fetch.max.bytes", "replica.fetch.min.bytes", "replica.fetch.wait.max.ms",
	"replica.fetch.response.max.bytes", "replica.fetch.backoff.ms", "replica.socket.timeout.ms",
	"replica.socket.receive.buffer.bytes", "replica.high.watermark.checkpoint.interval.ms",
	"fetch.purgatory.purge.interval.requests", "producer.purgatory.purge.interval.requests",
	"delete.records.purgatory.purge.interval.requests", "broker.heartbeat.interval.ms", "broker.session.timeout.ms",
	"initial.broker.registration.timeout.ms", "controlled.shutdown.max.retries",
	"controlled.shutdown.retry.backoff.ms", "controller.quorum.election.timeout.ms",
	"controller.quorum.fetch.timeout.ms", "controller.quorum.election.backoff.max.ms",
	"controller.quorum.append.linger.ms", "controller.quorum.request.timeout.ms",
	"controller.quorum.retry.backoff.ms", "controller.socket.timeout.ms",
	"metadata.log.segment.bytes", "metadata.log.segment.ms", "metadata.max.retention.bytes",
	"metadata.max.retention.ms", "metadata.log.max.record.bytes.between.snapshots",
	"metadata.log.max.snapshot.interval.ms", "metadata.max.idle.interval.ms",
	"server.max.startup.time.ms", "quota.window.num", "quota.window.size.seconds",
	"replication.quota.window.num", "replication.quota.window.size.seconds",
	"group.coordinator.threads", "group.coordinator.append.linger.ms",
	"group.share.max.groups",

	"offsets.topic.segment.bytes",
	"offsets.load.buffer.size",
	"transaction.state.log.segment.bytes",
	"transaction.abort.timed.out.transaction.cleanup.interval.ms",
	"transaction.remove.expired.transaction.cleanup.interval.ms", "transaction.state.log.load.buffer.size",
	"producer.id.expiration.check.interval.ms",
	"share.coordinator.state.topic.segment.bytes", "connections.max.reauth.ms",
	"connection.failed.authentication.delay.ms", "metrics.num.samples", "metrics.sample.window.ms",
}

var inertFlags = []string{
	"controlled.shutdown.enable", "log.preallocate",
	"remote.log.storage.system.enable", "transaction.partition.verification.enable",
	"unstable.api.versions.enable", "unstable.feature.versions.enable", "broker.id.generation.enable",
	"auto.include.jmx.reporter", "log.message.downconversion.enable", "telemetry.enable",
}

var inertTexts = []string{
	"controller.quorum.bootstrap.servers", "controller.quorum.auto.join.enable", "metadata.log.dir",
	"log.message.format.version",
	"inter.broker.protocol.version",
	"log.cleaner.io.buffer.load.factor",
	"max.connections.per.ip.overrides", "metric.reporters",
	"early.start.listeners", "create.topic.policy.class.name", "alter.config.policy.class.name",
	"client.quota.callback.class", "super.users", "allow.everyone.if.no.acl.found", "principal.builder.class",
	"sasl.enabled.mechanisms", "sasl.mechanism.inter.broker.protocol",
	"sasl.mechanism.controller.protocol", "ssl.keystore.location", "ssl.keystore.type",
	"ssl.truststore.location", "ssl.truststore.type", "ssl.client.auth", "ssl.enabled.protocols",
	"zookeeper.connect", "offsets.topic.compression.codec",
}
