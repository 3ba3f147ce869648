package bench

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// counter counts by name.
type counter struct {
	mu struct {
		sync.Mutex
		counts map[string]int64
	}
}

func newCounter() *counter {
	c := &counter{}
	c.mu.counts = map[string]int64{}
	return c
}

func (c *counter) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.counts[name]++
}

func (c *counter) counts() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.mu.counts)
}

// codeTextMax bounds the text of an error that has no code.
const codeTextMax = 80

// codeOf names an error: by Kafka's code if it has one.
func codeOf(err error) string {
	var coded *kerr.Error
	switch {
	case errors.As(err, &coded):
		return coded.Message
	case errors.Is(err, kgo.ErrRecordTimeout):
		return "delivery timeout"
	case errors.Is(err, kgo.ErrClientClosed):
		return "no answer until the client was closed"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "request timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF):
		return "connection closed"
	case errors.Is(err, net.ErrClosed):
		return "connection closed by the client"
	}
	text := err.Error()
	return text[:min(len(text), codeTextMax)]
}

// retryLogger counts the codes for which the client sent a batch again. The client tells of them in its
// debug log only.
type retryLogger struct{ counts *counter }

// Level is where the client tells of retries.
func (retryLogger) Level() kgo.LogLevel { return kgo.LogLevelDebug }

// Log looks at what was produced.
func (l retryLogger) Log(_ kgo.LogLevel, message string, keysAndValues ...any) {
	if message != "produced" {
		return
	}
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		if text, ok := keysAndValues[i+1].(string); ok && keysAndValues[i] == "to" {
			for _, code := range retriedIn(text) {
				l.counts.add(code)
			}
		}
	}
}

// retriedIn finds the codes of retried batches in a line like
// "t[0{retrying@-1,5(NOT_LEADER_FOR_PARTITION: ...)}, 1{move:2:3@-1,4}, ]".
func retriedIn(text string) []string {
	var codes []string
	for _, part := range strings.Split(text, "{")[1:] {
		switch _, detail, ok := strings.Cut(part, "("); {
		case strings.HasPrefix(part, "retrying@") && ok:
			code, _, _ := strings.Cut(detail, ":")
			codes = append(codes, strings.TrimRight(code, ")}, ]"))
		case strings.HasPrefix(part, "move:"):
			codes = append(codes, kerr.NotLeaderForPartition.Message)
		}
	}
	return codes
}

// socketErrors counts connections that could not be made, or broke.
type socketErrors struct{ *counter }

func newSocketErrors() *socketErrors { return &socketErrors{newCounter()} }

// OnBrokerConnect is called for each dial.
func (s *socketErrors) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.add("dial: " + codeOf(err))
	}
}

// OnBrokerE2E is called for each request that was answered, or was not.
func (s *socketErrors) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e2e kgo.BrokerE2E) {
	err := e2e.Err()
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, kgo.ErrClientClosed) && !errors.Is(err, net.ErrClosed) {
		s.add("request: " + codeOf(err))
	}
}

// batches counts what producers wrote, as the client packed it.
type batches struct{ count, records, raw, wire atomic.Int64 }

// OnProduceBatchWritten is called for each acknowledged batch.
func (b *batches) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	b.count.Add(1)
	b.records.Add(int64(m.NumRecords))
	b.raw.Add(int64(m.UncompressedBytes))
	b.wire.Add(int64(m.CompressedBytes))
}
