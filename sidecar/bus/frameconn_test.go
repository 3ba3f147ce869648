package bus_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"outrigger/natsconf"
	"outrigger/sidecar/bus"
)

// Frames arrive whole and in their order, however they are cut, while nats.go writes to the same connection.
func TestFramesInPiecesArriveWhole(t *testing.T) {
	nodes := startCluster(t, nil)
	leader := nodes[0]
	arrived := subscribe(t, nodes[1], bus.Replication, "REPL", "wal.1", leader)
	ended := make(chan struct{})
	var others sync.WaitGroup
	defer others.Wait()
	defer close(ended)
	for range 2 {
		others.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if err := errors.Join(leader.Publish(bus.Replication, "wal.nobody", make([]byte, 5000)), leader.Flush(t.Context(), bus.Replication)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		var pieces [][]byte
		for range r.IntN(5) {
			size := r.IntN(40)
			if r.IntN(3) == 0 {
				size = r.IntN(150_000)
			}
			pieces = append(pieces, bytes.Repeat([]byte{byte(r.IntN(256))}, size))
		}
		want := slices.Concat(pieces...)
		if err := leader.PublishFrame("wal.1", pieces); err != nil {
			t.Fatal(err)
		}
		for _, piece := range pieces {
			clear(piece) // It belongs to the caller again.
		}
		if m := receive(t, arrived); !bytes.Equal(m.Data, want) {
			t.Fatalf("frame %d: got %d other bytes, want %d", i, len(m.Data), len(want))
		}
	}
}

// breaking is a server whose connection of the replication lane takes half of a large write, and then is late; the one after
// it says nothing until it is told to.
type breaking struct {
	*natsconf.Server
	opened  *atomic.Int32
	silence chan struct{}
	wrote   chan []byte
}

var errLate = errors.New("the server is late")

func (b breaking) InProcessConn() (net.Conn, error) {
	conn, err := b.Server.InProcessConn()
	if err != nil {
		return nil, err
	}
	switch bus.Lane(b.opened.Add(1) - 1) { // lanes connect in their order
	case bus.Replication:
		return breakingConn{conn}, nil
	case bus.Ops + 1:
		return silentConn{conn, b}, nil
	}
	return conn, nil
}

type breakingConn struct{ net.Conn }

func (c breakingConn) Write(p []byte) (int, error) {
	if len(p) < 100_000 {
		return c.Conn.Write(p)
	}
	n, err := c.Conn.Write(p[:len(p)/2])
	return n, errors.Join(err, errLate)
}

type silentConn struct {
	net.Conn
	of breaking
}

func (c silentConn) Read(p []byte) (int, error) {
	<-c.of.silence
	return c.Conn.Read(p)
}

func (c silentConn) Write(p []byte) (int, error) {
	select {
	case c.of.wrote <- bytes.Clone(p):
	default:
	}
	return c.Conn.Write(p)
}

// A frame of which the server has a part ends the connection: what came behind it would be taken for the rest of it. Nothing is
// written to the next one before the server has let it in.
func TestHalfAFrameEndsTheConnection(t *testing.T) {
	b := breaking{opened: &atomic.Int32{}, silence: make(chan struct{}), wrote: make(chan []byte, 1)}
	n := startNodeBehind(t, config(1), func(server *natsconf.Server) bus.Server {
		b.Server = server
		return b
	})
	arrived := make(chan bus.Message, 10)
	if err := n.Subscribe(bus.Acks, "wal.1", func(m bus.Message) { arrived <- m }); err != nil {
		t.Fatal(err)
	}
	if err := n.Flush(t.Context(), bus.Acks); err != nil {
		t.Fatal(err)
	}
	frame := [][]byte{[]byte("head"), make([]byte, 200_000), []byte("tail")}
	if err := n.PublishFrame("wal.1", frame); !errors.Is(err, bus.ErrDisconnected) || !errors.Is(err, errLate) {
		t.Fatalf("got %v, want ErrDisconnected by %v", err, errLate)
	}
	eventually(t, "another connection", func() bool { return b.opened.Load() > int32(bus.Ops)+1 })
	sent := make(chan error, 1)
	go func() { // At once; it may have to wait for the server.
		err := bus.ErrDisconnected
		for errors.Is(err, bus.ErrDisconnected) {
			err = n.PublishFrame("wal.1", [][]byte{[]byte("again")})
		}
		sent <- err
	}()
	close(b.silence)
	select {
	case lane := <-n.gaps:
		if lane != bus.Replication {
			t.Errorf("got a gap of lane %s", lane)
		}
	case <-time.After(patience):
		t.Fatal("the lane did not come back")
	}
	if first := <-b.wrote; !bytes.HasPrefix(first, []byte("CONNECT ")) {
		t.Errorf("the server was first told %.20q", first)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if m := receive(t, arrived); string(m.Data) != "again" {
		t.Errorf("got %d bytes, want those of the frame that was sent whole", len(m.Data))
	}
	_ = n.Close()
	if err := n.PublishFrame("wal.1", frame); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("got %v after Close, want ErrClosed", err)
	}
}
