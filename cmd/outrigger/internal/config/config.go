package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"outrigger/broker/topic"
)

// Config is everything that one broker process is started on, in the terms of its parts.
type Config struct {
	Node    Node
	Kafka   Kafka
	NATS    NATS
	Replica Replica
	WAL     WAL
	// HTTP are the addresses of /health, /ready and /metrics.
	HTTP []Address
	// HTTPProfiles adds /debug/pprof/ to them.
	HTTPProfiles bool

	settings map[string]Setting
}

// Node says who this broker is.
type Node struct {
	ID topic.NodeID
	// ClusterID is empty if the configuration does not name one.
	ClusterID string
	Rack      string
	DataDir   string
	// Voters is empty for a one-node cluster.
	Voters []Voter
}

// Kafka is what the broker's side is started on.
type Kafka struct {
	Listeners []Listener
	// PeerListener is the name of the one at which brokers ask each other.
	PeerListener string
	Topics       TopicDefaults
	// TopicConfigs are further defaults of topics where they are not Kafka's, by the names of topic configs.
	TopicConfigs map[string]string
	// RetentionCheck is how often leaders look for records whose time is over.
	RetentionCheck time.Duration
	Groups         Groups
	// Shares is what share groups may do.
	Shares Shares
	// Transactions is what transactional producers may do.
	Transactions Transactions
	// MessageBytesMax bounds one record batch, RequestBytesMax one request, FetchBytesMax the
	// records in one answer.
	MessageBytesMax, RequestBytesMax, FetchBytesMax int
	// Connections.
	ConnectionsMax, ConnectionsPerIPMax int
	// FollowerReads lets consumers read from an in-sync follower in their rack.
	FollowerReads bool
	// IdleMax closes silent connections; zero never does.
	IdleMax          time.Duration
	FetchSessionsMax int
	// ProducerExpiration is how long a partition remembers a silent producer.
	ProducerExpiration time.Duration
}

// Groups is what consumer groups may do, and where their state is kept.
type Groups struct {
	Partitions                int32
	ReplicationFactor         int16
	Retention, RetentionCheck time.Duration
	CommitTimeout             time.Duration
	MetadataBytesMax          int
	// InitialDelay is how long the first members of a group wait for others; zero is not at all.
	InitialDelay           time.Duration
	SessionMin, SessionMax time.Duration
	MembersMax             int
	// Consumers is for groups of the consumer protocol.
	Consumers ConsumerGroups
}

// ConsumerGroups is what groups of the consumer protocol (KIP-848) may do.
type ConsumerGroups struct {
	// Off: nobody is a member of one.
	Off               bool
	MembersMax        int
	Session, Interval time.Duration
	// The bounds of what a group may be given as its own.
	SessionMin, SessionMax, IntervalMin, IntervalMax time.Duration
	Assignment                                       Assignment
	// Assignors has the default first, Migration is one of Kafka's names.
	Assignors []string
	Migration string
}

// Transactions is what transactional producers may do, and where their state is kept.
type Transactions struct {
	Partitions        int32
	ReplicationFactor int16
	// MinInSync is the topic's min.insync.replicas.
	MinInSync int32
	// TimeoutMax bounds the timeouts of transactions, Expiration is how long silent ids are kept.
	TimeoutMax, Expiration time.Duration
}

// TopicDefaults are what a topic gets when its creator says nothing.
type TopicDefaults struct {
	Partitions        int32
	ReplicationFactor int16
	MinInSyncReplicas int
	AutoCreate        bool
	Deletable         bool
	Unclean           bool
}

// NATS is what the embedded server is started on.
type NATS struct {
	// Client is where operators connect, Cluster where the other brokers do; Cluster's zero value
	// means a one-node cluster that opens no such listener.
	Client, Cluster Address
	ClusterSecret   string
	Ops, Sys        Login
	// File is an operator's nats.conf to merge, or empty.
	File string
	// Tap is "off", "facts" or "payload".
	Tap string
	// Feeds: other brokers may take frames from Client.
	Feeds bool
}

// Login is a user and a password; an empty password is still to be drawn.
type Login struct{ User, Password string }

