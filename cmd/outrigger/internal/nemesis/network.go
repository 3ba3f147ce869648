package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// namePrefix begins the names of all our namespaces; the process id of their owner follows.
const namePrefix = "outrigger-nemesis-"

// The subnet is seen inside the namespaces only, so any will do.
const subnet = "10.213.86."

// network is a bridge in a namespace of its own, and one namespace for each broker and one for all
// clients joined to it. Namespaces are named, hence outlive processes, and must be removed.
type network struct {
	// prefix holds the process id of the owner.
	prefix  string
	brokers int
}

func newNetwork(pid, brokers int) network {
	return network{prefix: namePrefix + strconv.Itoa(pid) + "-", brokers: brokers}
}

// namespace is that of a broker, or of the clients.
func (n network) namespace(node int) string {
	if node == clientsNode {
		return n.prefix + "clients"
	}
	return n.prefix + "b" + strconv.Itoa(node)
}

func (n network) bridge() string { return n.prefix + "bridge" }

// address is that of a node in its namespace.
func (n network) address(node int) string { return subnet + strconv.Itoa(10+node) }

// make builds everything. What it has built when it fails is for remove.
func (n network) make(ctx context.Context) error {
	steps := [][]string{
		{"netns", "add", n.bridge()},
		{"-n", n.bridge(), "link", "add", "bridge0", "type", "bridge"},
		{"-n", n.bridge(), "link", "set", "bridge0", "up"},
	}
	for node := clientsNode; node <= n.brokers; node++ {
		space, port := n.namespace(node), "port"+strconv.Itoa(node)
		steps = append(steps,
			[]string{"netns", "add", space},
			[]string{"link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", port, "netns", n.bridge()},
			[]string{"-n", n.bridge(), "link", "set", port, "master", "bridge0", "up"},
			[]string{"-n", space, "addr", "add", n.address(node) + "/24", "dev", "eth0"},
			[]string{"-n", space, "link", "set", "eth0", "up"},
			[]string{"-n", space, "link", "set", "lo", "up"})
	}
	for _, step := range steps {
		if _, err := command(ctx, "ip", step...); err != nil {
			return fmt.Errorf("make network: %w", err)
		}
	}
	return nil
}

// cut makes the receiving end of each direction drop what comes.
func (n network) cut(ctx context.Context, cuts []Cut) error { return n.rules(ctx, "-A", cuts) }

// mend takes one such rule away for each; the rules of another fault stay.
func (n network) mend(ctx context.Context, cuts []Cut) error { return n.rules(ctx, "-D", cuts) }

func (n network) rules(ctx context.Context, verb string, cuts []Cut) error {
	var errs []error
	for _, c := range cuts {
		_, err := command(ctx, "ip", "netns", "exec", n.namespace(c.To), "iptables", "-w", verb, "INPUT",
			"-s", n.address(c.From), "-j", "DROP")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// remove ends whoever is left inside, and removes the namespaces. Interfaces go with them.
func (n network) remove() error {
	return removeNamespaces(func(name string) bool { return strings.HasPrefix(name, n.prefix) })
}

// removeLeftovers removes what earlier runs left behind whose owner is dead.
func removeLeftovers() error {
	return removeNamespaces(func(name string) bool {
		pid, ours := ownerOf(name)
		return ours && !runsNemesis(pid)
	})
}

// ownerOf reads the process id in the name of a namespace.
func ownerOf(name string) (pid int, ours bool) {
	rest, ok := strings.CutPrefix(name, namePrefix)
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, "-")
	if !ok {
		return 0, false
	}
	pid, err := strconv.Atoi(digits)
	return pid, err == nil && pid > 0
}

// runsNemesis reports whether the process is still the one that made the namespaces, and not somebody
// who got its number.
func runsNemesis(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), "nemesis")
}

// removeNamespaces removes those that match. It has no context: it must also work after the end.
func removeNamespaces(match func(name string) bool) error {
	ctx := context.Background()
	list, err := command(ctx, "ip", "netns", "list")
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	var errs []error
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !match(name) {
			continue
		}
		errs = append(errs, endProcesses(ctx, name))
		_, err := command(ctx, "ip", "netns", "del", name)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// endProcesses kills who runs in a namespace of ours: a paused broker does not notice that its stdin
// has ended. It returns when all are gone.
func endProcesses(ctx context.Context, namespace string) error {
	return eventually(ctx, commandWithin, "no process in "+namespace, func() error {
		pids, err := command(ctx, "ip", "netns", "pids", namespace)
		if err != nil {
			return err
		}
		for field := range strings.FieldsSeq(pids) {
			if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone by now
			}
		}
		if strings.TrimSpace(pids) != "" {
			return fmt.Errorf("processes %v are left", strings.Fields(pids))
		}
		return nil
	})
}

const pollEvery = 100 * time.Millisecond

// eventually polls until ok returns nil; what it waits for happens in another process.
func eventually(ctx context.Context, within time.Duration, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v: %w", what, within, err)
		case <-ticker.C:
		}
	}
}
