package broker

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/partition"
	"outrigger/broker/wal"
)

// On a disk that is full to the last byte that the log may have, commits are refused at once, and what was decided
// before stays: the coordinator does not begin anew, its members stay, and commit once there is space again.
func TestCommitsOnAFullDiskAreRefusedAndGroupsStay(t *testing.T) {
	full := atomic.Bool{}
	h := startWith(t, func(c *partition.Config) {
		c.WAL.FileBytes, c.WAL.SpaceRetry = 4<<20, 5*time.Millisecond
		c.WAL.Room = func(int64) error {
			if full.Load() {
				return wal.ErrNoSpace
			}
			return nil
		}
	}, func(c *Config) {
		c.Groups.InitialDelay, c.Groups.Partitions = -1, 4
		c.Requests.AppendWait = 300 * time.Millisecond
	})
	h.create("full", 1)
	h.coordinates("crowd")
	joined := h.join("crowd")
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 3, "crowd", joined.MemberID, joined.Generation
	onlyCode(t, "sync", h.dial().ask(sync).(*kmsg.SyncGroupResponse).ErrorCode)
	c := h.dial()
	metadata := strings.Repeat("m", 4000)
	commit := func() code {
		q := kmsg.NewPtrOffsetCommitRequest()
		q.Version, q.Group, q.Generation, q.MemberID = 2, "crowd", joined.Generation, joined.MemberID
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Offset, p.Metadata = 1, &metadata
		q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "full", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
		return code(c.ask(q).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
	}
	beat := func() {
		t.Helper()
		q := kmsg.NewPtrHeartbeatRequest()
		q.Version, q.Group, q.MemberID, q.Generation = 1, "crowd", joined.MemberID, joined.Generation
		onlyCode(t, "heartbeat", c.ask(q).(*kmsg.HeartbeatResponse).ErrorCode)
	}
	if got := commit(); got != codeNone {
		t.Fatalf("commit with space: got %v", got)
	}
	full.Store(true)
	bulk := plainBatch(strings.Repeat("x", 500<<10))
	refused := code(0)
	for i := 0; refused == codeNone; i++ {
		if refused = code(onlyProduced(c.ask(produceOf(9, "full", 0, 1, bulk))).ErrorCode); i == 1000 {
			t.Fatal("the log does not become full")
		}
	}
	for i := 0; commit() == codeNone; i++ {
		if i == 3000 {
			t.Fatal("there is always room for commits: the test proves nothing")
		}
	}
	began := time.Now()
	for range 20 {
		expectCode(t, "commit on a full disk", int16(commit()), codeCoordinatorNotAvailable)
		beat()
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("20 commits were refused after %s, want at once", took)
	}
	if n := h.logged.count("coordinator starts again"); n > 0 {
		t.Errorf("the coordinator began anew %d times", n)
	}
	full.Store(false)
	eventually(t, "commits go on", func() bool { return commit() == codeNone })
	beat()
}