// Replica are the timers of replication and of the metadata Raft.
type Replica struct {
	Heartbeat     time.Duration
	LeaderTimeout time.Duration
	LagTimeMax    time.Duration
	RaftTick      time.Duration
	RaftElection  time.Duration
	// BalanceInterval is how often leaderships are given back to preferred leaders, zero for never, and
	// BalancePercent what a broker may lack of those that prefer it.
	BalanceInterval time.Duration
	BalancePercent  int
}

// WAL is the durability that was asked for, and what is done about damage.
type WAL struct {
	// FlushAlways syncs before every acknowledgement; otherwise FlushInterval is the period.
	FlushAlways   bool
	FlushInterval time.Duration
	// RefuseDamaged does not start on a damaged log instead of setting the damage aside.
	RefuseDamaged bool
	// ScrubInterval is the wait between two readings of the whole log in search of damage, zero for
	// none; ScrubBytesPerSecond is how fast it is read.
	ScrubInterval       time.Duration
	ScrubBytesPerSecond int64
	// DiskFreeMin is the space that producers leave free on the disk, -1 for what suits its size.
	DiskFreeMin int64
	// RetainedBytes is the most that the log's files take up, FileBytes the size of one.
	RetainedBytes, FileBytes int64
	// TailBytes bounds the newest batches in memory, -1 for what suits how much there is.
	TailBytes int64
	// CacheBytes bounds the memory for reads of what is in memory no more.
	CacheBytes int64
	// CleanerBytes bounds the memory of a compaction, CleanerBackoff is how long after a look for logs to
	// compact the next one comes.
	CleanerBytes   int64
	CleanerBackoff time.Duration
	// CleanerOff compacts nothing; CleanerRate is how many bytes per second compactions may move.
	CleanerOff  bool
	CleanerRate float64
}

// How many heartbeats, and how many ticks, a timeout spans at the least.
const (
	heartbeatsMin   = 3
	ticksMin        = 6
	timeoutTicksMin = 3
)

// Load judges the sources. machine finds this machine's resolvable host name; it is called at most
// once, and only if a listener has no host of its own that clients could be told. The error joins
// every Refusal that was found.
func Load(sources Sources, machine func() string) (*Config, []Note, error) {
	settings, err := gather(sources)
	if err != nil {
		return nil, nil, err
	}
	table := make(map[string]Key)
	for _, key := range Table() {
		table[key.Name] = key
	}
	notes, refusals := judge(settings, table)
	if len(refusals) > 0 {
		return nil, notes, errors.Join(refusals...)
	}
	for name, key := range table {
		if _, set := settings[name]; !set && key.Default != "" {
			settings[name] = Setting{Value: key.Default, Source: sourceDefault}
		}
	}
	b := &builder{settings: settings, machine: machine, notes: notes}
	cfg := b.build()
	if len(b.refusals) > 0 {
		return nil, b.notes, errors.Join(b.refusals...)
	}
	return cfg, b.notes, nil
}

// builder carries the settings, all of them well-formed by now, to a Config and collects what does
// not fit together.
type builder struct {
	settings map[string]Setting
	machine  func() string
	notes    []Note
	refusals []error
}

func (b *builder) build() *Config {
	cfg := &Config{settings: b.settings}
	cfg.Node = b.node()
	cfg.Kafka = b.kafka(len(cfg.Node.Voters))
	cfg.NATS = b.nats(cfg.Node)
	cfg.Replica = b.replica()
	cfg.WAL = b.wal()
	cfg.HTTP = b.addresses(keyHTTPListen)
	cfg.HTTPProfiles = b.flag(keyHTTPProfiles)
	return cfg
}

func (b *builder) node() Node {
	n := Node{ClusterID: b.text(keyClusterID), Rack: b.text(keyRack), DataDir: b.dataDir()}
	voters, err := parseVoters(b.text(keyVoters))
	b.refuse(err)
	n.Voters = voters
	n.ID = b.nodeID(len(voters) > 0)
	if strings.ContainsAny(n.ClusterID, " \t\"\\") || len(n.ClusterID) > 64 {
		b.refuse(&Refusal{keyClusterID, n.ClusterID, "want at most 64 characters, no blanks or quotes"})
	}
	return n
}

