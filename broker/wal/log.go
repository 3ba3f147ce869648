package wal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"outrigger/broker/topic"
)

// What can become of a call.
var (
	// ErrFull: the queue or the disk has no room and the context ended. Nothing happened; retry.
	ErrFull = errors.New("write-ahead log is full")
	// ErrTooLarge: the record can never fit. Reject it.
	ErrTooLarge = errors.New("record is too large for the write-ahead log")
	// ErrFailed: a write or sync on reserved space went wrong, nothing of this log can be trusted to
	// become durable any more. The node stops.
	ErrFailed = errors.New("write-ahead log failed")
	// ErrClosed: the log has been stopped.
	ErrClosed = errors.New("write-ahead log is closed")
	// ErrDamaged: bytes that were synced are not what was written. Always a *Damage, with the place.
	ErrDamaged = errors.New("write-ahead log is damaged")
	// ErrEnd: a scan has reached the durable end.
	ErrEnd = errors.New("end of the write-ahead log")
	// ErrNoSpace: what an FS says when the device is full. The log turns it into back-pressure.
	ErrNoSpace = errors.New("no space left on device")
)

// LockedError says that another process holds the log's directory.
type LockedError struct{ PID int }

// Error names the holder.
func (e *LockedError) Error() string {
	return fmt.Sprintf("write-ahead log is locked by process %d", e.PID)
}

// Damage is a place where synced bytes are not what was written. errors.Is(d, ErrDamaged) holds.
type Damage struct {
	At Position
	// File is the name of the file.
	File   string
	Reason string
}

// Error names the place.
func (d *Damage) Error() string {
	return fmt.Sprintf("%s at byte %d: %s", d.File, d.At.Offset, d.Reason)
}

// Unwrap makes a Damage an ErrDamaged.
func (d *Damage) Unwrap() error { return ErrDamaged }

// Policy says when a group counts as durable.
type Policy struct {
	// Interval, when not zero, is the time between syncs: groups are reported Durable once written
	// and a crash of the machine loses up to this much of them. Zero syncs every group first.
	Interval time.Duration
}

// Always syncs every group before it is reported Durable.
var Always = Policy{}

// DirectMode says whether to bypass the page cache.
type DirectMode int

// Direct I/O: where the file system grants it (the default), or never.
const (
	DirectAuto DirectMode = iota
	DirectOff
)

// Config configures a Log.
type Config struct {
	FS              FS
	Dir             string
	FileBytes       int64
	GroupBytesMax   int64
	QueueBytesMax   [budgets]int64
	RecordBytesMax  int64
	Direct          DirectMode
	Sync            Policy
	Session         topic.Session
	Sink            Sink
	Replay          func(Placed) error
	Logger          *slog.Logger
	SpaceRetryDelay time.Duration
}

// Log is the write-ahead log.
type Log struct{}

// Open recovers the log in cfg.Dir.
func Open(cfg Config) (*Log, error) { return nil, errors.ErrUnsupported }

// Replay calls fn with every surviving record, in order.
func (l *Log) Replay(fn func(Placed) error) error { return errors.ErrUnsupported }

// Run writes until ctx ends.
func (l *Log) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Close releases what the log holds.
func (l *Log) Close() error { return errors.ErrUnsupported }

// Reserve takes room for one record of that encoded length.
func (l *Log) Reserve(ctx context.Context, b Budget, bytes int64) error {
	return errors.ErrUnsupported
}

// TryReserve is Reserve without waiting.
func (l *Log) TryReserve(b Budget, bytes int64) bool { return false }

// Release gives back a reservation that is not needed.
func (l *Log) Release(b Budget, bytes int64) {}

// EncodedLen is the number of bytes that r takes in the log.
func EncodedLen(r Record) int64 { return 48 + (int64(len(r.Payload))+7)&^7 }

// Append enqueues r under a reservation of EncodedLen(r).
func (l *Log) Append(b Budget, r Record) {}

// ReadPayload reads one durable record.
func (l *Log) ReadPayload(at Position, encodedLen int64) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Scan reads durable records in order.
func (l *Log) Scan(from Position, bytesMax int) (recs []Placed, next Position, err error) {
	return nil, from, errors.ErrUnsupported
}

// End is the durable end.
func (l *Log) End() Position { return Position{} }

// OS is the operating system's file system.
func OS() FS { return nil }
