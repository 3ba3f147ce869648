package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// Name is that of a system.
type Name string

// The systems.
const (
	Kafka     Name = "kafka"
	Outrigger Name = "outrigger"
	JetStream Name = "jetstream"
	// Kept is Outrigger with retention and compaction at work, Bare the same without.
	Kept Name = "kept"
	Bare Name = "bare"
)

// nodes is the size of every cluster.
const nodes = 3

// Cluster is three running nodes of a system.
type Cluster struct {
	Name    Name
	Servers []string
	// PIDs are the nodes' processes, in the order of their ids.
	PIDs []int
	// HTTP is where nodes of ours tell their metrics.
	HTTP []string
	// Began is when the first process was started.
	Began time.Time

	dir string
	// processes are those that we started: the nodes, or what starts them.
	processes []*process
	paused    bool
}

// stopWithin is how long a node may take to end in order.
const stopWithin = 20 * time.Second

// Pause stops all processes in their tracks.
func (c *Cluster) Pause() error {
	if c.paused {
		return nil
	}
	c.paused = true
	return c.signalAll(syscall.SIGSTOP)
}

// Resume lets them go on.
func (c *Cluster) Resume() error {
	if !c.paused {
		return nil
	}
	c.paused = false
	return c.signalAll(syscall.SIGCONT)
}

func (c *Cluster) signalAll(s syscall.Signal) error {
	var errs []error
	for _, pid := range c.PIDs {
		errs = append(errs, signal(pid, s))
	}
	for _, p := range c.processes {
		if !p.ended() {
			errs = append(errs, signal(p.pid(), s))
		}
	}
	return errors.Join(errs...)
}

// Stop ends all processes and removes the data.
func (c *Cluster) Stop() error {
	errs := make([]error, len(c.processes)+2)
	errs[0] = c.Resume()
	var stopping sync.WaitGroup
	for i, p := range c.processes {
		stopping.Go(func() { errs[i+1] = p.stop(stopWithin) })
	}
	stopping.Wait()
	errs[len(errs)-1] = os.RemoveAll(c.dir)
	return errors.Join(errs...)
}

// alive says which process has ended, if one has.
func (c *Cluster) alive() error {
	for _, p := range c.processes {
		if p.ended() {
			return fmt.Errorf("%s has ended: %s", p.name, p.said())
		}
	}
	return nil
}

// directory makes one for a cluster's data, below parent, or where the system keeps temporary ones.
func directory(parent string, n Name) (string, error) {
	dir, err := os.MkdirTemp(parent, "outrigger-peers-"+string(n)+"-")
	if err != nil {
		return "", fmt.Errorf("make a directory for %s: %w", n, err)
	}
	return dir, nil
}

// abandon stops a cluster that did not start.
func (c *Cluster) abandon(cause error) (*Cluster, error) {
	return nil, errors.Join(fmt.Errorf("start %s: %w", c.Name, cause), c.Stop())
}

// Pause reports whether ctx has lasted so long.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
