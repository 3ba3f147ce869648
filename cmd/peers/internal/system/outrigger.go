package system

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// OutriggerStarter starts clusters of ours, by `outrigger dev`.
type OutriggerStarter struct {
	// Name is the cluster's, Outrigger unless set.
	Name Name
	// Executable is the binary.
	Executable string
	// Parent is where the data goes; empty for the system's temporary directory.
	Parent string
	// Sets are key=value for all brokers.
	Sets []string
}

// portFlags take a port for each node; those of HTTP are the fourth.
var portFlags = []string{"--kafka-port", "--nats-port", "--cluster-port", "--http-port"}

const httpPorts = 3

// readyWithin is how long a cluster may take to serve.
const readyWithin = 2 * time.Minute

// Start returns when the processes of the brokers are known, which is when all of them serve. Ready,
// if not nil, is called as soon as the addresses are known: whoever measures the start must not wait
// for more than a client would.
func (o OutriggerStarter) Start(ctx context.Context, known func(began time.Time, servers []string)) (*Cluster, error) {
	c := &Cluster{Name: cmp.Or(o.Name, Outrigger)}
	var err error
	if c.dir, err = directory(o.Parent, c.Name); err != nil {
		return nil, err
	}
	first, err := freePorts(len(portFlags) * nodes)
	if err != nil {
		return c.abandon(err)
	}
	c.Servers, c.HTTP = addresses(first), addresses(first+httpPorts*nodes)
	args := []string{"dev", "--log-level", "warn", "--log-format", "json", "--data", filepath.Join(c.dir, "data")}
	for i, flag := range portFlags {
		args = append(args, flag, strconv.Itoa(first+i*nodes))
	}
	for _, set := range o.Sets {
		args = append(args, "--set", set)
	}
	ready, says := io.Pipe()
	c.Began = time.Now()
	p, err := start(c.dir, "dev", says, o.Executable, args...)
	if err != nil {
		return c.abandon(err)
	}
	c.processes = []*process{p}
	if known != nil {
		known(c.Began, c.Servers)
	}
	if c.PIDs, err = awaitReady(ctx, p, ready); err != nil {
		return c.abandon(err)
	}
	return c, nil
}

// awaitReady reads the line in which dev says that its brokers serve.
func awaitReady(ctx context.Context, p *process, ready *io.PipeReader) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	closing := context.AfterFunc(ctx, func() { _ = ready.CloseWithError(ctx.Err()) })
	defer closing()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-p.done:
			_ = ready.CloseWithError(fmt.Errorf("it has ended: %s", p.said()))
		case <-ended:
		}
	}()
	lines := bufio.NewScanner(ready)
	for lines.Scan() {
		if pids, ok := pidsIn(lines.Text()); ok {
			go func() { _, _ = io.Copy(io.Discard, ready) }() // nothing more is said; it must not block
			return pids, nil
		}
	}
	return nil, errors.Join(errors.New("no line says that it is ready"), lines.Err())
}

// pidsIn understands "ready kafka=... pids=1,2,3".
func pidsIn(line string) (pids []int, ok bool) {
	rest, ok := strings.CutPrefix(line, "ready ")
	if !ok {
		return nil, false
	}
	for field := range strings.FieldsSeq(rest) {
		value, found := strings.CutPrefix(field, "pids=")
		if !found {
			continue
		}
		for text := range strings.SplitSeq(value, ",") {
			pid, err := strconv.Atoi(text)
			if err != nil {
				return nil, false
			}
			pids = append(pids, pid)
		}
	}
	return pids, len(pids) == nodes
}
