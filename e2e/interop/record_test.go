package interop

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"outrigger/e2e/tools"
)

var recordTo = flag.String("record", "", "write what the Java client asks of Apache Kafka into this file")

const (
	// recordedEach requests of a key and version are kept, and none that is longer than recordedBytes.
	recordedEach  = 2
	recordedBytes = 400
	recordWithin  = 60 * time.Second
	// recordedAtOnce rows run beside each other.
	recordedAtOnce = 4
)

// recorder is a proxy in front of a broker which keeps what clients ask.
type recorder struct {
	listener net.Listener
	mu       sync.Mutex
	// upstream is where the broker listens.
	upstream string
	// frames are the requests without their size, by key and version.
	frames map[[2]uint16][][]byte
}

func (r *recorder) run() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // it was closed
		}
		r.mu.Lock()
		upstream := r.upstream
		r.mu.Unlock()
		broker, err := net.Dial("tcp", upstream)
		if err != nil {
			_ = client.Close() // the client tries again
			continue
		}
		go func() {
			_, _ = io.Copy(client, broker) // the end of one is the end of both
			_ = client.Close()
		}()
		go func() {
			_ = r.relay(client, broker) // as above
			_ = broker.Close()
		}()
	}
}

// relay passes requests on, one at a time.
func (r *recorder) relay(from io.Reader, to io.Writer) error {
	for {
		frame := make([]byte, 4)
		if _, err := io.ReadFull(from, frame); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(frame))
		if _, err := io.ReadFull(from, body); err != nil {
			return err
		}
		r.keep(body)
		if _, err := to.Write(append(frame, body...)); err != nil {
			return err
		}
	}
}

// keep keeps a request of Java's: franz-go, with which the test looks, calls itself kgo.
func (r *recorder) keep(frame []byte) {
	if len(frame) < 10 || len(frame) > recordedBytes {
		return
	}
	if size := int(int16(binary.BigEndian.Uint16(frame[8:]))); size < 0 || len(frame) < 10+size || string(frame[10:10+size]) == "kgo" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := [2]uint16{binary.BigEndian.Uint16(frame), binary.BigEndian.Uint16(frame[2:])}
	if len(r.frames[at]) < recordedEach {
		r.frames[at] = append(r.frames[at], slices.Clone(frame))
	}
}

// write stores a line for each request: its bytes in hexadecimal.
func (r *recorder) write(file string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, frames := range r.frames {
		for _, f := range frames {
			lines = append(lines, hex.EncodeToString(f))
		}
	}
	slices.Sort(lines)
	head := fmt.Sprintf("# What the Java client and tools of Kafka %s ask, each request without its size.\n# go test ./e2e/interop -run TestRecord -full -record FILE writes this file.\n", tools.KafkaVersion)
	return os.WriteFile(file, []byte(head+strings.Join(lines, "\n")+"\n"), 0o600)
}

