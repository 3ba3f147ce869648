package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/broker/wal"
	"outrigger/cmd/outrigger/internal/port"
	"outrigger/sidecar/raftstore"
)

// patience is far more than anything here takes on a busy machine.
const patience = 30 * time.Second

// executable is this command, built once by TestMain.
var executable string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "outrigger-cmd-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	executable = filepath.Join(dir, "outrigger")
	if output, err := exec.Command("go", "build", "-o", executable, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, output))
	}
	m.Run()
}

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// lastLine is where a command says why it failed.
func (o outcome) lastLine() string {
	lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
	return lines[len(lines)-1]
}

// run waits for a command that ends by itself.
func run(t *testing.T, stdin io.Reader, arguments ...string) outcome {
	t.Helper()
	command := exec.Command(executable, arguments...)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = stdin, &stdout, &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(patience, func() { _ = command.Process.Kill() })
	defer kill.Stop()
	_ = command.Wait()
	return outcome{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// lockedBuffer collects what a running process says. The buffer is not embedded: its ReadFrom would be
// taken for ours, past the lock.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// single is one broker started by `start`.
type single struct {
	*testing.T
	command           *exec.Cmd
	stdin             io.Closer
	log               *lockedBuffer
	data              string
	kafka, nats, http string
}

// startSingle runs a broker in data on free ports and waits until it serves.
func startSingle(t *testing.T, data string, arguments ...string) *single {
	t.Helper()
	ports, err := port.Free(3, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i])) }
	s := &single{T: t, log: &lockedBuffer{}, data: data, kafka: at(0), nats: at(1), http: at(2)}
	all := []string{"start", "--stop-on-eof"}
	for _, set := range []string{"log.dirs=" + data, "listeners=PLAINTEXT://" + s.kafka + ",CONTROLLER://:9093",
		"advertised.listeners=PLAINTEXT://" + s.kafka, "controller.listener.names=CONTROLLER",
		"nats.client.listen=" + s.nats, "http.listen=" + s.http} {
		all = append(all, "--set", set)
	}
	s.command = exec.Command(executable, append(all, arguments...)...)
	s.command.Stderr = s.log
	stdin, err := s.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stdin = stdin
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.command.Process.Kill()
		_ = s.command.Wait()
		if t.Failed() {
			t.Logf("broker said:\n%s", s.log)
		}
	})
	eventually(t, "the broker is ready", func() bool { status, _ := s.get("/ready"); return status == http.StatusOK })
	return s
}

// get asks the broker's HTTP side.
func (s *single) get(path string) (int, string) {
	response, err := http.Get("http://" + s.http + path)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// end waits until the broker has ended, and returns its exit code.
func (s *single) end() int {
	s.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.command.Wait()
	}()
	select {
	case <-ended:
		return s.command.ProcessState.ExitCode()
	case <-time.After(patience):
		s.Fatal("the broker does not stop")
		return -1
	}
}

