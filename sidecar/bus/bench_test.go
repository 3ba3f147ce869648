package bus_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"outrigger/sidecar/bus"
)

// BenchmarkFramesToTwoFollowers ships frames from one node to two others, each of which acknowledges
// every frame on the acks lane; at most window bytes per follower are unacknowledged. MB/s counts a
// frame once.
func BenchmarkFramesToTwoFollowers(b *testing.B) {
	const window = 16 << 20
	for _, frame := range []int{64 << 10, 256 << 10, 512 << 10} {
		b.Run(fmt.Sprintf("%dKiB", frame>>10), func(b *testing.B) {
			nodes := startCluster(b, nil)
			acks := make(chan int, 1<<16)
			if err := nodes[0].Subscribe(bus.Acks, "ack.0", func(m bus.Message) { acks <- int(m.Data[0]) }); err != nil {
				b.Fatal(err)
			}
			for i := 1; i <= 2; i++ {
				follow(b, nodes, i)
			}
			ship(b, nodes[0], acks, frame, window/frame)
		})
	}
}

func follow(b *testing.B, nodes [3]*node, i int) {
	subject := fmt.Sprintf("wal.%d", i)
	err := nodes[i].Subscribe(bus.Replication, subject, func(bus.Message) {
		if err := nodes[i].Publish(bus.Acks, "ack.0", []byte{byte(i)}); err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	eventually(b, "follower listens", func() bool { return nodes[0].server.Interest("REPL", subject) })
	eventually(b, "leader listens", func() bool { return nodes[i].server.Interest("REPL", "ack.0") })
}

func ship(b *testing.B, leader *node, acks <-chan int, frame, inFlightMax int) {
	data := make([]byte, frame)
	var inFlight [3]int
	b.SetBytes(int64(frame))
	b.ResetTimer()
	for sequence := range b.N {
		binary.BigEndian.PutUint64(data, uint64(sequence))
		for i := 1; i <= 2; i++ {
			for inFlight[i] >= inFlightMax {
				inFlight[<-acks]--
			}
			if err := leader.PublishFrame(fmt.Sprintf("wal.%d", i), [][]byte{data}); err != nil {
				b.Fatal(err)
			}
			inFlight[i]++
		}
	}
	for inFlight[1]+inFlight[2] > 0 {
		inFlight[<-acks]--
	}
}

// BenchmarkTapInterest is what each section of each frame costs while nobody listens.
func BenchmarkTapInterest(b *testing.B) {
	n := startNode(b, config(1))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if n.TapInterest("orders.eu", int32(i&1023)) {
			b.Fatal("nobody listens")
		}
	}
}
