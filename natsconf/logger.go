package natsconf

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// noticed are the lines that nats-server writes as warnings and that warn of nothing here.
var noticed = []string{
	// ours are random or the operator's to choose, and never leave the configuration
	"Plaintext passwords detected",
	// a limit above nats-server's taste follows from message.max.bytes
	"Maximum payloads over",
}

const (
	// repeatPeriod is how long the same line is not repeated: a peer that is down fails on six
	// connections at once, a client with a wrong password as often as it likes.
	repeatPeriod = time.Minute
	// linesMax bounds the lines remembered for it.
	linesMax = 256
)

// connection is how the server names the peer of a line. The port of a client and the number of a
// connection are new with each attempt, so two such lines are the same without them.
var connection = regexp.MustCompile(`^(\S+):\d+ - \w+:\d+`)

// logger turns nats-server's log into ours. A fatal line becomes an error: the server's own way
// would be to end the process.
type logger struct {
	log   *slog.Logger
	fatal chan<- *failure // one slot; the first error is the cause of any other
	// cue has one slot: a line was written since the reader of RoutesCue, or WatchRoutes, last looked.
	cue chan struct{}
	now func() time.Time

	mu struct {
		sync.Mutex
		quiet bool // shutting down: closed connections are no news
		said  map[string]time.Time
	}
}

func newLogger(log *slog.Logger, fatal chan<- *failure) *logger {
	l := &logger{log: log, fatal: fatal, cue: make(chan struct{}, 1), now: time.Now}
	l.mu.said = make(map[string]time.Time)
	return l
}

// Noticef is a debug line: nats-server notices every connection that comes or goes.
func (l *logger) Noticef(format string, args ...any) {
	select {
	case l.cue <- struct{}{}:
	default:
	}
	l.write(slog.LevelDebug, format, args)
}

// Warnf is a warning, unless it warns of nothing.
func (l *logger) Warnf(format string, args ...any) { l.warn(format, args) }

// Errorf is a warning too: nats-server calls an error what it goes on to retry or what a client did
// wrong, and nothing of that needs a human at once.
func (l *logger) Errorf(format string, args ...any) { l.warn(format, args) }

// Debugf is a debug line.
func (l *logger) Debugf(format string, args ...any) { l.write(slog.LevelDebug, format, args) }

// Tracef is one line per protocol message, only when an operator's file asks for it.
func (l *logger) Tracef(format string, args ...any) { l.write(slog.LevelDebug, format, args) }

// Fatalf hands the error on and returns; the server stops that part of itself after the call.
func (l *logger) Fatalf(format string, args ...any) {
	failure := &failure{format: format, text: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			failure.cause = cause
		}
	}
	select {
	case l.fatal <- failure:
	default:
	}
}

// failure is a fatal line of nats-server.
type failure struct {
	format, text string
	cause        error // nil if the line held none
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// silence makes everything that follows a debug line.
func (l *logger) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.quiet = true
}

func (l *logger) warn(format string, args []any) {
	level := slog.LevelWarn
	for _, line := range noticed {
		if strings.Contains(format, line) {
			level = slog.LevelDebug
		}
	}
	if level == slog.LevelWarn && l.isOld(fmt.Sprintf(format, args...)) {
		level = slog.LevelDebug
	}
	l.write(level, format, args)
}

// isOld reports whether the line was said within repeatPeriod, and remembers it if not.
func (l *logger) isOld(line string) bool {
	line = connection.ReplaceAllString(line, "$1")
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if said, known := l.mu.said[line]; l.mu.quiet || known && now.Sub(said) < repeatPeriod {
		return true
	}
	if len(l.mu.said) >= linesMax {
		clear(l.mu.said)
	}
	l.mu.said[line] = now
	return false
}

func (l *logger) write(level slog.Level, format string, args []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, "nats server", "line", fmt.Sprintf(format, args...))
}
