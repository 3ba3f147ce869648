package e2e

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Ten thousand partitions with three replicas on three brokers: a fourth one is given its share, which is to copy 7,500
// replicas, and the first one is drained, which is as many. Each step's time and the brokers' memory are logged.
func TestTenThousandPartitionsMove(t *testing.T) {
	needScale(t)
	s := &scaled{fleet: newFleet(t, 4, "http.debug.profiles=true", "min.insync.replicas=2")}
	s.voters = 3
	for i := range numberOf(t, scaleTopicsEnv, scaleTopics) {
		s.names = append(s.names, "scale-"+newTopic(int(i)))
	}
	s.step("start of three", func() {
		for i := range 3 {
			s.start(i)
		}
		for i := range 3 {
			s.serves(i)
		}
	})
	client, err := kgo.NewClient(clientOptions(s.kafka[1:3], kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(1<<20))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s.client, s.admin = client, kadm.NewClient(client)
	s.step("create", func() { s.create() })
	s.step("one record to each partition", s.writeAll)
	s.step("a fourth broker serves", func() {
		s.start(3)
		s.serves(3)
	})
	via, all := "--bootstrap-server="+s.kafka[1], len(s.names)*scalePartitions*3
	s.step("it is given its share", func() { s.run("cluster", "add", "4", "--wait", scaleWithin.String(), via) })
	for id, b := range s.members(1) {
		if b.Replicas < all/4 || b.Replicas > all/4+1 {
			t.Errorf("broker %d holds %d replicas, want %d or one more", id, b.Replicas, all/4)
		}
	}
	s.step("writes everywhere", s.writeAll)
	s.step("the first one is drained", func() { s.run("cluster", "drain", "1", "--wait", scaleWithin.String(), via) })
	if got := s.members(1)[1]; got.Replicas != 0 || got.Leaders != 0 {
		t.Errorf("drained broker: got %+v, want nothing on it", got)
	}
	s.step("writes everywhere again", s.writeAll)
	s.step("all in sync", s.inSync)
	s.step("the drained one is gone", func() {
		s.stopOne(0)
		s.run("cluster", "remove", "1", "--timeout", (time.Minute).String(), via)
	})
	ends, err := s.admin.ListEndOffsets(within(t, scaleWithin), s.names...)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset != 3 {
			t.Errorf("%s-%d ends at %d, want 3", o.Topic, o.Partition, o.Offset)
		}
	})
}
