package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// options says how a cluster is started.
type options struct {
	brokers int
	restart bool
	race    bool
	data    string
	args    []string
}

// cluster is one `outrigger dev` and the brokers under it.
type cluster struct {
	t    testing.TB
	opts options
	bin  string
	data string
	cmd  *exec.Cmd
	log  *lineLog
	// stdout is what the present run of dev printed.
	stdout *lineLog
	kafka  []string
	nats   []string
	http   []string
	pids   []int
	done   chan struct{}
	err    error
}

// readyWithin is what the README promises, with room for a machine that also runs other tests.
const readyWithin = 30 * time.Second

// start runs a cluster until the test ends, and checks then that it stops cleanly and that no log
// line speaks of a panic or a data race.
func start(t testing.TB, o options) *cluster {
	t.Helper()
	if o.brokers == 0 {
		o.brokers = 3
	}
	if o.data == "" {
		o.data = t.TempDir()
	}
	build := binaries.plain
	if o.race {
		build = binaries.race
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, opts: o, bin: bin, data: o.data}
	c.launch()
	t.Cleanup(func() {
		c.stop()
		c.checkLog()
		if t.Failed() {
			c.keepLog()
		}
	})
	return c
}

// launch starts dev and waits for its ready line.
func (c *cluster) launch() {
	c.t.Helper()
	c.pids = nil
	args := []string{"dev", "--brokers", strconv.Itoa(c.opts.brokers), "--data", c.data,
		"--kafka-port", "0", "--nats-port", "0", "--cluster-port", "0", "--http-port", "0"}
	if c.opts.restart {
		args = append(args, "--restart")
	}
	c.cmd = exec.Command(c.bin, append(args, c.opts.args...)...)
	c.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=0")
	if c.log == nil {
		c.log = &lineLog{}
	}
	c.cmd.Stderr = c.log
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	lines := make(chan string, 1)
	c.done = make(chan struct{})
	printed := &lineLog{}
	c.stdout = printed
	go func() {
		scanner := bufio.NewScanner(stdout)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			_, _ = printed.Write([]byte(scanner.Text() + "\n")) // never fails
			select {
			case lines <- scanner.Text():
			default:
			}
		}
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	select {
	case line := <-lines:
		c.parseReady(line)
	case <-c.done:
		c.t.Fatalf("dev ended before it was ready: %v\n%s", c.err, c.log.tail(30))
	case <-time.After(readyWithin):
		c.kill9()
		c.t.Fatalf("dev not ready within %s\n%s", readyWithin, c.log.tail(60))
	}
}

func (c *cluster) parseReady(line string) {
	c.t.Helper()
	rest, ok := strings.CutPrefix(line, "ready ")
	if !ok {
		c.t.Fatalf("got first line %q, want one that begins with ready", line)
	}
	for field := range strings.FieldsSeq(rest) {
		key, value, _ := strings.Cut(field, "=")
		list := strings.Split(value, ",")
		switch key {
		case "kafka":
			c.kafka = list
		case "nats":
			c.nats = list
		case "http":
			c.http = list
		case "pids":
			c.pids = nil
			for _, pid := range list {
				n, err := strconv.Atoi(pid)
				if err != nil {
					c.t.Fatalf("ready line %q: %v", line, err)
				}
				c.pids = append(c.pids, n)
			}
		}
	}
	if len(c.kafka) != c.opts.brokers || len(c.pids) != c.opts.brokers || len(c.nats) != c.opts.brokers || len(c.http) != c.opts.brokers {
		c.t.Fatalf("ready line %q does not name %d brokers", line, c.opts.brokers)
	}
}

// stop ends dev as Ctrl-C would and requires that it ends in time and says so with its exit code.
func (c *cluster) stop() {
	c.t.Helper()
	if c.cmd == nil {
		return
	}
	began := time.Now()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
		if c.err != nil {
			c.t.Errorf("dev ended with %v after SIGTERM\n%s", c.err, c.log.tail(20))
		}
		if took := time.Since(began); took > 8*time.Second && !c.opts.race {
			c.t.Errorf("dev took %s to stop, want at most 8 s\n%s", took, c.log.tail(40))
		}
	case <-time.After(30 * time.Second):
		c.t.Errorf("dev did not end within 30 s of SIGTERM\n%s", c.log.tail(60))
		c.kill9()
	}
	c.cmd = nil
}

// kill9 kills all brokers, then dev, and returns when they are gone. A broker whose dev alone is killed
// stops in good order.
func (c *cluster) kill9() {
	for _, pid := range c.pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			c.t.Errorf("kill broker: %v", err)
		}
	}
	c.killDev()
	gone(c.t, 10*time.Second, c.pids)
}

func (c *cluster) killDev() {
	_ = c.cmd.Process.Kill()
	<-c.done
	c.cmd = nil
}

// health is what a broker says of itself over HTTP.
type health struct {
	PID     int    `json:"pid"`
	Session string `json:"session"`
}

var httpClient = &http.Client{Timeout: 2 * time.Second}

func (c *cluster) health(i int) (health, error) {
	var h health
	resp, err := httpClient.Get("http://" + c.http[i] + "/health")
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	return h, json.NewDecoder(resp.Body).Decode(&h)
}