// nodeID takes node.id or its old name. With voters a default would make two nodes that forgot the
// key the same one.
func (b *builder) nodeID(needed bool) topic.NodeID {
	id, old := b.text(keyNodeID), b.text(keyBrokerID)
	if old == "-1" {
		old = ""
	}
	switch {
	case id != "" && old != "" && id != old:
		b.refuse(&Refusal{keyBrokerID, old, "node.id says " + id})
	case id == "" && old == "" && needed:
		b.refuse(&Refusal{Key: keyNodeID, Reason: "it is needed as soon as " + keyVoters + " is set"})
		return topic.NoNode
	case id == "" && old == "":
		b.derive(keyNodeID, "1", "a one-node cluster")
		return 1
	}
	number, _ := strconv.ParseInt(cmp.Or(id, old), 10, 32)
	b.derive(keyNodeID, strconv.FormatInt(number, 10), "from "+keyBrokerID)
	return topic.NodeID(number)
}

func (b *builder) dataDir() string {
	dirs := splitList(b.text(keyLogDirs))
	switch len(dirs) {
	case 0:
		if b.settings[keyLogDir].Source == sourceDefault {
			b.note(defaultLogDirUsed(b.text(keyLogDir)))
		}
		return b.text(keyLogDir)
	case 1:
		return dirs[0]
	default:
		b.refuse(&Refusal{keyLogDirs, b.text(keyLogDirs),
			"a node has one write-ahead log: name one directory, on a volume that spans the disks"})
		return ""
	}
}

func (b *builder) kafka(voters int) Kafka {
	if class := b.text(keyAuthorizer); class != "" {
		b.refuse(&Refusal{keyAuthorizer, class,
			"access control does not exist in this version; remove the key to run an open broker"})
	}
	listeners, notes, err := listenerSettings{
		listeners: b.text(keyListeners), advertised: b.text(keyAdvertised),
		protocolMap: b.text(keyProtocolMap), controllers: b.text(keyControllerListeners),
		machine: b.machine,
	}.resolve()
	b.refuse(err)
	b.note(notes...)
	k := Kafka{
		Listeners:           listeners,
		PeerListener:        b.peerListener(listeners),
		Topics:              b.topics(max(voters, 1)),
		TopicConfigs:        b.topicConfigs(),
		RetentionCheck:      b.millis(keyRetentionCheck),
		Groups:              b.groups(max(voters, 1)),
		Shares:              b.shares(max(voters, 1)),
		Transactions:        b.transactions(max(voters, 1)),
		MessageBytesMax:     int(b.number(keyMessageBytes)),
		RequestBytesMax:     int(b.number(keyRequestBytes)),
		FetchBytesMax:       int(b.number(keyFetchBytes)),
		ConnectionsMax:      int(b.number(keyConnections)),
		ConnectionsPerIPMax: int(b.number(keyConnectionsPerIP)),
		IdleMax:             max(b.millis(keyIdle), 0),
		FollowerReads:       b.text(keyReplicaSelector) == rackSelector,
		FetchSessionsMax:    int(b.number(keyFetchSessions)),
		ProducerExpiration:  b.millis(keyProducerExpiration),
	}
	if k.RequestBytesMax < k.MessageBytesMax {
		b.refuse(&Refusal{keyRequestBytes, b.text(keyRequestBytes),
			fmt.Sprintf("a batch may have %d bytes (%s), so none of that size would arrive",
				k.MessageBytesMax, keyMessageBytes)})
	}
	return k
}

// topics derives the two numbers that depend on the cluster's size. The voters are the brokers that
// every node knows of before it has met any; from three voters up, more brokers change neither.
func (b *builder) topics(brokers int) TopicDefaults {
	b.derive(keyReplicationFactor, strconv.Itoa(min(3, brokers)), fmt.Sprintf("min(3, %d voters)", brokers))
	minISR := 1
	if brokers >= 3 {
		minISR = 2
	}
	b.derive(keyMinISR, strconv.Itoa(minISR), fmt.Sprintf("%d voters", brokers))
	return TopicDefaults{
		Partitions:        int32(b.number(keyNumPartitions)),
		ReplicationFactor: int16(b.number(keyReplicationFactor)),
		MinInSyncReplicas: int(b.number(keyMinISR)),
		AutoCreate:        b.flag(keyAutoCreate),
		Deletable:         b.flag(keyDeleteTopics),
		Unclean:           b.flag(keyUnclean),
	}
}

