package broker

import (
	"net"
	"strings"
	"testing"
	"time"
)

// BenchmarkProduceAll measures the path of a produce from socket to answer, pipelined on one
// connection, with a log that is in memory: what it costs beside the disk.
func BenchmarkProduceAll(b *testing.B) {
	h := startOver(b, 64<<20)
	h.create("bench", 4)
	var values []string
	for range 64 {
		values = append(values, strings.Repeat("x", 1000))
	}
	records := plainBatch(values...)
	frame := formatter.AppendRequest(nil, produceOf(9, "bench", 0, -1, records), 1)
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	b.SetBytes(int64(len(records)))
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			if _, err := conn.Write(frame); err != nil {
				return
			}
		}
	}()
	c := &rawClient{b, conn}
	for range b.N {
		if _, _, err := c.frame(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFetch measures fetches of 1 MiB out of memory.
func BenchmarkFetch(b *testing.B) {
	h := startOver(b, 64<<20)
	h.create("bench", 1)
	c := h.dial()
	_ = c.SetDeadline(time.Time{})
	for range 32 {
		c.ask(produceOf(9, "bench", 0, -1, plainBatch(strings.Repeat("x", 64<<10))))
	}
	q := fetchOf(12, "bench", 0, 0)
	frame := formatter.AppendRequest(nil, q, 1)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		c.write(frame)
		if _, body, err := c.frame(); err != nil || len(body) < 900<<10 {
			b.Fatal(len(body), err)
		}
	}
}
