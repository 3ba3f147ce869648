package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// natsCLI is the operator's tool, told nothing but a URL.
type natsCLI struct {
	t    *testing.T
	path string
	home string
}

func newNATSCLI(t *testing.T) *natsCLI {
	t.Helper()
	return &natsCLI{t: t, path: need(t, "nats"), home: t.TempDir()}
}

func (n *natsCLI) command(ctx context.Context, url string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, n.path, append([]string{"--server", url}, args...)...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "NATS_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	// No context that somebody selected on this machine.
	cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+n.home, "HOME="+n.home)
	return cmd
}

// run returns what a command prints, both ways, and its error.
func (n *natsCLI) run(url string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := n.command(ctx, url, args...).CombinedOutput()
	return string(out), err
}

func (n *natsCLI) mustRun(url string, args ...string) string {
	n.t.Helper()
	out, err := n.run(url, args...)
	if err != nil {
		n.t.Fatalf("nats %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// subscribe runs `nats sub` until the test ends. What it prints grows in the log.
func (n *natsCLI) subscribe(url, subject string) *lineLog {
	n.t.Helper()
	log := &lineLog{}
	cmd := n.command(n.t.Context(), url, "sub", subject)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed, by us
	})
	return log
}

// seen waits until a subscription has printed something.
func seen(t *testing.T, log *lineLog, what string, provoke func()) {
	t.Helper()
	eventually(t, 20*time.Second, "a subscriber sees "+what, func() error {
		if provoke != nil {
			provoke()
		}
		if !log.contains(what) {
			return fmt.Errorf("it saw\n%s", log.tail(20))
		}
		return nil
	})
}

// TestOperatorsSeeTheClusterWithTheNATSCLI runs the commands of the README's debugging page.
func TestOperatorsSeeTheClusterWithTheNATSCLI(t *testing.T) {
	cli := newNATSCLI(t)
	c := start(t, options{})
	admin := strings.Replace(c.nats[1], "ops:ops", "admin:admin", 1)

	t.Run("micro ls, info and stats", func(t *testing.T) {
		list := cli.mustRun(c.nats[0], "micro", "ls", "sidecar")
		for i := range 3 {
			if want := "Outrigger sidecar of broker " + strconv.Itoa(i+1); strings.Count(list, want) != 1 {
				t.Errorf("want once %q in\n%s", want, list)
			}
		}
		info := cli.mustRun(c.nats[1], "micro", "info", "sidecar")
		for _, want := range []string{"sidecar.status", "kafka_addr: 127.0.0.1:", "pid: ", "node: "} {
			if !strings.Contains(info, want) {
				t.Errorf("want %q in\n%s", want, info)
			}
		}
		stats := cli.mustRun(c.nats[2], "micro", "stats", "sidecar")
		if got := strings.Count(stats, "status-node"); got != 3 {
			t.Errorf("got stats of %d nodes, want 3:\n%s", got, stats)
		}
	})
	t.Run("three statuses", func(t *testing.T) {
		var nodes [4]int
		for line := range strings.Lines(cli.mustRun(c.nats[2], "req", "sidecar.status", "", "--replies", "3", "--raw")) {
			var s struct {
				Node   int    `json:"node"`
				Role   string `json:"role"`
				Commit uint64 `json:"commit"`
			}
			if !strings.HasPrefix(line, "{") {
				continue
			}
			if err := json.Unmarshal([]byte(line), &s); err != nil || s.Node < 1 || s.Node > 3 || s.Role == "" || s.Commit == 0 {
				t.Fatalf("got status %s (%v)", line, err)
			}
			nodes[s.Node]++
		}
		if nodes != [4]int{0, 1, 1, 1} {
			t.Errorf("nodes 0 to 3 answered %v times, want each of three once", nodes)
		}
		if one := cli.mustRun(c.nats[0], "req", "sidecar.status.2", "", "--raw"); !strings.Contains(one, `"node":2`) {
			t.Errorf("sidecar.status.2 is answered with %s", one)
		}
	})
	t.Run("reports of the system account", func(t *testing.T) {
		if out := cli.mustRun(admin, "server", "report", "connections"); !strings.Contains(out, "outrigger-3 heartbeat") {
			t.Errorf("want the connections of broker 3 in\n%s", out)
		}
		out := cli.mustRun(admin, "server", "report", "routes")
		for _, account := range []string{"HB", "RAFT", "REPL", "CATCHUP"} {
			// Two routes from each of three servers.
			if got := strings.Count(out, "│ "+account+" "); got != 6 {
				t.Errorf("got %d routes of account %s, want 6:\n%s", got, account, out)
			}
		}
	})
	t.Run("operators cannot publish where they only read", func(t *testing.T) {
		for _, subject := range []string{"wal.1", "hb.1", "ack.1", "raft.vote.1", "catchup.1", "local.1.election", "sidecar.event.x", "sidecar.tap.x.0"} {
			out, err := cli.run(c.nats[0], "pub", subject, "x")
			if err == nil || !strings.Contains(out, "Permissions Violation") {
				t.Errorf("publish to %s: %v, want a permissions violation\n%s", subject, err, out)
			}
		}
		for _, subject := range []string{"wal.>", "raft.>", ">"} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			out, err := cli.command(ctx, c.nats[0], "sub", subject, "--count", "1").CombinedOutput()
			cancel()
			if err == nil || !strings.Contains(string(out), "Permissions Violation") {
				t.Errorf("subscribe to %s: %v, want a permissions violation\n%s", subject, err, out)
			}
		}
	})
	t.Run("nobody is anonymous", func(t *testing.T) {
		for i, url := range c.nats {
			_, address, _ := strings.Cut(url, "@")
			for _, who := range []string{"", "ops:wrong@", "nobody:nobody@"} {
				out, err := cli.run("nats://"+who+address, "req", "sidecar.status", "")
				if err == nil || !strings.Contains(out, "Authorization Violation") {
					t.Errorf("%q at broker %d: %v, want an authorization violation\n%s", who, i+1, err, out)
				}
			}
		}
	})
	t.Run("tap", func(t *testing.T) { tapShowsWhatIsProduced(t, cli, c) })
	t.Run("the event when a broker dies", func(t *testing.T) { deathIsAnEvent(t, cli, c) })
}

