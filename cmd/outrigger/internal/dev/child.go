package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// command is how brokers are started.
type command struct {
	executable string
	// arguments come before the settings of a broker.
	arguments []string
	// output takes what brokers say.
	output io.Writer
}

// process is one run of one broker.
type process struct {
	broker int
	cmd    *exec.Cmd
	// stdin is never written to: its closing, by us or by our death, means "stop".
	stdin io.Closer
	// stopProbe ends the probe.
	stopProbe context.CancelFunc
}

// start runs broker b. It must be waited for.
func (c command) start(p plan, b broker) (*process, io.ReadCloser, error) {
	arguments := append([]string{"start", "--" + FlagStopOnEOF}, c.arguments...)
	for _, setting := range p.settings(b) {
		arguments = append(arguments, "--set", setting)
	}
	cmd := exec.Command(c.executable, arguments...)
	// A process group of its own: Ctrl-C in a terminal is for dev, which stops each broker once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start broker %d: %w", b.id, err)
	}
	said, says, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start broker %d: %w", b.id, err), stdin.Close())
	}
	cmd.Stdout, cmd.Stderr = says, says
	if err := cmd.Start(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start broker %d: %w", b.id, err), stdin.Close(), said.Close(), says.Close())
	}
	_ = says.Close() // the broker has its own copy
	return &process{broker: b.id, cmd: cmd, stdin: stdin, stopProbe: func() {}}, said, nil
}

// exit is how a process ended.
type exit struct {
	how string
	// code is -1 after a signal.
	code  int
	words string
}

// wait relays what the process says until it has ended.
func (p *process) wait(said io.ReadCloser, output io.Writer) exit {
	words := make(chan string, 1)
	go func() { words <- copyLines(said, output, "broker "+strconv.Itoa(p.broker)) }()
	_ = p.cmd.Wait() // the state tells all
	e := exit{how: p.cmd.ProcessState.String(), code: p.cmd.ProcessState.ExitCode()}
	e.words = <-words
	_ = said.Close() // it is at its end
	return e
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the process to stop, in the one way that also works when dev is killed. A process that
// was paused (SIGSTOP) is woken, or it would not notice.
func (p *process) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // a process that is gone needs no signal
}

// kill ends the process at once.
func (p *process) kill() { _ = p.cmd.Process.Kill() }
