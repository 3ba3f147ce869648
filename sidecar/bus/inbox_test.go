package bus_test

import (
	"encoding/binary"
	"testing"

	"outrigger/sidecar/bus"
)

// What goes to one node alone and what goes to it and another come in the order in which they were sent.
func TestInboxKeepsTheOrderAcrossSubjects(t *testing.T) {
	nodes := startCluster(t, nil)
	const messages = 3000
	inbox := bus.NewInbox(messages)
	for _, subject := range []string{"wal.1", "wal.1.*", "wal.*.1"} {
		if err := nodes[1].SubscribeInto(bus.Replication, subject, inbox); err != nil {
			t.Fatal(err)
		}
	}
	subjects := []string{"wal.1", "wal.1.2", "wal.0.1"}
	for _, subject := range subjects {
		eventually(t, "receiver listens", func() bool { return nodes[2].server.Interest("REPL", subject) })
	}
	for i := range messages {
		data := binary.BigEndian.AppendUint32(nil, uint32(i))
		if err := nodes[2].Publish(bus.Replication, subjects[i%len(subjects)], data); err != nil {
			t.Fatal(err)
		}
	}
	for want := 0; want < messages; {
		got := [][]byte{bus.Payload(<-inbox.Messages())}
		for _, data := range inbox.Drain(got, 100) {
			if number := int(binary.BigEndian.Uint32(data)); number != want {
				t.Fatalf("got message %d, want %d", number, want)
			}
			want++
		}
	}
}
