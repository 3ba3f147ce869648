package dev

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// relayLines is how many lines wait for a slow reader of stderr. When it is full, lines are
	// dropped and counted: a terminal that somebody paused must not pause the brokers.
	relayLines   = 4096
	relayFlush   = time.Second
	lineBytesMax = 256 << 10
)

// relay writes lines of many writers to one output, whole and in order of arrival, and never makes
// a writer wait.
type relay struct {
	dropped atomic.Int64
	done    chan struct{}

	mu struct {
		sync.Mutex
		closed bool
		lines  chan []byte
	}
}

func newRelay(out io.Writer) *relay {
	r := &relay{done: make(chan struct{})}
	lines := make(chan []byte, relayLines)
	r.mu.lines = lines
	go func() {
		defer close(r.done)
		for line := range lines {
			if lost := r.dropped.Swap(0); lost > 0 {
				fmt.Fprintf(out, "dev | %d log lines were dropped, nobody read them in time\n", lost)
			}
			_, _ = out.Write(line) // a log that nobody can read is nobody's fault here
		}
	}()
	return r
}

// Write takes one or more whole lines. After close they are lost.
func (r *relay) Write(lines []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return len(lines), nil
	}
	select {
	case r.mu.lines <- bytes.Clone(lines):
	default:
		r.dropped.Add(1)
	}
	return len(lines), nil
}

// close waits for what was taken to be written, but not for ever.
func (r *relay) close() {
	r.mu.Lock()
	if !r.mu.closed {
		r.mu.closed = true
		close(r.mu.lines)
	}
	r.mu.Unlock()
	select {
	case <-r.done:
	case <-time.After(relayFlush):
	}
}

// copyLines relays what a broker says until it ends, and returns its last words. JSON lines carry
// the broker's number already and stay as they are, for whoever parses them; anything else gets it
// in front.
func copyLines(from io.Reader, to io.Writer, name string) (words string) {
	lines := bufio.NewReaderSize(from, lineBytesMax)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			if last, ok := bytes.CutPrefix(line, []byte(LastWords)); ok {
				words = string(bytes.TrimSpace(last))
			}
			_, _ = to.Write(label(line, name))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return words
		}
	}
}

func label(line []byte, name string) []byte {
	var labelled []byte
	if line[0] != '{' {
		labelled = append(labelled, name...)
		labelled = append(labelled, " | "...)
	}
	labelled = append(labelled, line...)
	if line[len(line)-1] != '\n' {
		labelled = append(labelled, '\n')
	}
	return labelled
}
