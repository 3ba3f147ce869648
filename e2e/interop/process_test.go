package interop

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	pollEvery     = 20 * time.Millisecond
	endsWithin    = 20 * time.Second
	errorsBytes   = 1500
	lineBytesMax  = 4 << 20
	deadlineWords = "the deadline has passed"
	// debugLine begins a line of librdkafka that tells what it does, and complains of nothing.
	debugLine = "%7|"
)

// command says how a client is run, and what its lines mean.
type command struct {
	cmd *exec.Cmd
	// translate makes fields of a line, nil where it means nothing; nil for a client that speaks our protocol.
	translate func(line string) [][]string
	// ends is the signal that ends it in order, where the end of its input does not.
	ends syscall.Signal
}

// process is a running client.
type process struct {
	command
	stdin io.WriteCloser
	done  chan struct{}
	// err is how it ended; read it after done.
	err error

	mu     sync.Mutex
	said   [][]string
	errors []byte
}

func python(c *clients, script string, args ...string) command {
	cmd := exec.Command(c.python, append([]string{"testdata/" + script}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+c.pythonPath)
	return command{cmd: cmd}
}

// start runs a client.
func start(c command) (*process, error) {
	p := &process{command: c, done: make(chan struct{})}
	var err error
	if p.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.cmd.Path, err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.read(stdout, true) })
	reading.Go(func() { p.read(stderr, false) })
	go func() {
		reading.Wait()
		p.err = c.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// read notes what is said. A translated tool may say things on either stream.
func (p *process) read(from io.Reader, out bool) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		line := lines.Text()
		var said [][]string
		switch {
		case p.translate != nil:
			said = p.translate(line)
		case out:
			said = [][]string{strings.Split(line, "\t")}
		}
		p.mu.Lock()
		p.said = append(p.said, said...)
		if !out && !strings.HasPrefix(line, debugLine) {
			p.errors = append(p.errors, line...)
			p.errors = append(p.errors, '\n')
		}
		p.mu.Unlock()
	}
}

// messages are those from number on that begin with a word, or all.
func (p *process) messages(from int, word string) [][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all [][]string
	for _, m := range p.said[min(from, len(p.said)):] {
		if word == "" || m[0] == word {
			all = append(all, m)
		}
	}
	return all
}

// complaint is the end of what it wrote to its standard error, in one line.
func (p *process) complaint() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(strings.Fields(string(p.errors[max(0, len(p.errors)-errorsBytes):])), " ")
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// write gives it a line.
func (p *process) write(line string) error {
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return fmt.Errorf("%w: %s", err, p.complaint())
	}
	return nil
}

// interrupt ends it by a signal. A tool that takes the signal just before it waits for input notices only
// when there is no more of it.
func (p *process) interrupt(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("interrupt %s: %w", p.cmd.Path, err)
	}
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	select {
	case <-p.done:
		return nil
	case <-soon.Done():
		_ = p.stdin.Close() // it may be closed already
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("%s does not end when it is interrupted: %w: %s", p.cmd.Path, context.Cause(ctx), p.complaint())
	}
}

// finish ends its input, and waits until it has ended as it should.
func (p *process) finish(ctx context.Context) error {
	_ = p.stdin.Close() // it may be closed, and has then been told
	if p.ends != 0 {
		_ = p.cmd.Process.Signal(p.ends)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("the client did not end: %w: %s", ctx.Err(), p.complaint())
	}
	if p.err != nil && !p.endedBySignal() {
		return fmt.Errorf("the client ended with %w: %s", p.err, p.complaint())
	}
	return nil
}

func (p *process) endedBySignal() bool {
	var exit *exec.ExitError
	if p.ends == 0 || !errors.As(p.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() && status.Signal() == p.ends || status.ExitStatus() == 128+int(p.ends))
}

// stop is finish with a deadline of its own, for cleaning up.
func (p *process) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), endsWithin)
	defer cancel()
	return p.finish(ctx)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// ask writes a line of a conversation, and returns the fields of the answer.
func (p *process) ask(ctx context.Context, fields ...string) ([]string, error) {
	p.mu.Lock()
	before := len(p.said)
	p.mu.Unlock()
	what := strings.Join(fields, " ")
	if err := p.write(strings.Join(fields, "\t")); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var answer []string
	err := eventually(ctx, func() error {
		if said := p.messages(before, ""); len(said) > 0 {
			answer = said[0]
			return nil
		}
		if p.ended() {
			return final{fmt.Errorf("the client has ended: %v: %s", p.err, p.complaint())}
		}
		return errors.New("no answer")
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	case answer[0] != "ok":
		return nil, fmt.Errorf("%s: %s", what, strings.Join(answer[1:], " "))
	}
	return answer[1:], nil
}

// final is an error that no waiting mends.
type final struct{ error }

// eventually polls until ok says nil: what it waits for happens in another process.
func eventually(ctx context.Context, ok func() error) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var last error
	for {
		err := ok()
		var end final
		if err == nil || errors.As(err, &end) {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err // what the deadline itself cut short tells nothing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", deadlineWords, last)
		case <-ticker.C:
		}
	}
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return []byte("not base64: " + s)
	}
	return b
}
