package wal

import (
	"errors"
	"fmt"
)

// What can become of a call.
var (
	// ErrFull: the queue or the disk has no room and the context ended. Nothing happened; retry.
	ErrFull = errors.New("write-ahead log is full")
	// ErrTooLarge: the record can never fit. Reject it.
	ErrTooLarge = errors.New("record is too large for the write-ahead log")
	// ErrFailed: a write or sync on reserved space went wrong; nothing handed to this log since its
	// last Durable can be trusted to be on disk or off it. The node stops.
	ErrFailed = errors.New("write-ahead log failed")
	// ErrClosed: the log has been stopped. Retry elsewhere.
	ErrClosed = errors.New("write-ahead log is closed")
	// ErrDamaged: bytes that were synced are not what was written, or the device does not give them back,
	// asked twice. It always comes in a *Damage that names the place. Open changes and deletes nothing; Quarantine sets aside what is behind it.
	ErrDamaged = errors.New("write-ahead log is damaged")
	// ErrEnd: a scan has reached the durable end. Wait for the next Durable, then go on.
	ErrEnd = errors.New("end of the write-ahead log")
	// ErrNotDurable: a read at or beyond the durable end. A bug of the caller.
	ErrNotDurable = errors.New("position is not durable")
	// ErrMoved: what lay there was drained into a pack, or lies in a pack that is not needed any more.
	// Whoever knows the record knows its new place.
	ErrMoved = errors.New("record was moved")
	// ErrNotLent: the cache of reads has no room, or was not to be filled. Read the record by itself.
	ErrNotLent = errors.New("record is not lent")
	// ErrNoSpace: what an FS says when the device is full. The log turns it into back-pressure.
	ErrNoSpace = errors.New("no space left on device")
)

// LockedError says that another process holds the log's directory.
type LockedError struct {
	// PID of the holder, zero if it could not be read.
	PID int
}

// Error names the holder.
func (e *LockedError) Error() string {
	return fmt.Sprintf("write-ahead log is locked by process %d", e.PID)
}

// Damage is a place where synced bytes are not what was written. errors.Is(d, ErrDamaged) holds.
type Damage struct {
	At Position
	// File is the full name of the file.
	File   string
	Reason string
	// Bytes is how far the damage may reach, zero if that was not looked for.
	Bytes int64
	// Unreadable: the device does not give bytes back there. It may give them back later, unlike what is there and is
	// not what was written.
	Unreadable bool
}

// Error names the place.
func (d *Damage) Error() string {
	return fmt.Sprintf("%s: %s at byte %d: %s", ErrDamaged, d.File, d.At.Offset, d.Reason)
}

// Unwrap makes a Damage an ErrDamaged.
func (d *Damage) Unwrap() error { return ErrDamaged }
