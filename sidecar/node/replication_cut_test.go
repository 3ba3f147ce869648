package node

import (
	"testing"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/frame"
)

// 1. A follower holds a batch from 5 to 7 of another history, 2. its leader, whose records of that
// epoch end at 6, tells it to cut there, 3. the log drops the whole batch. To acknowledge 6 would be to
// acknowledge a record that nobody has. (Found by the simulator.)
func TestCutInsideABatchIsAnsweredWithWhereTheLogEnds(t *testing.T) {
	w := newMemWorld(t, 1, 1)
	p := topic.Partition{Topic: topic.ID{1}}
	placement, _ := w.image.Partition(p)
	leader := topic.Member{Node: placement.Leader, Session: placement.LeaderSession}
	follower := w.hosts[placement.Leader%3] // node ids begin at 1: any other than the leader
	log := follower.Create(p).(*memLog)
	log.entries = []partition.Entry{
		{Partition: p, Base: 0, Count: 5, PrevEpoch: topic.NoEpoch, Payload: []byte("a")},
		{Partition: p, Base: 5, Count: 2, Payload: []byte("b")},
	}
	log.at, log.durable = []int{0, 1}, 2
	follower.rep.SetImage(w.image)
	follower.rep.Flush()
	w.net = nil

	var b frame.Builder
	b.Add(frame.Header{
		Cluster: frame.Cluster{1}, From: leader.Node, FromSession: leader.Session,
		To: follower.self.Node, ReceiverSession: follower.self.Session,
	}, &frame.Section{
		Kind: frame.Cut, Partition: p, Epoch: placement.LeaderEpoch,
		Base: 6, PrevEpoch: 0, RecordEpoch: 0, HighWatermark: 7,
	})
	follower.rep.Frame(b.Take())
	follower.rep.Flush()
	if log.end() != 5 {
		t.Fatalf("log ends at %d, want 5", log.end())
	}
	acks := 0
	for _, m := range w.net {
		_, sections, body, err := frame.ParseHeader(m.data)
		if err != nil {
			t.Fatal(err)
		}
		err = frame.ParseAcks(body, sections, func(a frame.Ack) {
			acks++
			if a.LogEnd != 5 || a.DurableEnd != 5 {
				t.Errorf("got an acknowledgement of log end %d, durable %d, want 5 and 5", a.LogEnd, a.DurableEnd)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if acks == 0 {
		t.Error("the cut was not answered")
	}
}
