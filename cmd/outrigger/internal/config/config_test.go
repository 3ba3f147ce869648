package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func machine() string { return "machine.example.net" }

// load judges --set values alone.
func load(t *testing.T, sets ...string) (*Config, []Note, error) {
	t.Helper()
	return Load(Sources{Sets: sets}, machine)
}

func mustLoad(t *testing.T, sources Sources) (*Config, []Note) {
	t.Helper()
	cfg, notes, err := Load(sources, machine)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return cfg, notes
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// said reports the messages and attributes of notes, one line each.
func said(notes []Note) []string {
	var lines []string
	for _, note := range notes {
		lines = append(lines, fmt.Sprintf("%s %v", note.Message, note.Attrs))
	}
	return lines
}

func TestNothingSaidIsAOneNodeCluster(t *testing.T) {
	cfg, notes := mustLoad(t, Sources{})
	want := &Config{
		Node: Node{ID: 1, DataDir: "/tmp/kafka-logs"},
		Kafka: Kafka{
			Listeners: []Listener{{Name: "PLAINTEXT", Addresses: []Address{{"", 9092}},
				Advertised: Address{"machine.example.net", 9092}}},
			PeerListener:   "PLAINTEXT",
			Topics:         TopicDefaults{1, 1, 1, true, true, false},
			RetentionCheck: 5 * time.Minute,
			Groups: Groups{
				Partitions: 50, ReplicationFactor: 1, Retention: 7 * 24 * time.Hour, RetentionCheck: 10 * time.Minute,
				CommitTimeout: 5 * time.Second, MetadataBytesMax: 4096, InitialDelay: 3 * time.Second,
				SessionMin: 6 * time.Second, SessionMax: 30 * time.Minute, MembersMax: 2147483647,
				Consumers: ConsumerGroups{
					MembersMax: 2147483647, Session: 45 * time.Second, Interval: 5 * time.Second,
					SessionMin: 45 * time.Second, SessionMax: time.Minute,
					IntervalMin: 5 * time.Second, IntervalMax: 15 * time.Second,
					Assignment: Assignment{Max: 15 * time.Second},
					Assignors:  []string{"uniform", "range"}, Migration: "bidirectional",
				},
			},
			Shares: Shares{
				Partitions: 50, ReplicationFactor: 1, MinInSync: 2, SnapshotUpdates: 500, WriteTimeout: 5 * time.Second,
				PruneInterval: 5 * time.Minute, ColdInterval: 5 * time.Minute, MembersMax: 200, SessionsMax: 2000,
				Session: 45 * time.Second, SessionMin: 45 * time.Second, SessionMax: time.Minute,
				Interval: 5 * time.Second, IntervalMin: 5 * time.Second, IntervalMax: 15 * time.Second,
				Lock: 30 * time.Second, LockMin: 15 * time.Second, LockMax: time.Minute,
				Deliveries: 5, DeliveriesMin: 2, DeliveriesMax: 10, Held: 2000, HeldMin: 100, HeldMax: 4000,
				Assignment: Assignment{Max: 15 * time.Second}, LetterPrefix: "dlq.",
			},
			Transactions: Transactions{
				Partitions: 50, ReplicationFactor: 1, MinInSync: 2, TimeoutMax: 15 * time.Minute, Expiration: 7 * 24 * time.Hour,
			},
			MessageBytesMax: 1048588, RequestBytesMax: 104857600, FetchBytesMax: 57671680,
			ConnectionsMax: 2147483647, ConnectionsPerIPMax: 2147483647, IdleMax: 10 * time.Minute,
			FetchSessionsMax: 1000, ProducerExpiration: 24 * time.Hour,
		},
		NATS: NATS{Client: Address{"127.0.0.1", 4222}, Ops: Login{User: "ops"}, Sys: Login{User: "admin"}, Tap: "facts", Feeds: true},
		Replica: Replica{300 * time.Millisecond, 1200 * time.Millisecond, 30 * time.Second, 150 * time.Millisecond, 1000 * time.Millisecond,
			5 * time.Minute, 10},
		WAL: WAL{FlushAlways: true, ScrubInterval: 7 * 24 * time.Hour, ScrubBytesPerSecond: 4 << 20,
			DiskFreeMin: -1, RetainedBytes: 8 << 30, FileBytes: 64 << 20, TailBytes: -1, CacheBytes: 32 << 20,
			CleanerBytes: 128 << 20, CleanerBackoff: 15 * time.Second, CleanerRate: math.MaxFloat64},
		HTTP: []Address{{"127.0.0.1", 9644}},
	}
	cfg.settings = nil
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got\n%+v, want\n%+v", cfg, want)
	}
	wantSaid := []string{
		"log.dirs is not set, data lies in Kafka's default directory [dir /tmp/kafka-logs]",
		"listener has no host of its own, clients are told the machine's name [listener PLAINTEXT host machine.example.net]",
	}
	if got := said(notes); !slices.Equal(got, wantSaid) {
		t.Errorf("got notes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantSaid, "\n"))
	}
}

func TestKafkasOwnServerPropertiesStarts(t *testing.T) {
	name := "testdata/kraft-server.properties"
	cfg, notes := mustLoad(t, Sources{File: name, Properties: readFile(t, name)})
	wantListeners := []Listener{{Name: "PLAINTEXT", Addresses: []Address{{"", 9092}}, Advertised: Address{"localhost", 9092}}}
	if !reflect.DeepEqual(cfg.Kafka.Listeners, wantListeners) {
		t.Errorf("got listeners %+v, want %+v", cfg.Kafka.Listeners, wantListeners)
	}
	if got, want := cfg.Node, (Node{ID: 1, DataDir: "/var/lib/kafka/kraft-combined-logs"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got node %+v, want %+v", got, want)
	}
	if got := cfg.Kafka.Topics.Partitions; got != 3 {
		t.Errorf("got %d partitions, want 3", got)
	}
	if cfg.NATS.Cluster != (Address{}) {
		t.Errorf("a one-node cluster would listen for brokers on %v", cfg.NATS.Cluster)
	}
	var unknown, inert, closed int
	for _, line := range said(notes) {
		switch {
		case strings.Contains(line, "unknown"):
			unknown++
		case strings.Contains(line, "no effect") && strings.Contains(line, "num.io.threads"):
			inert++
		case strings.Contains(line, "controller listener") && strings.Contains(line, "CONTROLLER"):
			closed++
		}
	}
	if unknown != 0 || inert != 1 || closed != 1 {
		t.Errorf("got %d unknown, %d inert, %d closed notes, want 0, 1, 1:\n%s", unknown, inert, closed,
			strings.Join(said(notes), "\n"))
	}
}

func TestKafkasStaticVotersNameNATSAddresses(t *testing.T) {
	name := "testdata/kraft-voters.properties"
	cfg, notes := mustLoad(t, Sources{File: name, Properties: readFile(t, name)})
	wantNode := Node{ID: 2, ClusterID: "MkU3OEVBNTcwNTJENDM2Qg", Rack: "eu-west-1b", DataDir: "/data/kafka",
		Voters: []Voter{{1, Address{"kafka-1.example.net", 9093}}, {2, Address{"kafka-2.example.net", 9093}},
			{3, Address{"kafka-3.example.net", 9093}}}}
	if !reflect.DeepEqual(cfg.Node, wantNode) {
		t.Errorf("got node %+v, want %+v", cfg.Node, wantNode)
	}
	wantListeners := []Listener{
		{Name: "EXTERNAL", Addresses: []Address{{"0.0.0.0", 9092}}, Advertised: Address{"kafka-2.example.net", 9092}},
		{Name: "INTERNAL", Addresses: []Address{{"10.0.0.2", 19092}}, Advertised: Address{"10.0.0.2", 19092}},
	}
	if !reflect.DeepEqual(cfg.Kafka.Listeners, wantListeners) {
		t.Errorf("got listeners %+v, want %+v", cfg.Kafka.Listeners, wantListeners)
	}
	if got := cfg.Kafka.PeerListener; got != "INTERNAL" {
		t.Errorf("got %s as the listener for brokers, want INTERNAL", got)
	}
	if got, want := cfg.NATS.Cluster, (Address{"0.0.0.0", 9093}); got != want {
		t.Errorf("got cluster listener %v, want %v", got, want)
	}
	if got, want := cfg.Kafka.Topics, (TopicDefaults{1, 3, 2, false, true, false}); got != want {
		t.Errorf("got topic defaults %+v, want %+v", got, want)
	}
	lines := strings.Join(said(notes), "\n")
	if want := "unknown and ignored [key confluent.metrics.reporter.bootstrap.servers source " + name + "]"; strings.Count(lines, want) != 1 {
		t.Errorf("want once %q in\n%s", want, lines)
	}
}

func TestLastSourceWins(t *testing.T) {
	file := []byte("num.partitions=2\nbroker.rack=a\nmessage.max.bytes=2000\nfetch.max.bytes=5000\n")
	environ := []string{"KAFKA_BROKER_RACK=b", "KAFKA_MESSAGE_MAX_BYTES=3000", "HOME=/root", "KAFKA_OPTS=-Xmx1g"}
	sets := []string{"message.max.bytes=4000", "message.max.bytes=5000"}
	cfg, notes := mustLoad(t, Sources{File: "f", Properties: file, Environ: environ, Sets: sets})
	for key, want := range map[string]Setting{
		"num.partitions":    {"2", "f"},
		"broker.rack":       {"b", "KAFKA_BROKER_RACK"},
		"message.max.bytes": {"5000", "--set"},
		"fetch.max.bytes":   {"5000", "f"},
		"num.io.threads":    {},
		"log.dir":           {"/tmp/kafka-logs", "default"},
	} {
		if got, _ := cfg.Setting(key); got != want {
			t.Errorf("%s: got %+v, want %+v", key, got, want)
		}
	}
	for _, line := range said(notes) {
		if strings.Contains(line, "unknown") {
			t.Errorf("unexpected note %q", line)
		}
	}
}

func TestVariableNamesFollowTheKafkaImage(t *testing.T) {
	for name, want := range map[string]string{
		"KAFKA_NODE_ID":                          "node.id",
		"KAFKA_ADVERTISED_LISTENERS":             "advertised.listeners",
		"KAFKA_LISTENER_NAME_A__B_SSL_X":         "listener.name.a_b.ssl.x",
		"KAFKA_LISTENER_NAME_A___B":              "listener.name.a-b",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":         "controller.quorum.voters",
		"KAFKA_NATS_OPS_PASSWORD":                "nats.ops.password",
		"CLUSTER_ID":                             "cluster.id",
		"KAFKA_HEAP_OPTS":                        "",
		"KAFKA_":                                 "",
		"KAFKAX_NODE_ID":                         "",
		"PATH":                                   "",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "group.initial.rebalance.delay.ms",
	} {
		if got, _ := environKey(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// What Kafka has for its cleaner is in force, and so no key of which the start says that it has no effect.
func TestCleanerGoesByKafkasKeys(t *testing.T) {
	cfg, notes := mustLoad(t, Sources{Sets: []string{
		"log.cleaner.enable=false", "log.cleaner.io.max.bytes.per.second=1.5E7", "log.dirs=/d"}})
	if !cfg.WAL.CleanerOff || cfg.WAL.CleanerRate != 15_000_000 {
		t.Errorf("got off %t, %v bytes per second, want it off, and 15,000,000", cfg.WAL.CleanerOff, cfg.WAL.CleanerRate)
	}
	if got := strings.Join(said(notes), "\n"); strings.Contains(got, "cleaner") {
		t.Errorf("got notes\n%s", got)
	}
}

func TestUnknownKeyIsSaidOnce(t *testing.T) {
	_, notes := mustLoad(t, Sources{File: "f", Properties: []byte("no.such.key=1\n"),
		Environ: []string{"KAFKA_NO_SUCH_KEY=2"}, Sets: []string{"no.such.key=3", "log.dirs=/d"}})
	got := strings.Join(said(notes), "\n")
	if strings.Count(got, "no.such.key") != 1 || !strings.Contains(got, "source --set") {
		t.Errorf("got notes\n%s", got)
	}
}

func TestBadValuesAreRefusedWithKeyValueAndReason(t *testing.T) {
	three := "controller.quorum.voters=1@127.0.0.1:1,2@127.0.0.1:2,3@127.0.0.1:3"
	for _, c := range []struct {
		sets []string
		want string
	}{
		{[]string{"num.partitions=zero"}, "num.partitions=zero is refused: want a whole number"},
		{[]string{"num.partitions=0"}, "num.partitions=0 is refused: want at least 1"},
		{[]string{"num.partitions=9999999999999999999999"}, "num.partitions=9999999999999999999999 is refused: the number does not fit 64 bits"},
		{[]string{"message.max.bytes=99999999"}, "message.max.bytes=99999999 is refused: want at most 62914560 bytes"},
		{[]string{"node.id=-1"}, "node.id=-1 is refused: want at least 0"},
		{[]string{"auto.create.topics.enable=yes"}, "auto.create.topics.enable=yes is refused: want true or false"},
		{[]string{"log.flush.policy=never"}, "log.flush.policy=never is refused: want one of always, interval"},
		{[]string{"log.flush.policy=interval", "log.flush.interval.messages=1"}, "log.flush.interval.messages=1 is refused: records are synced each 1000 ms, however many they are: " +
			"remove the key, or set log.flush.policy=always, and every record is synced before it is acknowledged"},
		{[]string{"log.cleaner.io.max.bytes.per.second=0.5"}, "log.cleaner.io.max.bytes.per.second=0.5 is refused: want a number, 1 at least"},
		{[]string{"log.cleaner.io.max.bytes.per.second=NaN"}, "log.cleaner.io.max.bytes.per.second=NaN is refused: want a number, 1 at least"},
		{[]string{"process.roles=broker,king"}, `process.roles=broker,king is refused: "king" is none of broker, controller`},
		{[]string{"num.io.threads=many"}, "num.io.threads=many is refused: want a whole number"},
		{[]string{"log.dirs=/a,/b"}, "log.dirs=/a,/b is refused: a node has one write-ahead log: name one directory, on a volume that spans the disks"},
		{[]string{"node.id=1", "broker.id=2"}, "broker.id=2 is refused: node.id says 1"},
		{[]string{three}, "node.id is refused: it is needed as soon as controller.quorum.voters is set"},
		{[]string{"controller.quorum.voters=1"}, `controller.quorum.voters=1 is refused: "1" is not id@host:port`},
		{[]string{"controller.quorum.voters=x@h:1", "node.id=1"}, `controller.quorum.voters=x@h:1 is refused: "x@h:1": the id is not a number from 0 up`},
		{[]string{"controller.quorum.voters=1@h", "node.id=1"}, `controller.quorum.voters=1@h is refused: "1@h": want host:port, with brackets around an IPv6 address`},
		{[]string{"controller.quorum.voters=1@0.0.0.0:6222", "node.id=1"}, `controller.quorum.voters=1@0.0.0.0:6222 is refused: "1@0.0.0.0:6222": the other brokers need a host and a port to connect to`},
		{[]string{"controller.quorum.voters=1@h:1,1@h:2", "node.id=1"}, "controller.quorum.voters=1@h:1,1@h:2 is refused: node 1 occurs twice"},
		{[]string{"controller.quorum.voters=1@a:1,2@b:1", "node.id=1"}, "nats.cluster.listen=0.0.0.0:1 is refused: other machines can reach it, so nats.cluster.secret is needed, the same on every broker"},
		{[]string{"nats.cluster.listen=10.0.0.1:6222"}, "nats.cluster.listen=10.0.0.1:6222 is refused: other machines can reach it, so nats.cluster.secret is needed, the same on every broker"},
		{[]string{"nats.client.listen=4222"}, "nats.client.listen=4222 is refused: want host:port, with brackets around an IPv6 address"},
		{[]string{"http.listen=:99999"}, `http.listen=:99999 is refused: port "99999" is not between 0 and 65535`},
		{[]string{"nats.sys.user=ops"}, "nats.sys.user=ops is refused: it is the name of nats.ops.user too"},
		{[]string{"replica.leader.timeout.ms=600"}, "replica.leader.timeout.ms=600 is refused: want at least 3 times replica.heartbeat.interval.ms (300 ms), or one late heartbeat is a dead broker"},
		{[]string{"raft.tick.ms=600", "raft.election.timeout.ms=6000"}, "raft.tick.ms=600 is refused: want at most a third of replica.leader.timeout.ms (1200 ms), or the controller takes its own ticks for pauses and finds nobody silent"},
		{[]string{"raft.election.timeout.ms=200"}, "raft.election.timeout.ms=200 is refused: want at least 6 times raft.tick.ms (150 ms), since a controller beats every second tick"},
		{[]string{"socket.request.max.bytes=2000"}, "socket.request.max.bytes=2000 is refused: a batch may have 1048588 bytes (message.max.bytes), so none of that size would arrive"},
		{[]string{"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"}, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer is refused: access control does not exist in this version; remove the key to run an open broker"},
		{[]string{"group.coordinator.rebalance.protocols=consumer"}, "group.coordinator.rebalance.protocols=consumer is refused: the classic protocol cannot be turned off; name classic, too"},
		{[]string{"group.coordinator.rebalance.protocols=classic,eager"}, `group.coordinator.rebalance.protocols=classic,eager is refused: "eager" is none of classic, consumer, share, streams`},
		{[]string{"cluster.id=a b"}, "cluster.id=a b is refused: want at most 64 characters, no blanks or quotes"},
		{[]string{"novalue"}, "--set novalue is refused: want key=value"},
		{[]string{"=x"}, "--set =x is refused: want key=value"},
	} {
		_, _, err := load(t, append(c.sets, "unused.marker=1")...)
		var refusal *Refusal
		if err == nil || err.Error() != c.want || !errors.As(err, &refusal) {
			t.Errorf("%v:\ngot  %v\nwant %s", c.sets, err, c.want)
		}
	}
}

func TestEveryBadValueIsNamedAtOnce(t *testing.T) {
	_, _, err := load(t, "num.partitions=x", "raft.tick.ms=y")
	if got := strings.Count(fmt.Sprint(err), "is refused"); got != 2 {
		t.Errorf("got %d refusals, want 2: %v", got, err)
	}
}

func TestListenersAndWhatClientsAreTold(t *testing.T) {
	for _, c := range []struct {
		name string
		s    listenerSettings
		want string // "NAME listen -> told" per listener, or the reason
	}{
		{"own host is told", listenerSettings{listeners: "PLAINTEXT://127.0.0.1:9092"}, "PLAINTEXT [127.0.0.1:9092] -> 127.0.0.1:9092"},
		{"wildcard tells the machine", listenerSettings{listeners: "PLAINTEXT://0.0.0.0:9092"}, "PLAINTEXT [0.0.0.0:9092] -> m:9092"},
		{"IPv6 wildcard tells the machine", listenerSettings{listeners: "PLAINTEXT://[::]:9092"}, "PLAINTEXT [[::]:9092] -> m:9092"},
		{"lower case names", listenerSettings{listeners: "plaintext://h:1"}, "PLAINTEXT [h:1] -> h:1"},
		{"advertised", listenerSettings{listeners: "PLAINTEXT://:9092", advertised: "PLAINTEXT://public:19092"}, "PLAINTEXT [:9092] -> public:19092"},
		{"advertised without host", listenerSettings{listeners: "PLAINTEXT://:9092", advertised: "PLAINTEXT://:9092"}, "PLAINTEXT [:9092] -> m:9092"},
		{"any port", listenerSettings{listeners: "PLAINTEXT://127.0.0.1:0"}, "PLAINTEXT [127.0.0.1:0] -> 127.0.0.1:0"},
		{"one name on both loopbacks", listenerSettings{listeners: "PLAINTEXT://127.0.0.1:1,PLAINTEXT://[::1]:1", advertised: "PLAINTEXT://127.0.0.1:1"},
			"PLAINTEXT [127.0.0.1:1 [::1]:1] -> 127.0.0.1:1"},
		{"a name for each loopback", listenerSettings{listeners: "PLAINTEXT://127.0.0.1:1,V6://[::1]:1", protocolMap: "PLAINTEXT:PLAINTEXT,V6:PLAINTEXT",
			advertised: "V6://127.0.0.1:1"}, "PLAINTEXT [127.0.0.1:1] -> 127.0.0.1:1; V6 [[::1]:1] -> 127.0.0.1:1"},
		{"0.0.0.0 advertised", listenerSettings{listeners: "PLAINTEXT://:9092", advertised: "PLAINTEXT://0.0.0.0:9092"},
			"no client can connect to 0.0.0.0; name a host that clients can resolve"},
		{"[::] advertised", listenerSettings{listeners: "PLAINTEXT://:9092", advertised: "PLAINTEXT://[::]:9092"},
			"no client can connect to ::; name a host that clients can resolve"},
		{"port 0 advertised", listenerSettings{listeners: "PLAINTEXT://:9092", advertised: "PLAINTEXT://h:0"}, "clients need a port other than 0"},
		{"advertised but not there", listenerSettings{listeners: "PLAINTEXT://:9092", advertised: "OTHER://h:1"}, "OTHER is not among the listeners"},
		{"advertised twice", listenerSettings{listeners: "PLAINTEXT://:9092", advertised: "PLAINTEXT://h:1,PLAINTEXT://h:2"}, "the name PLAINTEXT occurs twice"},
		{"same name", listenerSettings{listeners: "PLAINTEXT://:1,PLAINTEXT://:2"}, "the name PLAINTEXT occurs twice, with different ports"},
		{"same port", listenerSettings{listeners: "A://h:1,B://h:1", protocolMap: "A:PLAINTEXT,B:PLAINTEXT"}, "A and B listen on the same port"},
		{"same port under a wildcard", listenerSettings{listeners: "A://:1,B://h:1", protocolMap: "A:PLAINTEXT,B:PLAINTEXT"}, "A and B listen on the same port"},
		{"TLS", listenerSettings{listeners: "SSL://:9093"}, "SSL wants SSL, and this version speaks PLAINTEXT only"},
		{"mapped to SASL", listenerSettings{listeners: "A://:1", protocolMap: "A:SASL_SSL"}, "A wants SASL_SSL, and this version speaks PLAINTEXT only"},
		{"unmapped name", listenerSettings{listeners: "A://:1"}, "A has no protocol in listener.security.protocol.map; known are PLAINTEXT, SASL_PLAINTEXT, SASL_SSL, SSL"},
		{"bad map", listenerSettings{listeners: "A://:1", protocolMap: "A:TELNET"}, `"A:TELNET" is not name:protocol with a protocol of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL`},
		{"no scheme", listenerSettings{listeners: ":9092"}, `":9092" is not name://host:port`},
		{"no port", listenerSettings{listeners: "PLAINTEXT://h"}, `"PLAINTEXT://h": want host:port, with brackets around an IPv6 address`},
		{"bare IPv6", listenerSettings{listeners: "PLAINTEXT://::1:9092"}, `"PLAINTEXT://::1:9092": want host:port, with brackets around an IPv6 address`},
		{"controllers only", listenerSettings{listeners: "CONTROLLER://:9093", controllers: "CONTROLLER"}, "no listener is left to open for Kafka clients"},
		{"controller beside SSL map", listenerSettings{listeners: "PLAINTEXT://h:1,C://:2", controllers: "c", protocolMap: "C:SSL"}, "PLAINTEXT [h:1] -> h:1"},
	} {
		c.s.machine = func() string { return "m" }
		listeners, _, err := c.s.resolve()
		var refusal *Refusal
		var got []string
		for _, l := range listeners {
			got = append(got, fmt.Sprintf("%s %v -> %v", l.Name, l.Addresses, l.Advertised))
		}
		text := strings.Join(got, "; ")
		if errors.As(err, &refusal) {
			text = refusal.Reason
		}
		if text != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, text, c.want)
		}
	}
}

// TestBrokersMeetAtTheListenerThatIsNamedForThem, or at the one that Kafka's defaults name, or at the first.
func TestBrokersMeetAtTheListenerThatIsNamedForThem(t *testing.T) {
	const sole, two, odd = "listeners=A://h:1", "listeners=A://h:1,B://h:2", "listeners=A://h:1,PLAINTEXT://h:2"
	for _, c := range []struct {
		sets []string
		want string // a name, or the error
	}{
		{[]string{sole}, "A"},
		{[]string{two}, "A"},
		{[]string{odd}, "PLAINTEXT"},
		{[]string{odd, "security.inter.broker.protocol=plaintext"}, "PLAINTEXT"},
		{[]string{two, "inter.broker.listener.name=B"}, "B"},
		{[]string{two, "inter.broker.listener.name=b"}, "B"},
		{[]string{odd, "inter.broker.listener.name=A"}, "A"},
		{[]string{two, "inter.broker.listener.name=C"}, "inter.broker.listener.name=C is refused: it is not among the listeners that are opened; name one of A, B"},
		{[]string{two + ",C://h:3", "controller.listener.names=C", "inter.broker.listener.name=C"}, "inter.broker.listener.name=C is refused: it is not among the listeners that are opened; name one of A, B"},
		{[]string{odd, "inter.broker.listener.name=A", "security.inter.broker.protocol=PLAINTEXT"}, "security.inter.broker.protocol=PLAINTEXT is refused: inter.broker.listener.name is set too; remove one of them"},
		{[]string{odd, "security.inter.broker.protocol=SASL_SSL"}, "security.inter.broker.protocol=SASL_SSL is refused: this version speaks PLAINTEXT only; remove the key"},
		{[]string{two, "security.inter.broker.protocol=PLAINTEXT"}, "security.inter.broker.protocol=PLAINTEXT is refused: no listener has that name; set inter.broker.listener.name to one of A, B instead"},
	} {
		cfg, notes, err := load(t, append(c.sets, "listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT,C:PLAINTEXT")...)
		got := fmt.Sprint(err)
		if err == nil {
			got = cfg.Kafka.PeerListener
		}
		if got != c.want {
			t.Errorf("%v:\ngot  %s\nwant %s", c.sets, got, c.want)
		}
		guessed := strings.Contains(strings.Join(said(notes), "\n"), "at the first listener")
		if want := len(c.sets) == 1 && c.sets[0] == two; guessed != want {
			t.Errorf("%v: told that the first was taken: got %v, want %v", c.sets, guessed, want)
		}
	}
}

func TestReplicationDefaultsFollowTheVoters(t *testing.T) {
	voters := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("%d@127.0.0.1:%d", i+1, 6222+i))
		}
		return "controller.quorum.voters=" + strings.Join(list, ",")
	}
	for _, c := range []struct {
		sets   []string
		rf     int16
		minISR int
	}{
		{nil, 1, 1},
		{[]string{voters(1), "node.id=1"}, 1, 1},
		{[]string{voters(2), "node.id=1"}, 2, 1},
		{[]string{voters(3), "node.id=1"}, 3, 2},
		{[]string{voters(5), "node.id=1"}, 3, 2},
		{[]string{voters(3), "node.id=9", "nats.cluster.listen=127.0.0.1:0"}, 3, 2},
		{[]string{voters(3), "node.id=1", "default.replication.factor=2", "min.insync.replicas=1"}, 2, 1},
	} {
		cfg, _, err := load(t, c.sets...)
		if err != nil {
			t.Errorf("%v: %v", c.sets, err)
			continue
		}
		if got := cfg.Kafka.Topics; got.ReplicationFactor != c.rf || got.MinInSyncReplicas != c.minISR {
			t.Errorf("%v: got factor %d, min %d; want %d, %d", c.sets, got.ReplicationFactor, got.MinInSyncReplicas, c.rf, c.minISR)
		}
	}
}

func TestClusterListenerFollowsTheVoters(t *testing.T) {
	const secret = "nats.cluster.secret=s"
	for _, c := range []struct {
		sets []string
		want Address
	}{
		{nil, Address{}},
		{[]string{"node.id=1", "controller.quorum.voters=1@localhost:9093"}, Address{}},
		{[]string{"node.id=2", "controller.quorum.voters=1@127.0.0.1:7001,2@127.0.0.1:7002"}, Address{"127.0.0.1", 7002}},
		{[]string{"node.id=2", "controller.quorum.voters=1@[::1]:7001,2@[::1]:7002"}, Address{"::1", 7002}},
		{[]string{"node.id=2", "controller.quorum.voters=1@a:7001,2@b:7002", secret}, Address{"0.0.0.0", 7002}},
		{[]string{"node.id=3", "controller.quorum.voters=1@a:7001,2@b:7002", secret}, Address{"0.0.0.0", 6222}},
		{[]string{"nats.cluster.listen=127.0.0.1:6222"}, Address{"127.0.0.1", 6222}},
	} {
		cfg, _, err := load(t, c.sets...)
		if err != nil {
			t.Errorf("%v: %v", c.sets, err)
			continue
		}
		if got := cfg.NATS.Cluster; got != c.want {
			t.Errorf("%v: got %v, want %v", c.sets, got, c.want)
		}
	}
}

func TestClassicTimersAreAccepted(t *testing.T) {
	cfg, _, err := load(t, "replica.heartbeat.interval.ms=10000", "replica.leader.timeout.ms=30000",
		"raft.tick.ms=1000", "raft.election.timeout.ms=30000", "connections.max.idle.ms=-1",
		"log.flush.policy=interval", "log.flush.interval.messages=9223372036854775807")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Replica.LeaderTimeout != 30*time.Second || cfg.Kafka.IdleMax != 0 || cfg.WAL.FlushAlways || cfg.WAL.FlushInterval != time.Second {
		t.Errorf("got %+v, idle %v, wal %+v", cfg.Replica, cfg.Kafka.IdleMax, cfg.WAL)
	}
}

// TestConsumerProtocolIsOffUnlessItIsNamed, and streams groups are told not to exist.
func TestConsumerProtocolIsOffUnlessItIsNamed(t *testing.T) {
	for protocols, off := range map[string]bool{"classic": true, "classic,share": true, "classic,consumer,streams": false} {
		cfg, notes, err := load(t, "group.coordinator.rebalance.protocols="+protocols)
		if err != nil || cfg.Kafka.Groups.Consumers.Off != off {
			t.Errorf("%s: got %+v, %v, want off %v", protocols, cfg, err, off)
		}
		if told, want := strings.Contains(strings.Join(said(notes), "\n"), "streams groups do not exist"),
			strings.Contains(protocols, "streams"); told != want {
			t.Errorf("%s: told of streams groups: got %v, want %v", protocols, told, want)
		}
	}
}

func TestPrintRedactsSecretsAndReadsBack(t *testing.T) {
	sources := Sources{File: "f", Properties: readFile(t, "testdata/kraft-voters.properties"),
		Sets: []string{"nats.ops.password=hunter3", "http.listen="}}
	cfg, _ := mustLoad(t, sources)
	text := cfg.Print()
	if strings.Contains(text, "hunter") {
		t.Errorf("a secret is shown:\n%s", text)
	}
	for _, want := range []string{"nats.cluster.secret=<redacted>\n", "# --set\nnats.ops.password=<redacted>\n",
		"nats.sys.password=\n", "# min(3, 3 voters)\ndefault.replication.factor=3\n", "num.partitions=1\n",
		"# f\ngroup.initial.rebalance.delay.ms=0\n", "# --set\nhttp.listen=\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
	again, _ := mustLoad(t, Sources{File: "printed", Properties: []byte(text)})
	cfg.settings, again.settings = nil, nil
	cfg.NATS.ClusterSecret, again.NATS.ClusterSecret = "", ""
	cfg.NATS.Ops.Password, again.NATS.Ops.Password = "", ""
	if !reflect.DeepEqual(again, cfg) {
		t.Errorf("got\n%+v, want\n%+v", again, cfg)
	}
}

func TestPropertiesTellNoSecret(t *testing.T) {
	cfg, _ := mustLoad(t, Sources{Sets: []string{"nats.cluster.secret=hunter2", "broker.rack=r"}})
	byName := make(map[string]Property)
	for _, property := range cfg.Properties() {
		byName[property.Name] = property
	}
	for _, want := range []Property{
		{Name: "nats.cluster.secret", Set: true, Secret: true}, {Name: "broker.rack", Value: "r", Set: true},
		{Name: "num.partitions", Value: "1", Default: "1", Kind: Integer, Max: 10_000}, {Name: "cluster.id"},
	} {
		got := byName[want.Name]
		if got.Doc == "" {
			t.Errorf("%s: no word on what it does", want.Name)
		}
		if got.Doc = ""; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestTableIsSound(t *testing.T) {
	seen := make(map[string]bool)
	for _, key := range Table() {
		if seen[key.Name] {
			t.Errorf("%s occurs twice", key.Name)
		}
		seen[key.Name] = true
		if key.Effect == InForce && key.Doc == "" {
			t.Errorf("%s says nothing to the operator", key.Name)
		}
		if key.Default != "" {
			if reason := key.check(key.Default); reason != "" {
				t.Errorf("%s: its own default is refused: %s", key.Name, reason)
			}
		}
	}
}

func TestSecretIsNotShownInARefusal(t *testing.T) {
	err := refuse(Key{Name: "k", Secret: true}, "hunter2", "reason")
	if got, want := err.Error(), "k=<redacted> is refused: reason"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzPropertiesNeverPanic(f *testing.F) {
	f.Add([]byte("listeners=A://[::1]:1,B://:2\ncontroller.quorum.voters=1@h:1"))
	f.Add([]byte("a=${a}\nb:\\u12\n=\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			return
		}
		cfg, _, err := Load(Sources{File: "f", Properties: content}, machine)
		if err == nil && len(cfg.Kafka.Listeners) == 0 {
			t.Error("started without a listener")
		}
	})
}

// TestFinerUnitGoesFirst: ms before minutes before hours, as in Kafka, wherever they were set.
func TestFinerUnitGoesFirst(t *testing.T) {
	for _, c := range []struct {
		sets []string
		want map[string]string
	}{
		{nil, nil},
		{[]string{"log.retention.hours=168", "log.roll.hours=168"}, nil},
		{[]string{"log.retention.hours=1"}, map[string]string{"retention.ms": "3600000"}},
		{[]string{"log.retention.hours=1", "log.retention.minutes=2"}, map[string]string{"retention.ms": "120000"}},
		{[]string{"log.retention.minutes=2", "log.retention.ms=3", "log.retention.hours=1"}, map[string]string{"retention.ms": "3"}},
		{[]string{"log.retention.ms=-1"}, map[string]string{"retention.ms": "-1"}},
		{[]string{"log.retention.hours=-1"}, map[string]string{"retention.ms": "-1"}},
		{[]string{"log.roll.hours=2", "log.cleanup.policy=compact,delete", "compression.type=zstd"},
			map[string]string{"segment.ms": "7200000", "cleanup.policy": "compact,delete", "compression.type": "zstd"}},
	} {
		cfg, _ := mustLoad(t, Sources{Sets: c.sets})
		if !reflect.DeepEqual(cfg.Kafka.TopicConfigs, c.want) {
			t.Errorf("%v: got %v, want %v", c.sets, cfg.Kafka.TopicConfigs, c.want)
		}
	}
}
