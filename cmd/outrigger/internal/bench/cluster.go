package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"outrigger/cmd/outrigger/internal/dev"
)

// cluster is where the brokers are.
type cluster struct {
	servers []string
	// pids are the brokers' in the order of their node ids, if they are known.
	pids []int
	own  *ownCluster
}

// ownCluster is one that was started for this run.
type ownCluster struct {
	dir     string
	made    bool
	log     *os.File
	stop    context.CancelFunc
	stopped chan error
}

const (
	ownBrokers     = 3
	ownLog         = "brokers.log"
	ownDirPattern  = "outrigger-bench-"
	defaultServer  = "127.0.0.1:9092"
	readyBytesMax  = 64 << 10
	ownLogFileMode = 0o600
)

// openTarget finds the brokers, or starts them.
func openTarget(ctx context.Context, o Options) (*cluster, error) {
	switch t := o.Target; {
	case t.Own:
		return startOwn(ctx, o)
	case t.Ready == "-":
		return readReady(o.Stdin)
	case t.Ready != "":
		file, err := os.Open(t.Ready)
		if err != nil {
			return nil, fmt.Errorf("read --ready: %w", err)
		}
		defer func() { _ = file.Close() }() // it was only read
		return readReady(file)
	case len(t.Servers) > 0:
		return &cluster{servers: t.Servers, pids: t.PIDs}, nil
	default:
		return &cluster{servers: []string{defaultServer}, pids: t.PIDs}, nil
	}
}

// readReady reads the line in which `outrigger dev` says that its brokers serve.
func readReady(from io.Reader) (*cluster, error) {
	lines := bufio.NewScanner(io.LimitReader(from, readyBytesMax))
	for lines.Scan() {
		if c, ok := parseReady(lines.Text()); ok {
			return c, nil
		}
	}
	return nil, errors.Join(errors.New("no line says that a cluster is ready"), lines.Err())
}

// parseReady understands "ready kafka=HOST:PORT,... nats=... http=... pids=1,2,3".
func parseReady(line string) (*cluster, bool) {
	rest, ok := strings.CutPrefix(line, "ready ")
	if !ok {
		return nil, false
	}
	c := &cluster{}
	for field := range strings.FieldsSeq(rest) {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "kafka":
			c.servers = strings.Split(value, ",")
		case "pids":
			for text := range strings.SplitSeq(value, ",") {
				pid, err := strconv.Atoi(text)
				if err != nil {
					return nil, false
				}
				c.pids = append(c.pids, pid)
			}
		}
	}
	return c, len(c.servers) > 0 && len(c.pids) > 0
}

// startOwn runs three brokers until close. What they say goes into a file beside their data.
func startOwn(ctx context.Context, o Options) (*cluster, error) {
	own := &ownCluster{dir: o.Target.Data, stopped: make(chan error, 1)}
	if own.dir == "" {
		dir, err := os.MkdirTemp("", ownDirPattern)
		if err != nil {
			return nil, fmt.Errorf("make a directory for the cluster: %w", err)
		}
		own.dir, own.made = dir, true
	}
	if err := os.MkdirAll(own.dir, 0o750); err != nil {
		return nil, fmt.Errorf("make a directory for the cluster: %w", err)
	}
	var err error
	logPath := filepath.Join(own.dir, ownLog)
	if own.log, err = os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, ownLogFileMode); err != nil {
		return nil, fmt.Errorf("keep what the brokers say: %w", err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	own.stop = stop
	ready, says := io.Pipe()
	go func() {
		output, flush := dev.NewOutput(own.log)
		err := dev.Run(running, dev.Options{
			Flags:      dev.Flags{Brokers: ownBrokers, Data: filepath.Join(own.dir, "data"), Sets: o.Target.Sets},
			Executable: o.Executable, Arguments: []string{"--log-format", "json", "--log-level", "warn"},
			Environ: o.Environ, Ready: says, Output: output,
			Logger: slog.New(slog.NewJSONHandler(output, nil)),
		})
		flush()
		_ = says.CloseWithError(err) // it cannot fail
		own.stopped <- err
	}()
	giveUp := context.AfterFunc(ctx, func() { _ = ready.CloseWithError(ctx.Err()) })
	defer giveUp()
	line, err := bufio.NewReader(ready).ReadString('\n')
	c, ok := parseReady(strings.TrimSpace(line))
	if err == nil && !ok {
		err = fmt.Errorf("it says %q", line)
	}
	if err != nil {
		return nil, (&cluster{own: own}).close(fmt.Errorf("start a cluster: %w", err), ctx.Err() == nil && own.hasSaid())
	}
	c.own = own
	return c, nil
}

// hasSaid reports whether there is anything to read in the log: a cluster that was refused says why in
// its error.
func (o *ownCluster) hasSaid() bool {
	info, err := o.log.Stat()
	return err == nil && info.Size() > 0
}

// close stops an own cluster, and returns cause with what went wrong on the way. Its directory is
// removed unless it is to be kept, or somebody chose it.
func (c *cluster) close(cause error, keep bool) error {
	if c.own == nil {
		return cause
	}
	c.own.stop()
	err := <-c.own.stopped
	if err != nil && (cause == nil || !errors.Is(cause, err)) {
		cause = errors.Join(cause, fmt.Errorf("stop the cluster: %w", err))
	}
	cause = errors.Join(cause, c.own.log.Close())
	switch {
	case !c.own.made:
		return cause
	case keep:
		return fmt.Errorf("%w (data and logs of the cluster are kept in %s)", cause, c.own.dir)
	}
	return errors.Join(cause, os.RemoveAll(c.own.dir))
}

// fileSystem is that of the brokers' logs, if they are on this machine.
func (c *cluster) fileSystem(facts ClusterFacts) string {
	switch {
	case c.own != nil:
		return fileSystemOf(c.own.dir)
	case len(c.pids) > 0 && facts.LogDirs != "":
		dir, _, _ := strings.Cut(facts.LogDirs, ",")
		return fileSystemOf(dir)
	}
	return unknown
}
