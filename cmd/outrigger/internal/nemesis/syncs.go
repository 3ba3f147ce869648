package nemesis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	attachWithin = 10 * time.Second
	detachWithin = 10 * time.Second
	// failStopWithin is how long a broker may take to end after a sync that failed.
	failStopWithin = 20 * time.Second
)

// syncCalls are what a broker syncs by: the log hands a write and its sync to the kernel in one.
const syncCalls = "fdatasync,fsync,io_submit"

// tracer is an strace that changes the system calls of a broker.
type tracer struct {
	cmd   *exec.Cmd
	done  chan struct{}
	trace string
}

// attach returns when all threads of the process are traced.
func attach(ctx context.Context, pid int, trace, inject string) (*tracer, error) {
	t := &tracer{trace: trace, done: make(chan struct{})}
	said := &lockedBuffer{}
	t.cmd = exec.Command("strace", "-f", "-o", trace, "-e", "trace="+syncCalls, "-e", "inject="+syncCalls+":"+inject, "-p", strconv.Itoa(pid))
	t.cmd.Stderr = said
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start strace: %w", err)
	}
	go func() {
		defer close(t.done)
		_ = t.cmd.Wait() // it ends with the broker, or when we say so
	}()
	err := eventually(ctx, attachWithin, "strace attaches", func() error {
		if said.contains("attached") {
			return nil
		}
		return fmt.Errorf("it says %q", said.text())
	})
	if err != nil {
		return nil, errors.Join(err, t.detach())
	}
	return t, nil
}

// detach lets the broker go.
func (t *tracer) detach() error {
	_ = t.cmd.Process.Signal(syscall.SIGTERM) // it may have ended with the broker
	select {
	case <-t.done:
		return nil
	case <-time.After(detachWithin):
		_ = t.cmd.Process.Kill()
		<-t.done
		return errors.New("strace did not detach in time")
	}
}

// injected reports whether any call was changed.
func (t *tracer) injected() (bool, error) {
	text, err := os.ReadFile(t.trace)
	if err != nil {
		return false, fmt.Errorf("read what strace injected: %w", err)
	}
	return bytes.Contains(text, []byte("(INJECTED)")), nil
}

func (i *injector) tracePath(f Fault) string {
	return filepath.Join(i.traces, fmt.Sprintf("strace-%d", f.Node))
}

// failSyncs lets no sync of a broker succeed. When it was told so, the broker must end.
func (i *injector) failSyncs(ctx context.Context, f Fault) (func(context.Context) error, error) {
	b := i.broker(f.Node)
	if b.process == nil {
		return nil, errDown
	}
	process := b.process
	t, err := attach(ctx, b.pid(), i.tracePath(f), "error=EIO")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		err := t.detach()
		told, readErr := t.injected()
		if err = errors.Join(err, readErr); err != nil {
			return err
		}
		if told {
			select {
			case <-process.done:
			case <-ctx.Done():
			case <-time.After(failStopWithin):
				return &misbehaviour{fmt.Sprintf("broker %d runs on %v after a sync that failed", f.Node, failStopWithin)}
			}
		}
		return i.startAgain(b)(ctx)
	}, nil
}

// delaySyncs makes every sync of a broker wait.
func (i *injector) delaySyncs(ctx context.Context, f Fault) (func(context.Context) error, error) {
	b := i.broker(f.Node)
	if b.process == nil {
		return nil, errDown
	}
	t, err := attach(ctx, b.pid(), i.tracePath(f), fmt.Sprintf("delay_enter=%d", f.Delay.Microseconds()))
	if err != nil {
		return nil, err
	}
	return func(context.Context) error { return t.detach() }, nil
}

var errDown = errors.New("the broker is down")

// misbehaviour is what a broker did and should not have done: an anomaly, not a failure of ours.
type misbehaviour struct{ what string }

// Error says it.
func (m *misbehaviour) Error() string { return m.what }

// lockedBuffer takes what a process says while somebody reads it.
type lockedBuffer struct {
	mu struct {
		sync.Mutex
		bytes.Buffer
	}
}

// Write never fails.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.String()
}

func (b *lockedBuffer) contains(s string) bool {
	return bytes.Contains([]byte(b.text()), []byte(s))
}