func tapShowsWhatIsProduced(t *testing.T, cli *natsCLI, c *cluster) {
	const topic = "tapped..topic"
	c.createTopic(0, topic, 1, 3)
	log := cli.subscribe(c.nats[1], "sidecar.tap.>")
	client, err := kgo.NewClient(clientOptions(c.kafka, kgo.DefaultProduceTopic(topic))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	seen(t, log, `"topic":"`+topic+`"`, func() {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord("a secret")).FirstErr(); err != nil {
			t.Fatalf("produce: %v", err)
		}
	})
	// A dot in a topic's name would be a token's end.
	if want := "sidecar.tap.tapped~~topic.0"; !log.contains(want) {
		t.Errorf("want subject %q in\n%s", want, log.tail(20))
	}
	for _, want := range []string{`"epoch":`, `"base":`, `"count":1`, `"bytes":`, `"from":`, `"to":`} {
		if !log.contains(want) {
			t.Errorf("want %s in\n%s", want, log.tail(20))
		}
	}
	if log.contains("secret") {
		t.Errorf("a payload is shown:\n%s", log.tail(20))
	}
}

func deathIsAnEvent(t *testing.T, cli *natsCLI, c *cluster) {
	victim := (c.controller() + 1) % 3
	witness := (victim + 1) % 3
	log := cli.subscribe(c.nats[witness], "sidecar.event.>")
	created := 0
	seen(t, log, "topic.created", func() {
		created++
		c.createTopic(witness, "event-"+strconv.Itoa(created), 3, 3)
	})
	c.signal(victim, syscall.SIGKILL)
	killed := time.Now()
	seen(t, log, "sidecar.event.broker.fenced", nil)
	t.Logf("the event was seen %s after the kill", time.Since(killed).Round(time.Millisecond))
	if want := fmt.Sprintf(`"broker":%d`, victim+1); !log.contains(want) {
		t.Errorf("want %s in\n%s", want, log.tail(40))
	}
	seen(t, log, "sidecar.event.leader.elected", nil)
	seen(t, log, "sidecar.event.isr.changed", nil)
}