// ready reports whether a broker serves.
func (c *cluster) ready(i int) bool {
	resp, err := httpClient.Get("http://" + c.http[i] + "/ready")
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// pid is a broker's process now; --restart gives it another after every death.
func (c *cluster) pid(i int) int {
	c.t.Helper()
	var h health
	c.eventually(20*time.Second, "health of broker "+strconv.Itoa(i+1), func() error {
		var err error
		h, err = c.health(i)
		return err
	})
	return h.PID
}

// serves waits until a broker does.
func (c *cluster) serves(i int) {
	c.t.Helper()
	c.eventually(readyWithin, fmt.Sprintf("broker %d serves", i+1), func() error {
		if !c.ready(i) {
			return fmt.Errorf("/ready of broker %d does not say so", i+1)
		}
		return nil
	})
}

// signal sends a signal to one broker.
func (c *cluster) signal(i int, sig syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(c.pid(i), sig); err != nil {
		c.t.Fatalf("signal broker %d: %v", i+1, err)
	}
}

// eventually polls until ok returns nil; what it waits for happens in another process.
func (c *cluster) eventually(within time.Duration, what string, ok func() error) {
	c.t.Helper()
	eventually(c.t, within, what, ok)
}

func eventually(t testing.TB, within time.Duration, what string, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, within, err)
		case <-ticker.C:
		}
	}
}

// partitionStatus and clusterStatus are what `outrigger status --json` prints.
type partitionStatus struct {
	Topic         string `json:"topic"`
	Partition     int32  `json:"partition"`
	Leader        int32  `json:"leader"`
	Epoch         int32  `json:"epoch"`
	ISR           []int  `json:"isr"`
	LogEnd        int64  `json:"log_end"`
	HighWatermark int64  `json:"high_watermark"`
}

type clusterStatus struct {
	Brokers []struct {
		Node int32  `json:"node"`
		Role string `json:"role"`
		Term uint64 `json:"term"`
	} `json:"brokers"`
	Partitions         []partitionStatus `json:"partitions"`
	RaftElections      int               `json:"raft_elections"`
	PartitionElections int               `json:"partition_elections"`
	WatcherTriggers    int               `json:"watcher_triggers"`
	ISRShrinks         int               `json:"isr_shrinks"`
	Gaps               int               `json:"gaps"`
	Problems           []string          `json:"problems"`
}

// status runs `outrigger status` against broker i and returns its exit code too.
func (c *cluster) status(i int) (clusterStatus, int) {
	c.t.Helper()
	out, err := exec.Command(c.bin, "status", "--nats", c.nats[i], "--json").Output()
	var s clusterStatus
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("run status: %v", err)
	}
	code := 0
	if exit != nil {
		code = exit.ExitCode()
	}
	if code != 2 {
		if err := json.Unmarshal(out, &s); err != nil {
			c.t.Fatalf("status printed %q: %v", out, err)
		}
	}
	return s, code
}

// healthy waits until every broker answers and nothing is under-replicated or leaderless.
func (c *cluster) healthy(within time.Duration) {
	c.t.Helper()
	c.eventually(within, "a healthy cluster", func() error {
		s, code := c.status(0)
		if code != 0 || len(s.Brokers) != c.opts.brokers {
			return fmt.Errorf("status exits with %d, %d brokers", code, len(s.Brokers))
		}
		return nil
	})
}

// controller is the index of the broker that leads the metadata Raft.
func (c *cluster) controller() int {
	c.t.Helper()
	leader := -1
	c.eventually(10*time.Second, "a controller", func() error {
		s, _ := c.status(0)
		for _, b := range s.Brokers {
			if b.Role == "leader" {
				leader = int(b.Node) - 1
				return nil
			}
		}
		return errors.New("no broker is the leader of the Raft")
	})
	return leader
}

// run runs the binary and returns its standard output; a failure fails the test.
func (c *cluster) run(args ...string) string {
	c.t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(c.bin, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("outrigger %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// createTopic creates a topic through broker i.
func (c *cluster) createTopic(i int, name string, partitions, rf int) {
	c.t.Helper()
	c.run("topic", "create", name, "--bootstrap-server", c.kafka[i],
		"--partitions", strconv.Itoa(partitions), "--replication-factor", strconv.Itoa(rf))
}

func (c *cluster) checkLog() {
	for _, bad := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} {
		if c.log.contains(bad) {
			c.t.Errorf("a broker's log says %q\n%s", bad, c.log.around(bad))
		}
	}
}

// keepLog leaves the log of a failed test where CI shows it.
func (c *cluster) keepLog() {
	name := strings.NewReplacer("/", "_").Replace(c.t.Name())
	path := filepath.Join(os.TempDir(), "outrigger-"+name+".log")
	if err := os.WriteFile(path, []byte(c.log.tail(1<<20)), 0o600); err == nil {
		c.t.Logf("the cluster's log is in %s", path)
	}
	c.t.Logf("the end of the cluster's log:\n%s", c.log.tail(60))
}

// lineLog keeps what a process writes to stderr.
type lineLog struct {
	mu   sync.Mutex
	text []byte
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *lineLog) contains(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(string(l.text), s)
}

func (l *lineLog) tail(lines int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Split(string(l.text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// lines are the lines so far.
func (l *lineLog) lines() []string {
	return strings.Split(strings.TrimSuffix(l.from(0), "\n"), "\n")
}

// count is how often something was said.
func (l *lineLog) count(s string) int { return strings.Count(l.from(0), s) }

// lineWith reports whether one line holds all of these.
func (l *lineLog) lineWith(parts ...string) bool {
	for line := range strings.Lines(l.from(0)) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			return true
		}
	}
	return false
}

// size and from are for what is said from some moment on.
func (l *lineLog) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.text)
}

func (l *lineLog) from(at int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text[at:])
}

func (l *lineLog) around(s string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := strings.Index(string(l.text), s)
	return string(l.text[max(0, i-500):min(len(l.text), i+3000)])
}
