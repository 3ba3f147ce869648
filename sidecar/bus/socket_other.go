//go:build !linux

package bus

import (
	"io"
	"net"
	"sync/atomic"
)

// socket reads from a TCP connection.
type socket struct {
	conn *net.TCPConn
	// came counts reads that brought something.
	came *atomic.Uint64
}

func newSocket(conn *net.TCPConn, came *atomic.Uint64) (*socket, error) {
	return &socket{conn, came}, nil
}

// Read is for io.ReadFull.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	if n > 0 {
		s.came.Add(1)
	}
	return n, err
}

// fill implements socketReader.
func (s *socket) fill(b, spill []byte) (spilled int, err error) {
	if len(b) == 0 {
		return s.Read(spill)
	}
	_, err = io.ReadFull(s, b)
	return 0, err
}