func TestServerPropertiesOfKafkaServesAndStopsCleanly(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	config := filepath.Join("internal", "config", "testdata", "kraft-server.properties")
	s := startSingle(t, data, "--config", config)
	for _, want := range []string{"controller listener is not opened", "have no effect in this version", "broker started"} {
		if strings.Count(s.log.String(), want) != 1 {
			t.Errorf("want once in the log: %s", want)
		}
	}
	if status, body := s.get("/health"); status != http.StatusOK || !strings.Contains(body, `"pid":`+strconv.Itoa(s.command.Process.Pid)) {
		t.Errorf("/health: got %d %s", status, body)
	}
	if status, body := s.get("/metrics"); status != http.StatusOK || !strings.Contains(body, "\nkafka_brokers 1\n") {
		t.Errorf("/metrics: got %d without kafka_brokers 1", status)
	}
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.end(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	if !strings.Contains(s.log.String(), `"msg":"broker stopped","node":1,"clean_stop":true`) {
		t.Error("the stop was not clean")
	}
	again := startSingle(t, data, "--config", config)
	if !strings.Contains(again.log.String(), `"clean_stop":true`) {
		t.Error("the clean stop was forgotten")
	}
	// The end of stdin is the other way to ask for a stop.
	if err := again.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if code := again.end(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

func TestOperatorsCommandsOnOneBroker(t *testing.T) {
	s := startSingle(t, filepath.Join(t.TempDir(), "data"))
	url := s.operatorURL()
	healthy := run(t, nil, "status", "--nats", url, "--json")
	var report struct {
		Brokers []struct {
			Node    int
			Role    string
			Version string
		}
		Partitions []any
	}
	if err := json.Unmarshal([]byte(healthy.stdout), &report); err != nil || healthy.code != 0 {
		t.Fatalf("status: got %+v, %v", healthy, err)
	}
	if len(report.Brokers) != 1 || report.Brokers[0].Role != "leader" || report.Brokers[0].Version != fullVersion() {
		t.Errorf("status: got %+v", report)
	}
	if got := run(t, nil, "status", "--nats", "nats://"+s.nats); got.code != exitUnreachable {
		t.Errorf("status with ops/ops where passwords were drawn: got %+v, want code 2", got)
	}
	topics := func(arguments ...string) outcome {
		return run(t, nil, append([]string{"topic", "--bootstrap-server", s.kafka}, arguments...)...)
	}
	if got := topics("create", "a..b", "--partitions", "2", "--config", "min.insync.replicas=1"); got.code != 0 || got.stdout != "a..b created\n" {
		t.Errorf("create: got %+v", got)
	}
	if got := topics("create", "a..b"); got.code != 1 || !strings.Contains(got.lastLine(), "TOPIC_ALREADY_EXISTS") {
		t.Errorf("create twice: got %+v", got)
	}
	if got := topics("list", "--json"); got.code != 0 || got.stdout != "[\"a..b\"]\n" {
		t.Errorf("list: got %+v", got)
	}
	if got := topics("describe", "a..b"); got.code != 0 || !strings.Contains(got.stdout, "2 partitions, 1 replicas, min.insync.replicas=1") {
		t.Errorf("describe: got %+v", got)
	}
	if got := topics("delete", "a..b", "nothing"); got.code != 1 || got.stdout != "a..b deleted\n" || !strings.Contains(got.lastLine(), "UNKNOWN_TOPIC_OR_PARTITION") {
		t.Errorf("delete: got %+v", got)
	}
}

// A free port was asked for: the file tells the one that was taken.
func TestOperatorsFileNamesThePortInUse(t *testing.T) {
	s := startSingle(t, filepath.Join(t.TempDir(), "data"), "--set", "nats.client.listen=127.0.0.1:0")
	if got := run(t, nil, "status", "--nats", s.operatorURL()); got.code != 0 {
		t.Errorf("status with the URL of the file: got %+v, want code 0", got)
	}
}

// A batch that one broker takes has to fit every other, so a broker that differs says so and ends; and so does one
// whose log does not hold what a topic allows itself.
func TestBrokerWithAnotherLargestBatchIsRefused(t *testing.T) {
	ports, err := port.Free(2, []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	voters := "controller.quorum.voters=1@127.0.0.1:" + strconv.Itoa(ports[0])
	one := startSingle(t, filepath.Join(t.TempDir(), "one"), "--set", "node.id=1", "--set", voters,
		"--set", "nats.cluster.listen=127.0.0.1:"+strconv.Itoa(ports[0]), "--set", "cluster.id=c")
	if got := run(t, nil, "topic", "create", "large", "--config", "max.message.bytes=2093057", "--bootstrap-server", one.kafka); got.code != 0 {
		t.Fatalf("create a topic: got %+v", got)
	}
	for set, want := range map[string]string{
		"message.max.bytes=2000000": "message.max.bytes=2000000 is refused: broker 1 has 1048588, and all brokers need the same",
		"wal.file.bytes=8388608": `this broker is refused: it carries batches of 2093056 bytes, and broker 1 takes larger ones ` +
			`of topic "large" (max.message.bytes=2093057)`,
	} {
		got := run(t, nil, "start", "--set", "node.id=2", "--set", voters, "--set", "cluster.id=c",
			"--set", "nats.cluster.listen=127.0.0.1:"+strconv.Itoa(ports[1]), "--set", "nats.client.listen=127.0.0.1:0",
			"--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "http.listen=127.0.0.1:0",
			"--set", "log.dirs="+filepath.Join(t.TempDir(), "two"), "--set", set)
		if got.code != exitConfig || !strings.Contains(got.lastLine(), want) {
			t.Errorf("got  %d %s\nwant %d %s", got.code, got.lastLine(), exitConfig, want)
		}
	}
}

// A request for more than the metadata log takes at once is refused as a whole and at once; its outcome is
// known.
func TestTooManyTopicsAtOnceAreRefused(t *testing.T) {
	s := startSingle(t, filepath.Join(t.TempDir(), "data"))
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var names []string
	for i := range 10_000 {
		names = append(names, fmt.Sprintf("%s-%d", strings.Repeat("long", 20), i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	created, err := admin.CreateTopics(ctx, 1, 1, nil, names...)
	if err != nil {
		t.Fatal(err)
	}
	for name, one := range created {
		if !errors.Is(one.Err, kerr.PolicyViolation) {
			t.Fatalf("%s: got %v, want %v", name, one.Err, kerr.PolicyViolation)
		}
	}
	if topics, err := admin.ListTopics(ctx); err != nil || len(topics) != 0 || len(created) != len(names) {
		t.Errorf("got %d topics of %d answers, %v; want none of %d", len(topics), len(created), err, len(names))
	}
}

// operatorURL reads how an operator logs in, and where.
func (s *single) operatorURL() string {
	s.Helper()
	name := filepath.Join(s.data, "nats-operator.json")
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		s.Fatalf("got %v, %v, want mode 0600", info, err)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		s.Fatal(err)
	}
	var operator struct {
		URL string
		Ops struct{ User, Password string }
	}
	if err := json.Unmarshal(content, &operator); err != nil {
		s.Fatal(err)
	}
	return strings.Replace(operator.URL, "://", "://"+operator.Ops.User+":"+operator.Ops.Password+"@", 1)
}

func TestWALDumpReadsEveryRecordAndNamesDamage(t *testing.T) {
	s := startSingle(t, filepath.Join(t.TempDir(), "data"))
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("t"),
		kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 3 {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(strings.Repeat("payload", 100)+strconv.Itoa(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if code := s.end(); code != 0 {
		t.Fatalf("got exit code %d", code)
	}
	dump := run(t, nil, "wal", "dump", "--json", s.data)
	records, at := countRecords(t, dump.stdout)
	if dump.code != 0 || records != 3 {
		t.Fatalf("got code %d, %d records, %s, want 0 and 3 records", dump.code, records, dump.lastLine())
	}
	if text := run(t, nil, "wal", "dump", s.data); text.code != 0 || strings.Count(text.stdout, " data ") != len(at) {
		t.Errorf("got %+v", text)
	}
	// The first batch: a later group says that it was synced, so this is damage and no torn tail.
	flip(t, filepath.Join(s.data, "wal", filepath.Base(at[0].File)), at[0].Offset+100)
	damaged := run(t, nil, "wal", "dump", s.data)
	if damaged.code != 1 || !strings.Contains(damaged.lastLine(), filepath.Base(at[0].File)) || !strings.Contains(damaged.lastLine(), "at byte ") {
		t.Errorf("got code %d, %s, want 1 and the place", damaged.code, damaged.lastLine())
	}
	if !strings.Contains(damaged.stdout, " damage: ") {
		t.Errorf("no damage is listed in\n%s", damaged.stdout)
	}
}

// countRecords counts the Kafka records in a dump and returns its data lines.
func countRecords(t *testing.T, dump string) (records int, data []dumpLine) {
	t.Helper()
	for text := range strings.Lines(dump) {
		var line dumpLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if line.Type == "data" {
			records += int(line.Batch.Records)
			data = append(data, line)
		}
	}
	return records, data
}

// flip changes one bit of a file.
func flip(t *testing.T, name string, offset int64) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b [1]byte
	if _, err := file.ReadAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := file.WriteAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
}

func TestRefusalsAreOneSentenceWithACode(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	empty := t.TempDir()
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := os.Mkdir(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(foreign, "meta.properties"), []byte("version=1\nnode.id=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	natsConf := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(natsConf, []byte("accounts { RAFT { users: [] } }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		arguments []string
		code      int
		want      string
	}{
		{"bad value", []string{"start", "--set", "num.partitions=x"}, exitConfig, "outrigger: num.partitions=x is refused: want a whole number"},
		{"two bad values", []string{"start", "--set", "num.partitions=x", "--set", "raft.tick.ms=y"}, exitConfig, "outrigger: raft.tick.ms=y is refused: want a whole number"},
		{"unknown flag", []string{"start", "--nonsense"}, exitConfig, "outrigger: unknown flag: --nonsense"},
		{"argument", []string{"start", "now"}, exitConfig, `outrigger: unknown command "now" for "outrigger start"`},
		{"unknown command", []string{"serve"}, exitConfig, `outrigger: unknown command "serve" for "outrigger"`},
		{"unknown topic command", []string{"topic", "lst"}, exitConfig, `outrigger: unknown command "lst" for "outrigger topic"`},
		{"unknown wal command", []string{"wal", "dmup", empty}, exitConfig, `outrigger: unknown command "dmup" for "outrigger wal"`},
		{"no such file", []string{"start", "--config", "/no/such/file"}, exitConfig, "outrigger: read --config: open /no/such/file: no such file or directory"},
		{"no secret", []string{"start", "--set", "nats.cluster.listen=0.0.0.0:6222"}, exitConfig,
			"outrigger: nats.cluster.listen=0.0.0.0:6222 is refused: other machines can reach it, so nats.cluster.secret is needed, the same on every broker"},
		{"nats.conf with our accounts", []string{"start", "--set", "log.dirs=" + fresh, "--set", "nats.config=" + natsConf}, exitConfig, "outrigger: configure NATS: "},
		{"foreign directory", []string{"start", "--set", "log.dirs=" + foreign}, exitDataDir,
			"outrigger: data directory " + foreign + " belongs to another program, its meta.properties was not written by Outrigger: name another directory"},
		{"taken port", []string{"start", "--set", "log.dirs=" + fresh, "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set",
			"nats.client.listen=" + taken.Addr().String(), "--set", "http.listen=127.0.0.1:0"}, exitPort,
			"outrigger: port " + taken.Addr().String() + " for NATS clients is taken by another process: stop that process or change nats.client.listen"},
		{"dev flag", []string{"dev", "--brokers", "0"}, exitConfig, "outrigger: --brokers=0 is refused: want 1 to 99"},
		{"dev value", []string{"dev", "--data", fresh, "--set", "num.partitions=x", "--kafka-port", "0", "--nats-port", "0", "--cluster-port", "0", "--http-port", "0"},
			exitConfig, "outrigger: num.partitions=x is refused: want a whole number"},
		{"nobody there", []string{"status", "--nats", "nats://127.0.0.1:1"}, exitUnreachable, "outrigger: connect to nats://127.0.0.1:1: "},
		{"log format", []string{"--log-format", "xml", "start"}, exitConfig, "outrigger: --log-format=xml is refused: want auto, text or json"},
		{"no log there", []string{"wal", "dump", empty}, exitFailure, "outrigger: no write-ahead log lies in " + empty},
		{"topic config", []string{"topic", "create", "t", "--config", "x"}, exitConfig, "outrigger: --config x is refused: want key=value"},
	} {
		got := run(t, nil, c.arguments...)
		if got.code != c.code || !strings.HasPrefix(got.lastLine(), c.want) {
			t.Errorf("%s:\ngot  %d %s\nwant %d %s", c.name, got.code, got.lastLine(), c.code, c.want)
		}
	}
	if _, err := os.Stat(fresh); !os.IsNotExist(err) {
		t.Errorf("something was made in spite of a refusal: %v", err)
	}
	if entries, _ := os.ReadDir(foreign); len(entries) != 1 {
		t.Errorf("the foreign directory was touched: %v", entries)
	}
}

func TestPrintedConfigurationHoldsNoSecret(t *testing.T) {
	sets := []string{"--set", "nats.cluster.secret=hunter2", "--set", "nats.ops.password=hunter3", "--set", "nats.sys.password=hunter4",
		"--set", "controller.quorum.voters=1@127.0.0.1:6222,2@127.0.0.1:6223", "--set", "node.id=1"}
	for flag, want := range map[string]string{
		"--print-config":      "nats.cluster.secret=<redacted>\n",
		"--print-nats-config": "127.0.0.1:6223",
	} {
		got := run(t, nil, append([]string{"start", flag}, sets...)...)
		if got.code != 0 || strings.Contains(got.stdout, "hunter") || !strings.Contains(got.stdout, want) {
			t.Errorf("%s: got %+v", flag, got)
		}
	}
	got := run(t, nil, "start", "--print-config", "--set", "num.partitons=3")
	if got.code != 0 || strings.Count(got.stderr, `"key":"num.partitons"`) != 1 || strings.Contains(got.stdout, "num.partitons") {
		t.Errorf("an unknown key: got %+v, want one warning on stderr", got)
	}
}

// TestKilledGoRunLeavesNothingBehind: `go run` dies of a SIGTERM and does not hand it on.
func TestKilledGoRunLeavesNothingBehind(t *testing.T) {
	command := exec.Command("go", "run", ".", "dev", "--brokers", "1", "--data", filepath.Join(t.TempDir(), "data"),
		"--kafka-port", "0", "--nats-port", "0", "--cluster-port", "0", "--http-port", "0")
	var log lockedBuffer
	command.Stderr = &log
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, err := stdout.Read(line)
	if err != nil {
		t.Fatalf("no ready line: %v\n%s", err, &log)
	}
	_, text, _ := strings.Cut(strings.TrimSpace(string(line[:n])), "pids=")
	broker, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("ready line %q: %v", line[:n], err)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broker has stopped", func() bool { return syscall.Kill(broker, 0) != nil })
	_ = command.Wait()
}

// A disk fails below either of the two stores, and whoever restarts brokers must tell that from a bug.
func TestFailedStorageHasItsExitCode(t *testing.T) {
	for _, cause := range []error{wal.ErrFailed, raftstore.ErrFailed} {
		if got := exitCode(fmt.Errorf("run part: %w", cause)); got != exitStorage {
			t.Errorf("%v: got exit code %d, want %d", cause, got, exitStorage)
		}
	}
	if got := exitCode(errors.New("anything else")); got != exitFailure {
		t.Errorf("anything else: got exit code %d, want %d", got, exitFailure)
	}
}

func TestVersionIsSemantic(t *testing.T) {
	got := run(t, nil, "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil || !strings.HasPrefix(b.Version, version) || strings.Count(version, ".") != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}
