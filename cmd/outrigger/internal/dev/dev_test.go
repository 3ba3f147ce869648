package dev

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"outrigger/cmd/outrigger/internal/config"
	"outrigger/cmd/outrigger/internal/datadir"
	"outrigger/cmd/outrigger/internal/port"
)

// patience is far more than anything here takes.
const patience = 20 * time.Second

// TestMain doubles as the brokers: dev starts this very executable with "start" in front.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "start" {
		os.Exit(pretend(os.Args[2:])) //nolint:forbidigo // this process is a broker, and its exit code is tested
	}
	m.Run()
}

// pretend is a broker that does nothing but be started, asked and stopped. The word after --log-level
// chooses how it misbehaves.
func pretend(arguments []string) int {
	var sets []string
	behaviour := ""
	for i, argument := range arguments {
		switch argument {
		case "--set":
			sets = append(sets, arguments[i+1])
		case "--behave":
			behaviour = arguments[i+1]
		}
	}
	cfg, _, err := config.Load(config.Sources{Sets: sets}, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, LastWords+err.Error())
		return ExitConfig
	}
	if mark := filepath.Join(cfg.Node.DataDir, "failed"); behaviour == "fail-once" && cfg.Node.ID == 2 {
		if _, err := os.Stat(mark); err != nil {
			_ = os.MkdirAll(cfg.Node.DataDir, 0o755)
			_ = os.WriteFile(mark, nil, 0o644)
			fmt.Fprintln(os.Stderr, LastWords+"port 1 is taken")
			return ExitPort
		}
	}
	if behaviour == "refuse" && cfg.Node.ID == 2 {
		fmt.Fprintln(os.Stderr, LastWords+"num.partitions=x is refused: want a whole number")
		return ExitConfig
	}
	listener, err := net.Listen("tcp", cfg.HTTP[0].String())
	if err != nil {
		fmt.Fprintln(os.Stderr, LastWords+err.Error())
		return ExitPort
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(readiness{Ready: true, Brokers: 3})
	}))
	if behaviour == "deaf" {
		signal.Ignore(syscall.SIGTERM)
		select {}
	}
	fmt.Fprintf(os.Stderr, "{\"msg\":\"up\",\"node\":%d}\n", cfg.Node.ID)
	_, _ = io.Copy(io.Discard, os.Stdin)
	fmt.Fprintf(os.Stderr, "{\"msg\":\"stopped\",\"node\":%d}\n", cfg.Node.ID)
	return 0
}

// cluster is a dev under test.
type cluster struct {
	t      *testing.T
	data   string
	stop   context.CancelFunc
	ready  *bufio.Reader
	result chan error
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func run(t *testing.T, data string, change func(*Options)) *cluster {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	c := &cluster{t: t, data: data, stop: stop, ready: bufio.NewReader(read), result: make(chan error, 1), log: &lockedBuffer{}}
	o := Options{
		Flags:      Flags{Brokers: 3, Data: data},
		Executable: os.Args[0],
		Ready:      write,
		Logger:     slog.New(slog.NewJSONHandler(c.log, nil)),
		Output:     c.log,
	}
	if change != nil {
		change(&o)
	}
	go func() {
		err := Run(ctx, o)
		write.Close()
		c.result <- err
	}()
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("log:\n%s", c.log)
		}
	})
	return c
}

