package node

import (
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// BenchmarkRoundOfOneAmongManyBusyPartitions is what one produced batch costs a leader of 2,000
// partitions that all wait for acknowledgements, from the sealed group to the answered follower.
func BenchmarkRoundOfOneAmongManyBusyPartitions(b *testing.B) {
	w := newMemWorld(b, 1, 2000)
	for range 4 {
		w.round()
	}
	leader := w.hosts[0]
	var led []*memLog
	for _, l := range leader.order {
		if l.role.Leading {
			led = append(led, l)
			e := partition.Entry{Partition: l.part, Epoch: l.role.Epoch, PrevEpoch: l.tailEpoch(), Count: 1, Payload: []byte("x")}
			l.append(e)
		}
	}
	leader.rep.Sealed(leader.sealed)
	leader.rep.Flush()
	l := led[0]
	from := w.hosts[1].self
	header := frame.Header{Cluster: frame.Cluster{1}, From: from.Node, To: leader.self.Node,
		FromSession: from.Session, ReceiverSession: leader.self.Session}
	b.ReportAllocs()
	for b.Loop() {
		e := partition.Entry{Partition: l.part, Epoch: l.role.Epoch, PrevEpoch: l.role.Epoch, Base: l.end(), Count: 1, Payload: []byte("x")}
		l.entries, l.durable = append(l.entries[:0], e), 1
		leader.rep.Tick(0)
		leader.rep.Sealed([]partition.Entry{e})
		leader.rep.Durable([]topic.Partition{l.part})
		ack := frame.AppendAcks(nil, header, []frame.Ack{{
			Partition: l.part, Epoch: l.role.Epoch, TailEpoch: l.role.Epoch, LogEnd: l.end(), DurableEnd: l.end(),
		}})
		if _, ok := leader.rep.Frame(ack); !ok {
			b.Fatal("acknowledgement refused")
		}
		leader.rep.Flush()
		w.net = w.net[:0]
	}
}
