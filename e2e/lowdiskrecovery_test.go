package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commits is how many partitions a commit is about.
const commits = 200

// cramped is a broker on a small disk of its own, with two topics of which one goes.
type cramped struct {
	*fleet
	// going and staying produce to the two.
	going, staying *rawProducer
}

// fill has producers write two to three to both topics until the disk is low, and then a group commit until the
// log has no room for that either.
func (c *cramped) fill() {
	c.t.Helper()
	bulk := strings.Repeat("cramped. ", 90<<10)
	err := error(nil)
	for i := 0; err == nil; i++ {
		p := c.staying
		if i%5 < 2 {
			p = c.going
		}
		if err = p.send(0, bulk, 5*time.Second); i == 1000 {
			c.t.Fatal("the disk does not become low")
		}
	}
	if !errors.Is(err, kerr.NotEnoughReplicas) {
		c.t.Fatalf("produce to a low disk: got %v, want %v", err, kerr.NotEnoughReplicas)
	}
	began := time.Now()
	for n := int32(commits); n > 0; n /= 6 {
		err, done := error(nil), 0
		for ; err == nil && done < 3000; done++ {
			err = c.commit(n)
		}
		c.t.Logf("%d commits of %d partitions, then %v, after %s", done-1, n, err, time.Since(began).Round(time.Millisecond))
		if err == nil {
			c.t.Fatal("there is always room for commits: the test proves nothing")
		}
	}
}

// commit commits offsets of as much metadata as there may be, and returns the error code of the answer.
func (c *cramped) commit(partitions int32) error {
	c.t.Helper()
	metadata := strings.Repeat("m", 4000)
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group = "filler"
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = "commits"
	for p := range partitions {
		one := kmsg.NewOffsetCommitRequestTopicPartition()
		one.Partition, one.Offset, one.Metadata = p, 1, &metadata
		t.Partitions = append(t.Partitions, one)
	}
	q.Topics = append(q.Topics, t)
	answer, err := c.going.client.Broker(1).Request(within(c.t, 10*time.Second), q)
	if err != nil {
		c.t.Fatal(err)
	}
	return kerr.ErrorForCode(answer.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
}

// recovers wants producers to go on.
func (c *cramped) recovers() {
	c.t.Helper()
	c.eventually(15*time.Second, "producers go on", func() error {
		if err := c.staying.produce(0, time.Second); err != nil {
			return fmt.Errorf("%w with %v bytes free", err, c.metric(0, "outrigger_disk_free_bytes"))
		}
		return nil
	})
}

// A low disk recovers by a shorter retention of a topic that is two fifths of what was written, and by the deletion of
// one, also when its log has no room for a commit any more; nobody starts it again.
func TestLowDiskRecoversByRetentionAndByDeletion(t *testing.T) {
	f := newFleet(t, 1, fmt.Sprintf("log.disk.free.min=%d", 16<<20), fmt.Sprintf("wal.file.bytes=%d", 4<<20),
		"log.retention.check.interval.ms=200", "offsets.commit.timeout.ms=300")
	mountMemory(t, f.brokerDir(0), "96m")
	f.startAll()
	f.createTopic(0, "going", 1, 1)
	f.createTopic(0, "staying", 1, 1)
	f.createTopic(0, "commits", commits, 1)
	l := newLedger()
	c := &cramped{fleet: f, going: newRawProducer(t, l, f.kafka[0], "going", kgo.AllISRAcks()),
		staying: newRawProducer(t, l, f.kafka[0], "staying", kgo.AllISRAcks())}
	c.recovers()
	f.commitThrough(0, "going", "filler", 1)

	began := time.Now()
	c.fill()
	alterTopic(t, f.kafka[0], "going", "retention.bytes", "1000000")
	c.recovers()
	t.Logf("by retention: %s", time.Since(began).Round(time.Millisecond))

	began = time.Now()
	alterTopic(t, f.kafka[0], "going", "retention.bytes", "-1")
	c.fill()
	f.run("topic", "delete", "going", "--bootstrap-server", f.kafka[0])
	c.recovers()
	t.Logf("by deletion: %s", time.Since(began).Round(time.Millisecond))
	f.stopAll()
	if code := f.verify(0); code != 0 {
		t.Errorf("verify of the broker whose disk was low ends with %d, want 0", code)
	}
}