// pids waits for the ready line.
func (c *cluster) pids() []int {
	c.t.Helper()
	line, err := c.ready.ReadString('\n')
	if err != nil {
		c.t.Fatalf("no ready line: %v, %v", err, <-c.result)
	}
	_, list, _ := strings.Cut(strings.TrimSpace(line), "pids=")
	var pids []int
	for text := range strings.SplitSeq(list, ",") {
		pid, err := strconv.Atoi(text)
		if err != nil {
			c.t.Fatalf("ready line %q: %v", line, err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func (c *cluster) end() error {
	c.t.Helper()
	select {
	case err := <-c.result:
		return err
	case <-time.After(patience):
		c.t.Fatal("dev does not end")
		return nil
	}
}

// eventually polls until ok.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("never: %s", what)
		}
		pause(context.Background(), time.Millisecond)
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestClusterComesUpAndStopsCleanly(t *testing.T) {
	c := run(t, filepath.Join(t.TempDir(), "data"), nil)
	pids := c.pids()
	if len(pids) != 3 {
		t.Fatalf("got pids %v, want 3", pids)
	}
	c.stop()
	if err := c.end(); err != nil {
		t.Errorf("got %v, want a clean stop", err)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("broker process %d is left", pid)
		}
	}
	if got := strings.Count(c.log.String(), `"msg":"stopped"`); got != 3 {
		t.Errorf("%d brokers stopped by themselves, want 3", got)
	}
}

func TestDataSurvivesAndOtherNumbersOfBrokersAreRefused(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	first := run(t, data, nil)
	first.pids()
	first.stop()
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	record, err := checkHome(data, 3)
	if err != nil || record.ClusterID == "" {
		t.Fatalf("got %+v, %v", record, err)
	}
	other := run(t, data, func(o *Options) { o.Brokers = 5 })
	want := "data directory " + data + " was made for 3 brokers, not 5: start with --brokers 3, or choose another one with --data"
	if err := other.end(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	again := run(t, data, nil)
	again.pids()
	again.stop()
	if err := again.end(); err != nil {
		t.Error(err)
	}
	if after, err := checkHome(data, 3); err != nil || after != record {
		t.Errorf("got %+v, %v; want %+v", after, err, record)
	}
}

func TestDeadBrokerIsReportedAndNotRestarted(t *testing.T) {
	c := run(t, filepath.Join(t.TempDir(), "data"), nil)
	pids := c.pids()
	kill(t, pids[1])
	c.eventually("the death is reported", func() bool {
		return strings.Contains(c.log.String(), `"broker died","node":2,"pid":`+strconv.Itoa(pids[1]))
	})
	c.stop()
	if err := c.end(); err != nil {
		t.Errorf("got %v, want a clean stop of the others", err)
	}
	if strings.Contains(c.log.String(), "started again") {
		t.Error("the broker was restarted without --restart")
	}
}

func TestDeadBrokerIsRestartedWithRestart(t *testing.T) {
	c := run(t, filepath.Join(t.TempDir(), "data"), func(o *Options) { o.Restart = true })
	pids := c.pids()
	kill(t, pids[0])
	c.eventually("the broker is ready again", func() bool { return strings.Contains(c.log.String(), "broker is ready again") })
	if !alive(pids[1]) || !alive(pids[2]) {
		t.Error("the other brokers were touched")
	}
	c.stop()
	if err := c.end(); err != nil {
		t.Error(err)
	}
}

// A Go program that panics ends with the code of a refused configuration; so does one that gets SIGQUIT.
func TestBrokerThatPanicsAfterItWasReadyIsRestarted(t *testing.T) {
	c := run(t, filepath.Join(t.TempDir(), "data"), func(o *Options) { o.Restart = true })
	pids := c.pids()
	if err := syscall.Kill(pids[0], syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	c.eventually("the broker is ready again", func() bool { return strings.Contains(c.log.String(), "broker is ready again") })
	c.stop()
	if err := c.end(); err != nil {
		t.Error(err)
	}
}

func TestLastBrokersDeathEndsDev(t *testing.T) {
	c := run(t, filepath.Join(t.TempDir(), "data"), nil)
	for _, pid := range c.pids() {
		kill(t, pid)
	}
	if err := c.end(); err == nil || !strings.Contains(err.Error(), "died (signal: killed)") {
		t.Errorf("got %v", err)
	}
}

func TestStoppedBrokerIsWokenToStop(t *testing.T) {
	c := run(t, filepath.Join(t.TempDir(), "data"), nil)
	pids := c.pids()
	if err := syscall.Kill(pids[2], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.stop()
	if err := c.end(); err != nil {
		t.Errorf("got %v, want a clean stop", err)
	}
}

func TestRefusalOfABrokerIsDevsOwn(t *testing.T) {
	c := run(t, filepath.Join(t.TempDir(), "data"), func(o *Options) {
		o.Restart = true
		o.Arguments = []string{"--behave", "refuse"}
	})
	err := c.end()
	want := "broker 2 died (exit status 2): num.partitions=x is refused: want a whole number"
	var refused *Refused
	if !errors.As(err, &refused) || refused.Code != ExitConfig || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFreePortsAreDrawnAnewWhenOneIsTaken(t *testing.T) {
	c := run(t, filepath.Join(t.TempDir(), "data"), func(o *Options) { o.Arguments = []string{"--behave", "fail-once"} })
	// What the broker left behind would be somebody's data; the directory check comes first.
	if got := len(c.pids()); got != 3 {
		t.Errorf("got %d pids", got)
	}
	if !strings.Contains(c.log.String(), "choosing others") {
		t.Error("nothing was said about the ports")
	}
	c.stop()
	if err := c.end(); err != nil {
		t.Error(err)
	}
}

func TestNothingIsTouchedWhenAPortIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := listener.Addr().(*net.TCPAddr).Port
	data := filepath.Join(t.TempDir(), "data")
	c := run(t, data, func(o *Options) { o.Brokers = 1; o.Ports.NATS = taken })
	err = c.end()
	var refusal *port.TakenError
	want := fmt.Sprintf("port 127.0.0.1:%d for NATS clients of broker 1 is taken by another process: "+
		"stop that process, or choose other ports with --nats-port (0 takes free ones)", taken)
	if !errors.As(err, &refusal) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory was made: %v", err)
	}
}

func TestForeignDirectoriesAreRefused(t *testing.T) {
	for name, content := range map[string]string{"thesis.tex": "x", "meta.properties": "x", recordName: "{}"} {
		data := t.TempDir()
		if err := os.WriteFile(filepath.Join(data, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		err := run(t, data, nil).end()
		var refusal *datadir.Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
		if entries, _ := os.ReadDir(data); len(entries) != 1 {
			t.Errorf("%s: got %d entries, want 1", name, len(entries))
		}
	}
}

func TestBrokersDirectoryOfAnotherClusterIsRefused(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	h, err := openHome(data, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	d, err := datadir.Open(filepath.Join(data, "broker-2"), datadir.Owner{Cluster: "other", Node: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	err = run(t, data, nil).end()
	if err == nil || !strings.Contains(err.Error(), "belongs to cluster other") {
		t.Errorf("got %v", err)
	}
}

func TestSecondDevOnTheSameDataIsToldWhoHasIt(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	c := run(t, data, nil)
	c.pids()
	err := run(t, data, nil).end()
	want := fmt.Sprintf("data directory %s is in use by process %d: stop it, or name another directory", data, os.Getpid())
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	c.stop()
	if err := c.end(); err != nil {
		t.Error(err)
	}
}

func TestDeafBrokersAreKilledInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the whole time that a stop may take")
	}
	c := run(t, filepath.Join(t.TempDir(), "data"), func(o *Options) { o.Arguments = []string{"--behave", "deaf"} })
	pids := c.pids()
	started := time.Now()
	c.stop()
	err := c.end()
	if err == nil || !strings.Contains(err.Error(), "broker 1 died") && !strings.Contains(err.Error(), "did not stop cleanly") {
		t.Errorf("got %v, want a report", err)
	}
	if took := time.Since(started); took > 8*time.Second {
		t.Errorf("the stop took %v, want at most 8 s", took)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("broker process %d is left", pid)
		}
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
