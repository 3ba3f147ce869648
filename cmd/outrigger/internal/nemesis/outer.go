package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stopWithin is how long the inner half may take to heal, judge and end when it was asked to.
const stopWithin = 4 * time.Minute

// InsideError says that the inner half ended with this code, having said why.
type InsideError struct{ Code int }

// Error is for whoever does not look at the code.
func (e *InsideError) Error() string { return fmt.Sprintf("nemesis ended with code %d", e.Code) }

// Run runs a nemesis until its time is over or ctx ends. It is two processes: the outer half owns the
// network and removes it whatever becomes of the inner half, which runs in the namespace of the
// clients and does everything else.
func Run(ctx context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if o.Inside != "" {
		return inside(ctx, o)
	}
	if err := checkTools(); err != nil {
		return err
	}
	if err := removeLeftovers(); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	n := newNetwork(os.Getpid(), o.Brokers)
	err := n.make(ctx)
	if err == nil {
		err = runInside(ctx, o, n)
	}
	return errors.Join(err, n.remove())
}

// runInside starts the inner half and waits for it.
func runInside(ctx context.Context, o Options, n network) error {
	args := append([]string{"netns", "exec", n.namespace(clientsNode), o.Executable}, o.Args...)
	cmd := exec.Command("ip", append(args, "--inside", n.prefix)...)
	cmd.Stdout, cmd.Stderr = o.Out, o.Err
	// A process group of its own: Ctrl-C in a terminal is for us, who hand it on once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start nemesis: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start nemesis: %w", err), stdin.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = stopInside(cmd, ended)
	}
	_ = stdin.Close() // nobody reads any more
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return &InsideError{Code: exit.ExitCode()}
	}
	return err
}

func stopInside(cmd *exec.Cmd, ended <-chan error) error {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case err := <-ended:
		return err
	case <-time.After(stopWithin):
		_ = cmd.Process.Kill()
		return errors.Join(fmt.Errorf("nemesis did not stop within %v", stopWithin), <-ended)
	}
}
