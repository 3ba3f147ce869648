package nemesis

import (
	"bufio"
	"context"
	_ "embed" // the client is a Python script
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"outrigger/e2e/history"
)

//go:embed client.py
var clientScript string

const (
	pythonName    = "kafka-python"
	pythonBackOff = time.Second
	// pythonLineMax is a poll of 500 records, some of them large.
	pythonLineMax = 64 << 20
)

// findPython is the interpreter, if it has kafka-python.
func findPython(ctx context.Context) (string, error) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("%w: python3 is not installed", ErrUnable)
	}
	if _, err := command(ctx, path, "-c", "import kafka"); err != nil {
		return "", fmt.Errorf("%w: python3 has no module kafka (pip install kafka-python)", ErrUnable)
	}
	return path, nil
}

// pythonChild is one run of the script.
type pythonChild struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
	said  *lockedBuffer
}

func (l *load) startPython(args ...string) (*pythonChild, error) {
	c := &pythonChild{said: &lockedBuffer{}}
	c.cmd = exec.Command(l.python, append([]string{"-u", l.script}, args...)...)
	c.cmd.Stderr = c.said
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.lines = bufio.NewScanner(out)
	c.lines.Buffer(nil, pythonLineMax)
	return c, c.cmd.Start()
}

// wait returns how it ended, after its output has been read.
func (c *pythonChild) wait() error {
	err := errors.Join(c.lines.Err(), c.cmd.Wait())
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(c.said.text()), "\n")
	return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
}

// pythonProducer runs producers until ctx ends; one that gives up is followed by another.
func (l *load) pythonProducer(ctx context.Context) {
	const name = pythonName + " producer"
	every := time.Duration(float64(time.Second) / (float64(l.rate) * pythonShare))
	for ctx.Err() == nil {
		child, err := l.startPython("produce", strings.Join(l.seeds, ","), l.topic)
		if err != nil {
			l.told(name, err)
			return
		}
		f := &pythonFeed{load: l, child: child, name: name, sent: map[int]pythonSent{},
			recorder: l.history.Producer(history.ProducerConfig{Name: name, Idempotent: true, Ordered: true})}
		if err := f.run(ctx, every); err != nil {
			l.told(name, err)
			pause(ctx, pythonBackOff)
		}
	}
}

// pythonFeed sends through one child.
type pythonFeed struct {
	load     *load
	child    *pythonChild
	recorder *history.Producer
	name     string
	mu       sync.Mutex
	sent     map[int]pythonSent
}

type pythonSent struct {
	history.Sent
	partition int32
}

// pythonAnswer is a line of a producer.
type pythonAnswer struct {
	ID     int     `json:"id"`
	Offset int64   `json:"offset"`
	Error  *string `json:"error"`
}

// run sends until ctx ends or the child does, and waits for its answers.
func (f *pythonFeed) run(ctx context.Context, every time.Duration) error {
	ended := make(chan error, 1)
	go func() {
		for f.child.lines.Scan() {
			f.answer(f.child.lines.Bytes())
		}
		ended <- f.child.wait()
	}()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for id := 0; ; {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return f.finish(ended)
		case <-ticker.C:
			if f.waiting() >= inFlightMax*f.load.partitions {
				continue
			}
			id++
			// it has ended if it cannot be written to, which the next turn hears
			_ = f.send(id)
		}
	}
}

func (f *pythonFeed) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sent)
}

func (f *pythonFeed) send(id int) error {
	value, payload := f.load.values.next()
	partition := int32(id % f.load.partitions)
	stamp := time.Now()
	sent := f.recorder.SendStored(f.load.topic, partition, value, stored(payload, stamp))
	f.mu.Lock()
	f.sent[id] = pythonSent{Sent: sent, partition: partition}
	f.mu.Unlock()
	return json.NewEncoder(f.child.stdin).Encode(map[string]any{"id": id, "p": partition, "v": payload, "t": stamp.UnixMilli()})
}

func (f *pythonFeed) answer(line []byte) {
	var a pythonAnswer
	if err := json.Unmarshal(line, &a); err != nil {
		f.load.told(f.name, err)
		return
	}
	f.mu.Lock()
	sent, ok := f.sent[a.ID]
	delete(f.sent, a.ID)
	f.mu.Unlock()
	switch {
	case !ok:
		f.load.told(f.name, fmt.Errorf("answer to unknown send %d", a.ID))
	case a.Error != nil:
		sent.Unknown()
		f.load.told(f.name, errors.New(*a.Error))
	default:
		sent.Acked(a.Offset)
		f.load.acked(sent.partition, a.Offset)
	}
}

// finish lets the child flush, and ends it if it cannot.
func (f *pythonFeed) finish(ended <-chan error) error {
	_ = f.child.stdin.Close()
	select {
	case err := <-ended:
		return err
	case <-time.After(answersWithin):
		f.load.unanswered(f.name, f.waiting())
		_ = f.child.cmd.Process.Kill()
		if err := <-ended; err == nil {
			return nil
		}
		return errors.New("killed, its sends had no answer")
	}
}

// pythonTail reads everything once, as it comes.
func (l *load) pythonTail(ctx context.Context) {
	const name = pythonName + " tail"
	child, err := l.startPython("tail", strings.Join(l.seeds, ","), l.topic, strconv.Itoa(l.partitions))
	if err != nil {
		l.told(name, err)
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = child.stdin.Close() })
	defer stop()
	recorder := l.history.Consumer(history.ConsumerConfig{Name: name})
	l.seeks(recorder, l.fromStart())
	l.pythonRead(name, child, recorder)
	if err := child.wait(); err != nil {
		l.told(name, err)
	}
}

// pythonRead records what a reader prints until it ends.
func (l *load) pythonRead(name string, child *pythonChild, recorder *history.Consumer) {
	recorder.Poll()
	for child.lines.Scan() {
		var records []pythonRecord
		if err := json.Unmarshal(child.lines.Bytes(), &records); err != nil {
			l.told(name, err)
			continue
		}
		for _, r := range records {
			recorder.Read(l.topic, r.partition, r.offset, valueOf([]byte(r.value)))
		}
		recorder.Done()
		recorder.Poll()
	}
}

// pythonRecord is [partition, offset, value].
type pythonRecord struct {
	partition int32
	offset    int64
	value     string
}

// UnmarshalJSON reads the three.
func (r *pythonRecord) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&r.partition, &r.offset, &r.value})
}

// pythonFinal reads from the starts to the ends.
func (l *load) pythonFinal(ctx context.Context, bounds map[int32]history.Range) error {
	recorder := l.history.Consumer(history.ConsumerConfig{Name: pythonName + " final"})
	var ranges []string
	for p := range int32(l.partitions) {
		recorder.Final(l.topic, p, bounds[p])
		ranges = append(ranges, fmt.Sprintf("%d-%d", bounds[p].Start, bounds[p].End))
	}
	child, err := l.startPython("final", strings.Join(l.seeds, ","), l.topic, strings.Join(ranges, ","))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = child.cmd.Process.Kill() })
	defer stop()
	l.pythonRead(pythonName+" final", child, recorder)
	return child.wait()
}
