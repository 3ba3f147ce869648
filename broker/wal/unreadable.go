package wal

import (
	"errors"
	"fmt"
	"syscall"
)

// unreadable is a block that the device has and does not give back. It was asked twice: an error that passes, of a
// path or a bus, is none of the block's.
type unreadable struct {
	// at is the block's place in its file.
	at    int64
	cause error
}

// Error names the place.
func (u *unreadable) Error() string { return fmt.Sprintf("byte %d cannot be read: %v", u.at, u.cause) }

// Unwrap gives the device's answer.
func (u *unreadable) Unwrap() error { return u.cause }

// refusesBlock reports whether a device answers so that has a block and does not give it back.
func refusesBlock(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, errMedium) || errors.Is(err, errProtection)
}

// readTwice is ReadAt of whole blocks that reads block by block what the device refuses at first. What it refuses again
// is an *unreadable, and all before that was read. One that comes back is told to passed: its checksum decides.
func readTwice(file File, b []byte, offset int64, passed func(error)) (n int, err error) {
	n, err = file.ReadAt(b, offset)
	if !refusesBlock(err) {
		return n, err
	}
	refused := err
	for n = int(alignDown(int64(n))); n < len(b); n += blockBytes {
		got, err := file.ReadAt(b[n:min(n+blockBytes, len(b))], offset+int64(n))
		if refusesBlock(err) {
			return n, &unreadable{at: offset + int64(n), cause: err}
		}
		if err != nil {
			return n + got, err
		}
	}
	passed(refused)
	return len(b), nil
}