// transactions derives the number of replicas as topics does.
func (b *builder) transactions(brokers int) Transactions {
	b.derive(keyTxnReplication, strconv.Itoa(min(3, brokers)), fmt.Sprintf("min(3, %d voters)", brokers))
	return Transactions{
		Partitions:        int32(b.number(keyTxnPartitions)),
		ReplicationFactor: int16(b.number(keyTxnReplication)),
		MinInSync:         int32(b.number(keyTxnMinISR)),
		TimeoutMax:        b.millis(keyTxnTimeoutMax),
		Expiration:        b.millis(keyTxnExpiration),
	}
}

// groups derives the number of replicas as topics does.
func (b *builder) groups(brokers int) Groups {
	b.derive(keyOffsetsReplication, strconv.Itoa(min(3, brokers)), fmt.Sprintf("min(3, %d voters)", brokers))
	g := Groups{
		Partitions:        int32(b.number(keyOffsetsPartitions)),
		ReplicationFactor: int16(b.number(keyOffsetsReplication)),
		Retention:         time.Duration(b.number(keyOffsetsRetention)) * time.Minute,
		RetentionCheck:    b.millis(keyOffsetsCheck),
		CommitTimeout:     b.millis(keyOffsetsTimeout),
		MetadataBytesMax:  int(b.number(keyOffsetMetadata)),
		InitialDelay:      b.millis(keyGroupDelay),
		SessionMin:        b.millis(keyGroupSessionMin),
		SessionMax:        b.millis(keyGroupSessionMax),
		MembersMax:        int(b.number(keyGroupSize)),
		Consumers: ConsumerGroups{
			Off:        b.consumersOff(),
			MembersMax: int(b.number(keyConsumerSize)),
			Session:    b.millis(keyConsumerSession), Interval: b.millis(keyConsumerInterval),
			SessionMin: b.millis(keyConsumerSessionMin), SessionMax: b.millis(keyConsumerSessionMax),
			IntervalMin: b.millis(keyConsumerBeatMin), IntervalMax: b.millis(keyConsumerBeatMax),
			Assignment: b.assignment(keyConsumerAssign, keyConsumerAssignMin, keyConsumerAssignMax),
			Assignors:  splitList(b.text(keyConsumerAssignors)), Migration: b.text(keyConsumerMigration),
		},
	}
	b.below(keyConsumerInterval, keyConsumerSession)
	b.below(keyConsumerBeatMin, keyConsumerSessionMin)
	b.below(keyConsumerBeatMax, keyConsumerSessionMin)
	if g.SessionMax < g.SessionMin {
		b.refuse(&Refusal{keyGroupSessionMax, b.text(keyGroupSessionMax),
			fmt.Sprintf("it is below %s=%s", keyGroupSessionMin, b.text(keyGroupSessionMin))})
	}
	return g
}

// consumersOff reports whether the protocols of groups lack the consumer protocol, and says what else they
// cannot say.
func (b *builder) consumersOff() bool {
	protocols := splitList(b.text(keyProtocols))
	if !slices.Contains(protocols, "classic") {
		b.refuse(&Refusal{keyProtocols, b.text(keyProtocols), "the classic protocol cannot be turned off; name classic, too"})
	}
	if slices.Contains(protocols, "streams") {
		b.note(streamsGroupsAbsent())
	}
	return !slices.Contains(protocols, "consumer")
}

