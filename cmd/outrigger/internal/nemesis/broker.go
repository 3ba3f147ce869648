package nemesis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"outrigger/cmd/outrigger/internal/dev"
)

// The ports are the same in every namespace.
const (
	portKafka   = "9092"
	portNATS    = "4222"
	portCluster = "6222"
	portHTTP    = "9644"
)

const (
	logTailBytes = 16 << 10
	// brokerStopWithin is what `start` promises, with room for a busy machine.
	brokerStopWithin = 20 * time.Second
	probeWithin      = time.Second
)

// broker is one place for a broker: namespace, directory and log stay, processes come and go.
type broker struct {
	node     int
	address  string
	dir      string
	logPath  string
	command  []string
	settings []string
	// process is nil while the broker is down.
	process *process
}

// process is one run of a broker.
type process struct {
	cmd *exec.Cmd
	// done is closed when it has ended; exit is set then.
	done chan struct{}
	exit *os.ProcessState
}

// newBrokers plans brokers below dir; none is started. The one on the small disk has its directory
// there.
func newBrokers(o Options, n network, dir string, smallDisk int) []*broker {
	var voters []string
	for _, node := range brokersFrom1(o.Brokers) {
		voters = append(voters, fmt.Sprintf("%d@%s:%s", node, n.address(node), portCluster))
	}
	var all []*broker
	for _, node := range brokersFrom1(o.Brokers) {
		at := n.address(node) + ":"
		b := &broker{
			node: node, address: n.address(node), dir: brokerDir(dir, node),
			logPath: brokerDir(dir, node) + ".log",
			command: []string{"netns", "exec", n.namespace(node), o.Executable, "start",
				"--" + dev.FlagStopOnEOF, "--log-format", "json"},
		}
		if node == smallDisk {
			b.dir = brokerDir(smallDiskDir(dir), node)
		}
		b.settings = []string{
			"node.id=" + strconv.Itoa(node), "controller.quorum.voters=" + strings.Join(voters, ","),
			"log.dirs=" + b.dir, "listeners=PLAINTEXT://" + at + portKafka,
			"nats.client.listen=" + at + portNATS, "nats.cluster.listen=" + at + portCluster,
			"nats.cluster.secret=nemesis", "nats.ops.password=ops", "nats.sys.password=admin",
			// bits that flip in what nobody reads are found within the run
			"log.scrub.interval.ms=5000", "log.scrub.bytes.per.second=67108864",
			"http.listen=" + at + portHTTP, "min.insync.replicas=" + strconv.Itoa(minInSync),
		}
		b.settings = append(b.settings, o.Sets...)
		all = append(all, b)
	}
	return all
}

func brokerDir(dir string, node int) string {
	return filepath.Join(dir, fmt.Sprintf("broker-%d", node))
}

// start runs the broker, and waits for nothing. The end of our stdin for it stops it: none outlives us.
func (b *broker) start() error {
	log, err := os.OpenFile(b.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start broker %d: %w", b.node, err)
	}
	defer func() { _ = log.Close() }() // the broker has its own descriptor
	args := b.command
	for _, setting := range b.settings {
		args = append(args[:len(args):len(args)], "--set", setting)
	}
	p := &process{cmd: exec.Command("ip", args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := p.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("start broker %d: %w", b.node, err)
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start broker %d: %w", b.node, err)
	}
	go func() {
		_ = p.cmd.Wait() // the state tells all
		p.exit = p.cmd.ProcessState
		close(p.done)
	}()
	b.process = p
	return nil
}

// pid is that of the broker itself: `ip netns exec` becomes what it starts.
func (b *broker) pid() int { return b.process.cmd.Process.Pid }

// signal sends one; a process that has ended needs none.
func (b *broker) signal(s syscall.Signal) {
	if b.process != nil {
		_ = b.process.cmd.Process.Signal(s)
	}
}

// kill is kill -9. It returns when the process is gone.
func (b *broker) kill() {
	if b.process == nil {
		return
	}
	b.signal(syscall.SIGKILL)
	<-b.process.done
	b.process = nil
}

// ended reports how the broker ended if it has; it is down from then on.
func (b *broker) ended() (code int, words string, ended bool) {
	if b.process == nil {
		return 0, "", false
	}
	select {
	case <-b.process.done:
		code = b.process.exit.ExitCode()
		b.process = nil
		return code, b.lastWords(), true
	default:
		return 0, "", false
	}
}

// stop asks the broker to stop and waits for it. Anything but a clean end in time is an error.
func (b *broker) stop() error {
	if b.process == nil {
		return nil
	}
	p := b.process
	b.process = nil
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(brokerStopWithin):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("broker %d did not stop within %v", b.node, brokerStopWithin)
	}
	if code := p.exit.ExitCode(); code != 0 {
		return fmt.Errorf("broker %d did not stop cleanly, %v: %s", b.node, p.exit, b.lastWords())
	}
	return nil
}

// lastWords is the sentence that a broker which fails says at its end.
func (b *broker) lastWords() string {
	tail, err := readTail(b.logPath, logTailBytes)
	if err != nil {
		return err.Error()
	}
	at := bytes.LastIndex(tail, []byte(dev.LastWords))
	if at < 0 {
		return "it said nothing"
	}
	line, _, _ := bytes.Cut(tail[at+len(dev.LastWords):], []byte("\n"))
	return string(line)
}

func readTail(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	size, err := file.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	tail := make([]byte, min(size, most))
	_, err = file.ReadAt(tail, size-int64(len(tail)))
	return tail, err
}

var probeClient = &http.Client{Timeout: probeWithin, Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}

var errNotReady = errors.New("it does not serve yet")

// ready is nil once the broker says that it serves.
func (b *broker) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.address+":"+portHTTP+"/ready", nil)
	if err != nil {
		return err
	}
	response, err := probeClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errNotReady
	}
	return nil
}

const scrubPasses = "outrigger_scrub_passes_total "

// scrubs is how often this run of the broker has read its whole log in search of damage.
func (b *broker) scrubs(ctx context.Context) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.address+":"+portHTTP+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := probeClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), scrubPasses); ok {
			n, err := strconv.ParseFloat(value, 64)
			return int64(n), err
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("broker %d does not tell %q", b.node, scrubPasses))
}
