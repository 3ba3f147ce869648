package broker

import (
	"net"
	"runtime"
	"testing"
	"time"
)

// allocationsMax is what one small produce may allocate, from the socket to the answer, the client and
// the file system in memory included: 22.2 when it was measured, and room for one or two that are rare.
const allocationsMax = 25

// A guard on allocations, not on time, which is noise on a shared machine.
func TestProduceAllocatesLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the race detector allocates on its own account")
	}
	const produces = 3000
	h := startOver(t, 64<<20)
	h.create("bench", 4)
	frame := formatter.AppendRequest(nil, produceOf(9, "bench", 0, -1, plainBatch("x")), 1)
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	c := &rawClient{t, conn}
	round := func() {
		sent := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < produces && err == nil; i++ {
				_, err = conn.Write(frame)
			}
			sent <- err
		}()
		for range produces {
			if _, _, err := c.frame(); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	round()
	runtime.ReadMemStats(&before)
	round()
	runtime.ReadMemStats(&after)
	got := float64(after.Mallocs-before.Mallocs) / produces
	t.Logf("%.1f allocations a produce", got)
	if got > allocationsMax {
		t.Errorf("got %.1f allocations a produce, want at most %d", got, allocationsMax)
	}
}