func (b *builder) replica() Replica {
	r := Replica{
		Heartbeat:     b.millis(keyHeartbeat),
		LeaderTimeout: b.millis(keyLeaderTimeout),
		LagTimeMax:    b.millis(keyLagTime),
		RaftTick:      b.millis(keyRaftTick),
		RaftElection:  b.millis(keyRaftElection),

		BalancePercent: int(b.number(keyBalancePercent)),
	}
	if b.flag(keyBalance) {
		r.BalanceInterval = time.Duration(b.number(keyBalanceInterval)) * time.Second
	}
	if r.LeaderTimeout < heartbeatsMin*r.Heartbeat {
		b.refuse(&Refusal{keyLeaderTimeout, b.text(keyLeaderTimeout),
			fmt.Sprintf("want at least %d times %s (%d ms), or one late heartbeat is a dead broker",
				heartbeatsMin, keyHeartbeat, r.Heartbeat.Milliseconds())})
	}
	if r.LeaderTimeout < timeoutTicksMin*r.RaftTick {
		b.refuse(&Refusal{keyRaftTick, b.text(keyRaftTick),
			fmt.Sprintf("want at most a third of %s (%d ms), or the controller takes its own ticks for "+
				"pauses and finds nobody silent", keyLeaderTimeout, r.LeaderTimeout.Milliseconds())})
	}
	if r.RaftElection < ticksMin*r.RaftTick {
		b.refuse(&Refusal{keyRaftElection, b.text(keyRaftElection),
			fmt.Sprintf("want at least %d times %s (%d ms), since a controller beats every second tick",
				ticksMin, keyRaftTick, r.RaftTick.Milliseconds())})
	}
	return r
}

func (b *builder) wal() WAL {
	w := WAL{
		FlushAlways:         b.text(keyFlushPolicy) == "always",
		RefuseDamaged:       b.text(keyDamagePolicy) == "refuse",
		ScrubInterval:       b.millis(keyScrubInterval),
		ScrubBytesPerSecond: b.number(keyScrubRate),
		DiskFreeMin:         b.number(keyDiskFreeMin),
		RetainedBytes:       b.number(keyWALRetained),
		FileBytes:           b.number(keyWALFile),
		TailBytes:           b.number(keyWALTail),
		CacheBytes:          b.number(keyWALCache),
		CleanerBytes:        b.number(keyCleanerBuffer),
		CleanerBackoff:      b.millis(keyCleanerBackoff),
		CleanerOff:          !b.flag(keyCleanerEnable),
	}
	w.CleanerRate, _ = strconv.ParseFloat(b.text(keyCleanerRate), 64) // Its kind was checked.
	switch {
	case w.FlushAlways && b.text(keyFlushInterval) != "":
		b.note(flushIntervalUnused())
	case !w.FlushAlways:
		b.derive(keyFlushInterval, "1000", sourceDefault)
		w.FlushInterval = b.millis(keyFlushInterval)
		if n := b.number(keyFlushMessages); n > 0 && n < math.MaxInt64 { // as for a topic's flush.messages
			b.refuse(&Refusal{keyFlushMessages, b.text(keyFlushMessages), fmt.Sprintf("records are synced each %d ms, however many they are: "+
				"remove the key, or set %s=always, and every record is synced before it is acknowledged",
				w.FlushInterval.Milliseconds(), keyFlushPolicy)})
		}
	}
	return w
}

func (b *builder) text(key string) string { return b.settings[key].Value }

// number reads an Integer that judge has checked; an unset one is zero.
func (b *builder) number(key string) int64 {
	number, _ := strconv.ParseInt(b.text(key), 10, 64)
	return number
}

func (b *builder) millis(key string) time.Duration {
	return time.Duration(b.number(key)) * time.Millisecond
}

func (b *builder) flag(key string) bool { return strings.EqualFold(b.text(key), "true") }

// below refuses a number that is not below that of another key.
func (b *builder) below(key, other string) {
	if b.number(key) >= b.number(other) {
		b.refuse(&Refusal{key, b.text(key), fmt.Sprintf("it is not below %s=%s", other, b.text(other))})
	}
}

func (b *builder) addresses(key string) []Address {
	var addresses []Address
	for _, text := range splitList(b.text(key)) {
		address, err := ParseAddress(text)
		if err != nil {
			b.refuse(&Refusal{key, b.text(key), err.Error()})
			continue
		}
		addresses = append(addresses, address)
	}
	return addresses
}

// derive sets a key that nobody set.
func (b *builder) derive(key, value, source string) {
	if b.text(key) == "" {
		b.settings[key] = Setting{Value: value, Source: source}
	}
}

func (b *builder) refuse(err error) {
	if err != nil {
		b.refusals = append(b.refusals, err)
	}
}

func (b *builder) note(notes ...Note) { b.notes = append(b.notes, notes...) }
