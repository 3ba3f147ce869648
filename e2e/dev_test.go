package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// anyPorts are the flags of a dev that shall not get in anybody's way.
var anyPorts = []string{"--kafka-port", "0", "--nats-port", "0", "--cluster-port", "0", "--http-port", "0"}

// devRun is a dev that is expected to end by itself.
type devRun struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

// last is the last line on stderr: what a person reads.
func (r devRun) last() string {
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	return lines[len(lines)-1]
}

// runDev runs dev to its end.
func runDev(t *testing.T, args ...string) devRun {
	t.Helper()
	return runDevAs(t, nil, args...)
}

// runDevAs runs it as another user.
func runDevAs(t *testing.T, user *syscall.Credential, args ...string) devRun {
	t.Helper()
	bin, err := binaries.plain()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(bin, append([]string{"dev"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(40*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return devRun{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(began)}
}

// readyLine is the one line on stdout, as the README shows it.
var readyLine = regexp.MustCompile(`^ready kafka=127\.0\.0\.1:\d+,127\.0\.0\.1:\d+,127\.0\.0\.1:\d+ ` +
	`nats=nats://ops:ops@127\.0\.0\.1:\d+,nats://ops:ops@127\.0\.0\.1:\d+,nats://ops:ops@127\.0\.0\.1:\d+ ` +
	`http=127\.0\.0\.1:\d+,127\.0\.0\.1:\d+,127\.0\.0\.1:\d+ pids=\d+,\d+,\d+$`)

// readyPromise is what the README says; the harness itself waits longer.
const readyPromise = 5 * time.Second

func TestDevSaysOnceThatItIsReadyAndKeepsItsData(t *testing.T) {
	if _, err := binaries.plain(); err != nil {
		t.Fatal(err) // built here, so that it does not count
	}
	data := t.TempDir()
	ledger := newLedger()
	var before []string
	for round := range 2 {
		began := time.Now()
		c := start(t, options{data: data})
		took := time.Since(began)
		t.Logf("round %d: ready after %s", round+1, took.Round(time.Millisecond))
		if took > readyPromise {
			t.Errorf("round %d: ready after %s, want at most %s", round+1, took, readyPromise)
		}
		if round == 0 {
			c.createTopic(0, "stays", 3, 3)
			before = c.kafka
		} else if slices.Equal(before, c.kafka) {
			t.Errorf("both rounds have ports %v, want others", before)
		}
		load := startLoad(t, c.kafka, "stays", 3, ledger)
		resumed(t, ledger, 3)
		load.stop()
		ledger.check(t, c.kafka, "stays", 3)
		if round == 1 {
			lockedDirectoryNamesItsHolder(t, c)
		}
		c.stop()
		if lines := c.stdout.lines(); len(lines) != 1 || !readyLine.MatchString(lines[0]) {
			t.Errorf("got on stdout %q, want one line like %s", lines, readyLine)
		}
	}
	otherNumberOfBrokersIsRefused(t, data)
}

func lockedDirectoryNamesItsHolder(t *testing.T, c *cluster) {
	t.Helper()
	got := runDev(t, append([]string{"--data", c.data}, anyPorts...)...)
	refused(t, got, "is in use by process "+strconv.Itoa(c.cmd.Process.Pid))
	c.healthy(10 * time.Second)
}

func otherNumberOfBrokersIsRefused(t *testing.T, data string) {
	t.Helper()
	before := treeOf(t, data)
	got := runDev(t, append([]string{"--data", data, "--brokers", "4"}, anyPorts...)...)
	refused(t, got, "was made for 3 brokers, not 4")
	untouched(t, data, before)
}

// refused requires one clear sentence, nothing on stdout, and a code that scripts notice.
func refused(t *testing.T, got devRun, want string) {
	t.Helper()
	if got.code == 0 || got.code < 0 {
		t.Errorf("got exit code %d, want one that tells of a refusal", got.code)
	}
	if got.stdout != "" {
		t.Errorf("got on stdout %q, want nothing", got.stdout)
	}
	if !strings.HasPrefix(got.last(), "outrigger: ") || !strings.Contains(got.last(), want) {
		t.Errorf("the last line on stderr is %q, want it to say %q\n%s", got.last(), want, got.stderr)
	}
	t.Logf("exit %d: %s", got.code, got.last())
}

// treeOf lists a directory with sizes and times of change.
func treeOf(t *testing.T, dir string) []string {
	t.Helper()
	var tree []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		tree = append(tree, fmt.Sprintf("%s %s %d %s", path, info.Mode(), info.Size(), info.ModTime()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func untouched(t *testing.T, dir string, before []string) {
	t.Helper()
	if after := treeOf(t, dir); !slices.Equal(before, after) {
		t.Errorf("the directory was touched: got\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
}

func TestDevRefusesWhatItCannotUseInOneSentence(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)

	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		// below is the data directory, seen from the prepared one.
		below string
		args  []string
		want  string
	}{
		{name: "a Kafka port that is taken", args: []string{"--kafka-port", taken}, want: taken + " for Kafka clients of broker 1 is taken"},
		{name: "an HTTP port that is taken", args: []string{"--http-port", taken}, want: taken + " for HTTP of broker 1 is taken"},
		{name: "a NATS port that is taken", args: []string{"--nats-port", taken}, want: taken + " for NATS clients of broker 1 is taken"},
		{name: "a directory below a file", below: "file/data", want: "is a file, or lies below one",
			prepare: func(t *testing.T, dir string) { write(t, dir+"/file", "") }},
		{name: "a file", below: "file", want: "is a file, or lies below one",
			prepare: func(t *testing.T, dir string) { write(t, dir+"/file", "") }},
		{name: "somebody else's directory", want: "holds thesis.tex",
			prepare: func(t *testing.T, dir string) { write(t, dir+"/thesis.tex", "x") }},
		{name: "a later format", want: "format 99",
			prepare: func(t *testing.T, dir string) {
				write(t, dir+"/dev.json", `{"format":99,"brokers":3,"cluster_id":"abcdefghijklmnopqrstuv"}`)
			}},
		{name: "a broker of a later format", want: `format version "99"`,
			prepare: func(t *testing.T, dir string) {
				write(t, dir+"/dev.json", `{"format":1,"brokers":3,"cluster_id":"abcdefghijklmnopqrstuv"}`)
				write(t, dir+"/broker-2/meta.properties", "format=outrigger\nformat.version=99\n")
			}},
		{name: "a broker of another cluster", want: "belongs to cluster another",
			prepare: func(t *testing.T, dir string) {
				write(t, dir+"/dev.json", `{"format":1,"brokers":3,"cluster_id":"abcdefghijklmnopqrstuv"}`)
				write(t, dir+"/broker-2/meta.properties", "format=outrigger\nformat.version=1\ncluster.id=another\nnode.id=2\n"+
					"disk.id=000102030405060708090a0b0c0d0e0f\n")
			}},
		{name: "another broker's directory", want: "belongs to node 3",
			prepare: func(t *testing.T, dir string) {
				write(t, dir+"/dev.json", `{"format":1,"brokers":3,"cluster_id":"abcdefghijklmnopqrstuv"}`)
				write(t, dir+"/broker-2/meta.properties", "format=outrigger\nformat.version=1\ncluster.id=abcdefghijklmnopqrstuv\nnode.id=3\n"+
					"disk.id=000102030405060708090a0b0c0d0e0f\n")
			}},
		{name: "no brokers", args: []string{"--brokers", "0"}, want: "--brokers=0 is refused"},
		{name: "a bad value", args: []string{"--set", "num.partitions=many"}, want: "num.partitions=many is refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.prepare != nil {
				c.prepare(t, dir)
			}
			before := treeOf(t, dir)
			// The last of two flags wins.
			got := runDev(t, slices.Concat([]string{"--data", filepath.Join(dir, c.below)}, anyPorts, c.args)...)
			refused(t, got, c.want)
			untouched(t, dir, before)
		})
	}
	t.Run("a directory that this user may not write", func(t *testing.T) {
		user := powerless(t)
		dir, err := os.MkdirTemp(binaries.dir, "unwritable-")
		if err == nil {
			err = os.Chmod(dir, 0o555)
		}
		if err != nil {
			t.Fatal(err)
		}
		before := treeOf(t, dir)
		refused(t, runDevAs(t, user, append([]string{"--data", dir}, anyPorts...)...), "cannot be written")
		refused(t, runDevAs(t, user, append([]string{"--data", dir + "/new"}, anyPorts...)...), "cannot be made")
		untouched(t, dir, before)
	})
}

// powerless is a user who may not write everywhere: this one, unless it is root.
func powerless(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chmod(binaries.dir, 0o755); err != nil { // or that user could not run the binary
		t.Fatal(err)
	}
	const nobody = 65534
	return &syscall.Credential{Uid: nobody, Gid: nobody}
}

// alive reports whether a process is there and not only waiting to be buried.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func gone(t testing.TB, within time.Duration, pids []int) {
	t.Helper()
	eventually(t, within, "no broker is left", func() error {
		for i, pid := range pids {
			if alive(pid) {
				return fmt.Errorf("broker %d is still there", i+1)
			}
		}
		return nil
	})
}

// stopPromise is how long a stop may take.
const stopPromise = 8 * time.Second

func TestKilledDevLeavesNoOrphan(t *testing.T) {
	c := start(t, options{})
	pids := c.pids
	c.killDev()
	began := time.Now()
	gone(t, stopPromise, pids)
	t.Logf("all brokers were gone after %s", time.Since(began).Round(time.Millisecond))
	// They stopped as if asked to, and the data is there for the next.
	again := start(t, options{data: c.data})
	again.healthy(10 * time.Second)
}

func TestDevUnderGoRunStopsWithTheTerminal(t *testing.T) {
	goTool := need(t, "go")
	for _, c := range []struct {
		name string
		send func(pid int) error
	}{
		{"Ctrl-C reaches the whole process group", func(pid int) error { return syscall.Kill(-pid, syscall.SIGINT) }},
		{"SIGTERM reaches go alone", func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr := &lineLog{}, &lineLog{}
			cmd := exec.Command(goTool, slices.Concat([]string{"run", "outrigger/cmd/outrigger", "dev", "--data", t.TempDir()}, anyPorts)...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Stdout, cmd.Stderr = stdout, stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				_ = cmd.Wait() // go says nothing that the brokers do not
				close(ended)
			}()
			t.Cleanup(func() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				<-ended
			})
			eventually(t, 2*time.Minute, "dev is built and ready", func() error {
				if !stdout.contains("ready ") {
					return fmt.Errorf("it says %q\n%s", stdout.tail(3), stderr.tail(5))
				}
				return nil
			})
			_, list, _ := strings.Cut(strings.TrimSpace(stdout.tail(2)), "pids=")
			var pids []int
			for text := range strings.SplitSeq(list, ",") {
				pid, err := strconv.Atoi(text)
				if err != nil {
					t.Fatalf("%q: %v", stdout.tail(2), err)
				}
				pids = append(pids, pid)
			}
			if err := c.send(cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			gone(t, stopPromise, pids)
			t.Logf("all brokers were gone after %s", time.Since(began).Round(time.Millisecond))
			if stderr.contains("stop is not clean") {
				t.Errorf("the stop was not clean:\n%s", stderr.tail(20))
			}
		})
	}
}

func TestDevWithoutRestartReportsADeathAndStopsWithoutAMajority(t *testing.T) {
	c := start(t, options{})
	for i, pid := range c.pids[:2] {
		c.signal(i, syscall.SIGKILL)
		c.eventually(5*time.Second, "the death is reported", func() error {
			if !c.log.lineWith(`"broker died"`, fmt.Sprintf(`"pid":%d`, pid)) {
				return errors.New("no such line")
			}
			return nil
		})
	}
	throughout(t, time.Second, "brokers that died", func() error {
		for i := range 2 {
			if _, err := c.health(i); err == nil {
				return fmt.Errorf("broker %d is back", i+1)
			}
		}
		return nil
	})
	began := time.Now()
	c.stop() // requires an end within 8 s, and a clean one
	t.Logf("stopped without a majority in %s", time.Since(began).Round(time.Millisecond))
}

func TestDevRestartsABrokerAtOnceAndItIsSoonInSync(t *testing.T) {
	c := start(t, options{restart: true})
	c.createTopic(0, "back", 6, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "back", 6, ledger)
	resumed(t, ledger, 6)
	for victim := range 3 {
		node := fmt.Sprintf(`"node":%d,`, victim+1)
		from := c.log.size()
		pid := c.pid(victim)
		killed := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		var started time.Time
		c.eventually(10*time.Second, "dev starts it again", func() error {
			for line := range strings.Lines(c.log.from(from)) {
				if strings.Contains(line, `"broker started again"`) && strings.Contains(line, node) {
					var said struct{ Time time.Time }
					err := json.Unmarshal([]byte(line), &said)
					started = said.Time
					return err
				}
			}
			return errors.New("no such line")
		})
		c.serves(victim)
		c.healthy(30 * time.Second)
		inSync := time.Since(started)
		t.Logf("broker %d: started again after %s, in every in-sync set %s later", victim+1,
			started.Sub(killed).Round(time.Millisecond), inSync.Round(time.Millisecond))
		if after := started.Sub(killed); after > 500*time.Millisecond {
			t.Errorf("broker %d was started again after %s, want at most 500 ms", victim+1, after)
		}
		if inSync > 5*time.Second {
			t.Errorf("broker %d was in every in-sync set after %s, want at most 5 s", victim+1, inSync)
		}
	}
	load.stop()
	ledger.check(t, c.kafka, "back", 6)
}

func TestOneBrokerIsAClusterToo(t *testing.T) {
	c := start(t, options{brokers: 1})
	c.createTopic(0, "alone", 3, 1)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "alone", 3, ledger)
	resumed(t, ledger, 3)
	load.stop()
	ledger.check(t, c.kafka, "alone", 3)
	c.healthy(10 * time.Second)
}

// "localhost" is ::1 to some clients.
func TestBothLoopbacksAnswer(t *testing.T) {
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6 loopback: %v", err)
	}
	probe.Close()
	c := start(t, options{brokers: 1})
	on6 := func(address string) string {
		return net.JoinHostPort("::1", address[strings.LastIndexByte(address, ':')+1:])
	}
	answer, err := httpClient.Get("http://" + on6(c.http[0]) + "/health")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(on6(c.kafka[0])))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		t.Errorf("Kafka on ::1: %v", err)
	}
}

