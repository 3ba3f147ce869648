package bus

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// frameWait is how long the server may take for a write, as long as nats.go gives it.
	frameWait = time.Minute
	// gatherMost is up to how many bytes a piece of a frame is copied behind those before it: each write to the pipe
	// switches from one goroutine to another and back.
	gatherMost = 16 << 10
)

// frameConn is the replication lane's connection. nats.go uses it as any other; frames are written past it, between what
// nats.go writes, which are whole lines and messages each time:
//
//	SUB, PING, PONG, other messages <─ nats.go
//	"PUB wal.… <bytes>" and a frame <─ publish, from where the frame's pieces lie
//
// nats.go would copy each frame, once it is in one piece, before its server does.
type frameConn struct {
	net.Conn

	// mu is held while a write waits for the server.
	mu sync.Mutex
	// gathered is what goes out with the next write.
	gathered []byte
}

// Write is for nats.go.
func (c *frameConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Conn.SetWriteDeadline(time.Now().Add(frameWait)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline does nothing: nats.go's would end with its own write, while a frame waits. Each write has one here.
func (c *frameConn) SetWriteDeadline(time.Time) error { return nil }

// publish writes a message, and returns when the server has it. After an error the server may have a part of one, and the
// connection ends, for nats.go to make another.
func (c *frameConn) publish(subject string, pieces [][]byte, size int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.write(subject, pieces, size); err != nil {
		_ = c.Close() // of a pipe, which cannot fail
		return fmt.Errorf("%w: write frame of %d bytes: %w", ErrDisconnected, size, err)
	}
	return nil
}

func (c *frameConn) write(subject string, pieces [][]byte, size int) error {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(frameWait)); err != nil {
		return err
	}
	b := append(c.gathered[:0], "PUB "...)
	b = append(b, subject...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(size), 10)
	b = append(b, "\r\n"...)
	for _, piece := range pieces {
		if len(piece) <= gatherMost {
			b = append(b, piece...)
			continue
		}
		for _, part := range [][]byte{b, piece} {
			if _, err := c.Conn.Write(part); err != nil {
				return err
			}
		}
		b = b[:0]
	}
	b = append(b, "\r\n"...)
	_, err := c.Conn.Write(b)
	c.gathered = b
	return err
}

// frameServer is the server that the replication lane connects to.
type frameServer struct {
	Server
	conn *atomic.Pointer[frameConn]
}

// InProcessConn is for nats.go.
func (s frameServer) InProcessConn() (net.Conn, error) {
	conn, err := s.Server.InProcessConn()
	if err != nil {
		return nil, err
	}
	c := &frameConn{Conn: conn}
	s.conn.Store(c)
	return c, nil
}

// PublishFrame publishes pieces that are one message on the replication lane, and has let go of them when it returns. nil says that
// the server has the message.
func (b *Bus) PublishFrame(subject string, pieces [][]byte) error {
	size := 0
	for _, piece := range pieces {
		size += len(piece)
	}
	// In this order: nats.go makes a connection after it has said that there is none, and says that there is one once the
	// server has let it in. So this one, or one before it, was let in.
	c, lane := b.frames.Load(), b.conns[Replication]
	switch {
	case lane.IsClosed():
		return ErrClosed
	case !lane.IsConnected():
		return ErrDisconnected
	case int64(size) > lane.MaxPayload():
		return ErrTooLarge
	}
	return c.publish(subject, pieces, size)
}
