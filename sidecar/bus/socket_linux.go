package bus

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// wakeLeast and wakeMost bound how many bytes a reader waits for at once: less is not worth a call, more does not
	// fit the socket's buffer.
	wakeLeast = 64 << 10
	wakeMost  = 256 << 10
)

// socket reads from a TCP connection and is woken when what it waits for is there, not at each packet.
type socket struct {
	raw syscall.RawConn
	// came counts reads that brought something.
	came *atomic.Uint64
	// wakeAt is the socket's SO_RCVLOWAT.
	wakeAt int
	// fixed: it could not be raised.
	fixed bool
}

func newSocket(conn *net.TCPConn, came *atomic.Uint64) (*socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reach socket: %w", err)
	}
	return &socket{raw: raw, came: came, wakeAt: 1}, nil
}

// fill implements socketReader.
func (s *socket) fill(b, spill []byte) (spilled int, err error) {
	var failed error
	err = s.raw.Read(func(fd uintptr) (done bool) {
		spilled, done, failed = s.try(int(fd), &b, spill)
		return done
	})
	return spilled, errors.Join(failed, err)
}

// try reads what is there; done if that is enough, or more cannot come.
func (s *socket) try(fd int, b *[]byte, spill []byte) (spilled int, done bool, err error) {
	for {
		n, err := unix.Readv(fd, [][]byte{*b, spill})
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			err := s.wake(fd, len(*b))
			return 0, err != nil, err
		case err != nil:
			return 0, true, os.NewSyscallError("readv", err)
		case n <= 0:
			return 0, true, io.ErrUnexpectedEOF
		}
		s.came.Add(1)
		if n >= len(*b) {
			return n - len(*b), true, nil
		}
		*b = (*b)[n:]
	}
}

// wake makes the socket readable once n bytes have come, about. It is never more than what is to come for sure, so
// that nobody waits for what nobody sends; nor more than the kernel holds, which looks to that itself. What came
// between the last read and this has left its mark in the poller.
func (s *socket) wake(fd, n int) error {
	at := min(n, wakeMost)
	if at < wakeLeast || s.fixed {
		at = 1
	}
	if at == s.wakeAt {
		return nil
	}
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, at)
	if err != nil && at > s.wakeAt {
		s.fixed = true // it is about processor time only
		return s.wake(fd, n)
	}
	if err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	s.wakeAt = at
	return nil
}