// TestRecordWhatJavaAsks runs the rows of the Java client through a proxy against Apache Kafka, and keeps
// its requests for the tests of our decoder. Rows that want three brokers fail, and have asked.
func TestRecordWhatJavaAsks(t *testing.T) {
	if *recordTo == "" {
		t.Skip("-record names no file to write")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cache, err := tools.Default(true)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{listener: listener, frames: map[[2]uint16][][]byte{}}
	go r.run()
	t.Cleanup(func() { _ = listener.Close() })
	j, err := cache.Java(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kafka, err := j.StartKafka(ctx, t.TempDir(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kafka.Stop() })
	r.mu.Lock()
	r.upstream = kafka.Address
	r.mu.Unlock()
	columns, err := installed(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	c, cl := &cluster{kafka: []string{listener.Addr().String()}}, columns[3]
	var all sync.WaitGroup
	turns := make(chan struct{}, recordedAtOnce)
	for _, row := range append(slices.Clone(rows), extraRows...) {
		if row.check == nil {
			continue
		}
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(ctx, recordWithin)
			defer cancel()
			if err := row.check(ctx, c, cl); err != nil {
				t.Logf("%s: %v", row.name, err)
			}
		})
	}
	all.Wait()
	classes, err := cache.Compiled(ctx, j, "testdata/JavaDriver.java")
	if err != nil {
		t.Fatal(err)
	}
	if err := asks(ctx, c, j, classes); err != nil {
		t.Errorf("what no tool asks: %v", err)
	}
	if err := copiesAsBefore(ctx, c, cl); err != nil {
		t.Logf("transactions as before: %v", err)
	}
	if err := r.write(*recordTo); err != nil {
		t.Fatal(err)
	}
}

// extraRows ask what no row of the matrix does.
var extraRows = []row{{"other tools", otherTools}, {"tools that change things", changingTools}}

func otherTools(ctx context.Context, c *cluster, cl *client) error {
	return toolsSay(ctx, c, cl, "other", [][]string{
		{"LeaderElectionCommand", "--election-type", "preferred", "--topic", "other", "--partition", "0"},
		{"FeatureCommand", "describe"}, {"MetadataQuorumCommand", "describe", "--status"}, {"GetOffsetShell", "--topic", "other"},
		{"GroupsCommand", "--list"}, {"AclCommand", "--list"}, {"ClientMetricsCommand", "--list"}, {"BrokerApiVersionsCommand"},
		{"ConfigCommand", "--describe", "--entity-type", "brokers", "--all"}, {"ConfigCommand", "--describe", "--entity-type", "users"},
		{"ConfigCommand", "--describe", "--entity-type", "groups", "--entity-name", "g"},
		{"ConfigCommand", "--alter", "--entity-type", "users", "--entity-name", "u", "--add-config", "consumer_byte_rate=1000000"},
		{"TransactionsCommand", "describe-producers", "--topic", "other", "--partition", "0"}, {"TransactionsCommand", "find-hanging", "--topic", "other"},
		{"consumer.group.ConsumerGroupCommand", "--describe", "--all-groups", "--members"},
		{"consumer.group.ConsumerGroupCommand", "--delete-offsets", "--group", "g", "--topic", "other:0"},
		{"consumer.group.ShareGroupCommand", "--list"},
		{"consumer.group.ShareGroupCommand", "--reset-offsets", "--group", "sharers", "--topic", "other", "--to-earliest", "--execute"},
		{"consumer.group.ShareGroupCommand", "--describe", "--group", "sharers"},
		{"consumer.group.ShareGroupCommand", "--describe", "--group", "sharers", "--members"},
		{"consumer.group.ShareGroupCommand", "--delete-offsets", "--group", "sharers", "--topic", "other"},
		{"LogDirsCommand", "--describe"},
	})
}

// changingTools ask for changes; that some are refused by a cluster of one without security is as well.
func changingTools(ctx context.Context, c *cluster, cl *client) error {
	dir, err := os.MkdirTemp("", "outrigger-record-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	moves, controller := filepath.Join(dir, "moves.json"), filepath.Join(dir, "controller.properties")
	for file, text := range map[string]string{
		moves: `{"version":1,"partitions":[{"topic":"changed","partition":0,"replicas":[1]}]}`,
		controller: "process.roles=controller\nnode.id=9\ncontroller.quorum.bootstrap.servers=127.0.0.1:1\nlisteners=CONTROLLER://127.0.0.1:2\n" +
			"controller.listener.names=CONTROLLER\nadvertised.listeners=CONTROLLER://127.0.0.1:2\nlog.dirs=" + dir + "\n",
		filepath.Join(dir, "meta.properties"): "version=1\ncluster.id=" + recordedUUID + "\nnode.id=9\ndirectory.id=" + recordedUUID + "\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	acl := []string{"--allow-principal", "User:reader", "--operation", "Read", "--topic", "changed"}
	return toolsSay(ctx, c, cl, "changed", [][]string{
		{"TopicCommand", "--alter", "--topic", "changed", "--partitions", "3"},
		{"ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", "changed", "--add-config", "retention.ms=1000000"},
		{"ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", "changed", "--delete-config", "retention.ms"},
		{"reassign.ReassignPartitionsCommand", "--reassignment-json-file", moves, "--execute"},
		{"reassign.ReassignPartitionsCommand", "--reassignment-json-file", moves, "--cancel"},
		{"reassign.ReassignPartitionsCommand", "--list"},
		append([]string{"AclCommand", "--add"}, acl...),
		append([]string{"AclCommand", "--remove", "--force"}, acl...),
		{"FeatureCommand", "upgrade", "--feature", "group.version=1"},
		{"ClusterTool", "unregister", "--id", "9"},
		{"MetadataQuorumCommand", "--command-config", controller, "add-controller"},
		{"MetadataQuorumCommand", "remove-controller", "--controller-id", "9", "--controller-directory-id", recordedUUID},
		{"TopicCommand", "--delete", "--topic", "changed"},
	})
}

// recordedUUID names a cluster and a directory that nobody has.
const recordedUUID = "b3V0cmlnZ2Vyb3V0cmlnZw"

// asks has the client ask what no tool does.
func asks(ctx context.Context, c *cluster, java tools.Java, classes string) error {
	if err := c.topic(ctx, "asked", 1, 1); err != nil {
		return err
	}
	if _, err := c.write(ctx, "asked", "none", numbered(0, 9, 1)); err != nil {
		return err
	}
	cmd := java.Command(classes, "JavaDriver", c.broker(0), "asks", "asked")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// copiesAsBefore has transactions of the version before KIP-890's, whose clients tell the coordinator what they write to.
func copiesAsBefore(ctx context.Context, c *cluster, cl *client) error {
	if err := toolsSay(ctx, c, cl, "", [][]string{{"FeatureCommand", "downgrade", "--feature", "transaction.version=1"}}); err != nil {
		return err
	}
	return copies(ctx, c, cl)
}

// toolsSay runs tools, once the topic is there that they speak of. What they print is of interest to people only.
func toolsSay(ctx context.Context, c *cluster, cl *client, topic string, commands [][]string) error {
	if topic != "" {
		if err := c.topic(ctx, topic, 1, 1); err != nil {
			return err
		}
	}
	with, err := cl.admin(c.broker(0))
	if err != nil {
		return err
	}
	defer func() { _ = with.stop() }()
	j := with.(*javaTools)
	for _, words := range commands {
		if _, err := j.tool(ctx, words[0], words[1:]...); err != nil {
			fmt.Fprintln(os.Stderr, words, err)
		}
	}
	return nil
}
