package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// versionsFrame is an ApiVersions request, version 0.
//
//	size | key 18, version 0 | correlation id | client id
var versionsFrame = []byte{0, 0, 0, 15, 0, 18, 0, 0, 0, 0, 0, 7, 0, 5, 'c', 'h', 'u', 'r', 'n'}

// failure mode 15: connections come and go in every way a connection can go, and what they took comes
// back.
func TestChurnedConnectionsLeaveNothingBehind(t *testing.T) {
	connections := 10_000
	if testing.Short() {
		connections = 3_000
	}
	c := start(t, options{})
	// what a broker keeps for its own good, such as pools, it has after some hundred
	churn(t, c.kafka[0], 300)
	c.drained(0, 0)
	before := c.footprint(0)
	began, used := time.Now(), processorTime(t, c.pids[0])
	churn(t, c.kafka[0], connections)
	took := time.Since(began)
	c.eventually(20*time.Second, "the broker as it was", func() error { return c.footprint(0).atMost(before) })
	t.Logf("%d connections in %s: before %s, after %s", connections, took.Round(time.Millisecond), before, c.footprint(0))
	// A reader that took the end of its connection for something to try again would be busy now.
	used = processorTime(t, c.pids[0]) - used
	idle := processorTime(t, c.pids[0])
	<-time.After(2 * time.Second)
	if idle = processorTime(t, c.pids[0]) - idle; idle > 500*time.Millisecond {
		t.Errorf("the broker used %s of processor in 2 s without a client, want next to none", idle)
	}
	t.Logf("processor time: %s for the churn, %s in the 2 s after it", used, idle)
	if got := exchange(t, c.kafka[0], versionsFrame); len(got) < 10 {
		t.Errorf("ApiVersions after the churn: got %d bytes", len(got))
	}
}

// footprint is what a broker holds.
type footprint struct {
	descriptors int
	goroutines  float64
	residentMiB float64
}

func (c *cluster) footprint(i int) footprint {
	c.t.Helper()
	return footprint{
		descriptors: descriptors(c.t, c.pids[i]),
		goroutines:  c.metric(i, "go_goroutines"),
		residentMiB: resident(c.t, c.pids[i]),
	}
}

// atMost leaves room for what comes and goes anyway, and for the collector's own pace.
func (f footprint) atMost(before footprint) error {
	const descriptorsMore, goroutinesMore, residentMore = 5, 10, 40
	if f.descriptors > before.descriptors+descriptorsMore || f.goroutines > before.goroutines+goroutinesMore ||
		f.residentMiB > before.residentMiB+residentMore {
		return fmt.Errorf("it holds %s, before %s", f, before)
	}
	return nil
}

func (f footprint) String() string {
	return fmt.Sprintf("%d descriptors, %.0f goroutines, %.0f MiB", f.descriptors, f.goroutines, f.residentMiB)
}

// drained waits until a broker counts so many Kafka connections.
func (c *cluster) drained(i int, want float64) {
	c.t.Helper()
	c.eventually(10*time.Second, "connections closed", func() error {
		if got := c.metric(i, "kafka_server_socketservermetrics_connection_count"); got > want {
			return fmt.Errorf("%.0f are open", got)
		}
		return nil
	})
}

// churn makes connections, sixteen hands at once, and ends each in one of six ways.
func churn(t testing.TB, address string, connections int) {
	t.Helper()
	const hands = 16
	var workers sync.WaitGroup
	for hand := range hands {
		workers.Go(func() {
			var silent []net.Conn
			for n := hand; n < connections; n += hands {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Errorf("connection %d: %v", n, err)
					return
				}
				if !part(conn.(*net.TCPConn), n%6) {
					silent = append(silent, conn)
				}
			}
			for _, conn := range silent {
				conn.Close()
			}
		})
	}
	workers.Wait()
}

// part uses a connection and ends it, unless it is to stay open and silent.
func part(conn *net.TCPConn, way int) (ended bool) {
	half := []byte{0, 0, 1, 0, 0, 3, 0, 9}
	switch way {
	case 0: // asked, answered, closed
		_, _ = conn.Write(versionsFrame)
		_, _ = io.ReadFull(conn, make([]byte, 16))
	case 1: // asked, and gone before the answer
		_, _ = conn.Write(versionsFrame)
		_ = conn.SetLinger(0)
	case 2: // aborted in the middle of a frame
		_, _ = conn.Write(half)
		_ = conn.SetLinger(0)
	case 3: // closed in the middle of a frame
		_, _ = conn.Write(half)
	case 4: // half-closed: the client sends no more and reads on
		_, _ = conn.Write(versionsFrame)
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	case 5: // silent while the others come and go
		return false
	}
	_ = conn.Close()
	return true
}

// exchange sends bytes on a new connection and returns the first frame of the answer.
func exchange(t testing.TB, address string, frame []byte) []byte {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	answer, err := readFrame(conn)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, frame)
	return frame, err
}
