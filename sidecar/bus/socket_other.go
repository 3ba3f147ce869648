//go:build !linux

package bus

import (
	"io"
	"net"
)

// socket reads from a TCP connection.
type socket struct{ conn *net.TCPConn }

func newSocket(conn *net.TCPConn) (*socket, error) { return &socket{conn}, nil }

// fill implements socketReader.
func (s *socket) fill(b, spill []byte) (spilled int, err error) {
	if len(b) == 0 {
		return s.conn.Read(spill)
	}
	_, err = io.ReadFull(s.conn, b)
	return 0, err
}
