package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fleet is a cluster whose brokers a test starts and stops one by one, each an `outrigger start` on
// ports that it keeps for the whole test. What a cluster can be asked, a fleet can be asked.
type fleet struct {
	*cluster
	ports [][fleetPorts]int
	sets  []string
	// own are the sets of one broker, if there are some.
	own       func(i int) []string
	processes []*brokerProcess
	// voters are the first so many brokers, all of them if it is 0.
	voters int
}

// brokerProcess is one run of one broker.
type brokerProcess struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// The ports of a broker.
const (
	portKafka = iota
	portNATS
	portCluster
	portHTTP
	fleetPorts
)

// newFleet chooses ports and directories, and starts nobody. sets are for all brokers.
func newFleet(t testing.TB, brokers int, sets ...string) *fleet {
	t.Helper()
	bin, err := binaries.plain()
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{
		cluster: &cluster{t: t, opts: options{brokers: brokers}, bin: bin, data: t.TempDir(), log: &lineLog{},
			pids: make([]int, brokers)},
		sets: sets, processes: make([]*brokerProcess, brokers),
	}
	free := freePorts(t, brokers*fleetPorts)
	for i := range brokers {
		p := [fleetPorts]int(free[i*fleetPorts:])
		f.ports = append(f.ports, p)
		f.kafka = append(f.kafka, loopback(p[portKafka]))
		f.nats = append(f.nats, "nats://ops:ops@"+loopback(p[portNATS]))
		f.http = append(f.http, loopback(p[portHTTP]))
	}
	t.Cleanup(func() {
		f.stopAll()
		f.checkLog()
		if t.Failed() {
			f.keepLog()
		}
	})
	return f
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts draws ports that nobody uses, below those that the system hands out by itself: a broker
// that is down for a while finds its own free when it returns. Until the test ends the same port of UDP,
// which no broker wants, is held as the claim that all who draw respect.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	const from, to, triesMax = 10000, 20000, 1000
	var ports []int
	for range triesMax {
		if len(ports) == n {
			return ports
		}
		port := from + rand.IntN(to-from)
		claim, err := net.ListenPacket("udp", loopback(port))
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", loopback(port))
		if err != nil {
			claim.Close()
			continue
		}
		listener.Close()
		t.Cleanup(func() { claim.Close() })
		ports = append(ports, port)
	}
	t.Fatalf("found %d free ports, want %d", len(ports), n)
	return nil
}

// start runs broker i, and waits for nothing.
func (f *fleet) start(i int) {
	f.t.Helper()
	var voters []string
	for j, p := range f.ports[:cmp.Or(f.voters, len(f.ports))] {
		voters = append(voters, fmt.Sprintf("%d@%s", j+1, loopback(p[portCluster])))
	}
	// The end of stdin stops a broker: none outlives the test, however that ends.
	args := []string{"start", "--stop-on-eof", "--log-format", "json"}
	for _, set := range append([]string{
		"node.id=" + strconv.Itoa(i+1),
		"controller.quorum.voters=" + strings.Join(voters, ","),
		"log.dirs=" + f.brokerDir(i),
		"listeners=PLAINTEXT://" + f.kafka[i],
		"nats.client.listen=" + loopback(f.ports[i][portNATS]),
		"nats.ops.password=ops", "nats.sys.password=admin",
		"http.listen=" + f.http[i],
		"nats.cluster.listen=" + loopback(f.ports[i][portCluster]),
	}, f.sets...) {
		args = append(args, "--set", set)
	}
	if f.own != nil {
		for _, set := range f.own(i) {
			args = append(args, "--set", set)
		}
	}
	p := &brokerProcess{cmd: exec.Command(f.bin, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f.log, f.log
	if _, err := p.cmd.StdinPipe(); err != nil {
		f.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		f.t.Fatalf("start broker %d: %v", i+1, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	f.processes[i], f.pids[i] = p, p.cmd.Process.Pid
}

// startAll runs every broker and waits until all serve.
func (f *fleet) startAll() {
	f.t.Helper()
	for i := range f.processes {
		f.start(i)
	}
	for i := range f.processes {
		f.serves(i)
	}
	f.healthy(readyWithin)
}

// kill ends broker i as a power loss of its machine would, but for its disk's cache.
func (f *fleet) kill(i int) {
	p := f.processes[i]
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	f.processes[i] = nil
}

// send signals broker i, whether or not it can answer.
func (f *fleet) send(i int, sig syscall.Signal) {
	f.t.Helper()
	if err := f.processes[i].cmd.Process.Signal(sig); err != nil {
		f.t.Fatalf("signal broker %d: %v", i+1, err)
	}
}

// stopAll ends every broker cleanly.
func (f *fleet) stopAll() {
	for i, p := range f.processes {
		if p == nil {
			continue
		}
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		f.processes[i] = nil
		defer func() {
			select {
			case <-p.done:
				if p.err != nil {
					f.t.Errorf("broker %d ended with %v after SIGTERM", i+1, p.err)
				}
			case <-time.After(20 * time.Second):
				f.t.Errorf("broker %d did not end within 20 s of SIGTERM", i+1)
				_ = p.cmd.Process.Kill()
				<-p.done
			}
		}()
	}
}

// wipe empties the disk of broker i, which is down.
func (f *fleet) wipe(i int) {
	f.t.Helper()
	if f.processes[i] != nil {
		f.t.Fatalf("broker %d still runs", i+1)
	}
	if err := os.RemoveAll(f.brokerDir(i)); err != nil {
		f.t.Fatal(err)
	}
}

// copied is a copy of the directory of broker i, to be looked into without a trace.
func (f *fleet) copied(i int) string {
	f.t.Helper()
	to := filepath.Join(f.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(f.brokerDir(i))); err != nil {
		f.t.Fatal(err)
	}
	return to
}

// throughout requires that ok stays nil for a while.
func throughout(t testing.TB, period time.Duration, what string, ok func() error) {
	t.Helper()
	end := time.NewTimer(period)
	defer end.Stop()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		if err := ok(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-end.C:
			return
		case <-ticker.C:
		}
	}
}
