package natsconf

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// demoted are lines that nats-server writes above their worth: one per connection, or one per
// attempt to reach a peer that is simply not up. They begin so after the connection's name.
var demoted = []string{
	"Client connection created",
	"Client connection closed",
	"Route connection created",
	"Route connection closed",
	"Router connection closed",
	"Trying to connect to route",
}

// logger turns nats-server's log into ours. A fatal line becomes an error: the server's own way
// would be to end the process.
type logger struct {
	log   *slog.Logger
	fatal chan<- error // one slot; the first error is the cause of any other

	mu struct {
		sync.Mutex
		quiet bool // shutting down: closed connections are no news
	}
}

func (l *logger) Noticef(format string, args ...any) { l.write(slog.LevelDebug, format, args) }
func (l *logger) Warnf(format string, args ...any)   { l.write(slog.LevelWarn, format, args) }
func (l *logger) Debugf(format string, args ...any)  { l.write(slog.LevelDebug, format, args) }
func (l *logger) Tracef(format string, args ...any)  { l.write(slog.LevelDebug, format, args) }

// Errorf writes a warning: nats-server calls an error what it goes on to retry or what a client
// did wrong, and nothing of that needs a human at once.
func (l *logger) Errorf(format string, args ...any) { l.write(slog.LevelWarn, format, args) }

func (l *logger) Fatalf(format string, args ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, args...):
	default:
	}
}

func (l *logger) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.quiet = true
}

func (l *logger) write(level slog.Level, format string, args []any) {
	if l.isDemoted(format) {
		level = slog.LevelDebug
	}
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, "nats server", "line", fmt.Sprintf(format, args...))
}

func (l *logger) isDemoted(format string) bool {
	l.mu.Lock()
	quiet := l.mu.quiet
	l.mu.Unlock()
	if quiet {
		return true
	}
	for _, line := range demoted {
		if strings.Contains(format, line) {
			return true
		}
	}
	return false
}