func TestFourthBrokerIsALearnerThatHoldsData(t *testing.T) {
	c := start(t, options{brokers: 4})
	s, _ := c.status(3)
	var roles []string
	for _, b := range s.Brokers {
		roles = append(roles, b.Role)
	}
	slices.Sort(roles)
	if want := []string{"follower", "follower", "leader", "learner"}; !slices.Equal(roles, want) {
		t.Errorf("got roles %v, want %v", roles, want)
	}
	if len(s.Brokers) == 4 && s.Brokers[3].Role != "learner" {
		t.Errorf("broker 4 is %s, want a learner", s.Brokers[3].Role)
	}
	c.createTopic(3, "four", 8, 3)
	s, _ = c.status(0)
	held := map[int]int{}
	for _, p := range s.Partitions {
		for _, node := range p.ISR {
			held[node]++
		}
	}
	if held[4] == 0 {
		t.Errorf("replicas per broker are %v, want some on broker 4", held)
	}
	ledger := newLedger()
	load := startLoad(t, c.kafka[3:], "four", 8, ledger)
	resumed(t, ledger, 8)
	load.stop()
	ledger.check(t, c.kafka[3:], "four", 8)
	client, err := kgo.NewClient(clientOptions(c.kafka[3:], kgo.DefaultProduceTopic("made-by-the-learner"), kgo.AllowAutoTopicCreation())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Errorf("produce to a topic that is made on the way: %v", err)
	}
}
