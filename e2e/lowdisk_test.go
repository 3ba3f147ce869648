package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

// A broker whose disk falls below log.disk.free.min sends producers away, and serves reads and commits as
// before. As a follower it takes what it has files for, then leaves the in-sync sets, so that other leaders
// go on. When there is space again it goes on by itself, and catches up.
func TestLowDiskSendsProducersAwayAndNobodyElse(t *testing.T) {
	const partitions, low, floor = 6, 0, 64 << 20
	f := newFleet(t, 3, fmt.Sprintf("log.disk.free.min=%d", floor), fmt.Sprintf("wal.file.bytes=%d", 4<<20),
		"replica.lag.time.max.ms=1500")
	mountMemory(t, f.brokerDir(low), "256m")
	f.startAll()
	f.createTopic(0, "low", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, f.kafka, "low", partitions, ledger)
	resumed(t, ledger, partitions)
	led := f.ledBy(low)
	mine, others := int32(-1), int32(-1)
	for p := range int32(partitions) {
		if _, is := led[p]; is {
			mine = p
		} else {
			others = p
		}
	}
	if mine < 0 || others < 0 {
		t.Fatalf("broker %d leads %v", low+1, led)
	}

	ballast := filepath.Join(f.brokerDir(low), "ballast")
	fillUp(t, ballast, floor*3/4)
	began := time.Now()
	f.eventually(5*time.Second, "the broker sees that its disk is low", func() error {
		if f.metric(low, "outrigger_disk_low") != 1 {
			return fmt.Errorf("outrigger_disk_low is 0 with %v bytes free", f.metric(low, "outrigger_disk_free_bytes"))
		}
		return nil
	})
	raw := newRawProducer(t, ledger, f.kafka[low], "low", kgo.AllISRAcks())
	if err := raw.produce(mine, 3*time.Second); !errors.Is(err, kerr.NotEnoughReplicas) {
		t.Errorf("produce to a low disk: got %v, want %v", err, kerr.NotEnoughReplicas)
	}
	ends := endOffsetsOf(t, f.kafka[low], "low", []int32{mine})
	reader := ledger.history.Consumer(history.ConsumerConfig{Name: "reader of the low broker"})
	reader.Seek("low", mine, 0)
	readTo(t, f.kafka[low:low+1], map[string]map[int32]int64{"low": ends}, reader)
	for i := range 8 { // some of their coordinators are the broker
		f.commitThrough(low, "low", fmt.Sprintf("group-%d", i), 1)
	}

	bulk := strings.Repeat("low disk. ", 90<<10)
	healthy := newRawProducer(t, ledger, f.kafka[leaderOf(t, f.kafka, "low", others)], "low", kgo.AllISRAcks())
	f.eventually(15*time.Second, "the full follower leaves, and its leader goes on", func() error {
		err := healthy.send(others, bulk, 5*time.Second)
		if err != nil && !kerr.IsRetriable(err) {
			t.Fatalf("produce to a leader whose follower is full: %v", err)
		}
		for _, p := range f.ledBy((low + 1) % 3) {
			if len(p.ISR) == 2 {
				return err
			}
		}
		for _, p := range f.ledBy((low + 2) % 3) {
			if len(p.ISR) == 2 {
				return err
			}
		}
		return fmt.Errorf("the follower is in sync, %w", err)
	})
	if err := healthy.produce(others, 3*time.Second); err != nil {
		t.Errorf("produce beside a full follower: %v", err)
	}
	t.Logf("low for %s", time.Since(began).Round(time.Millisecond))

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	resumed(t, ledger, partitions)
	f.healthy(15 * time.Second)
	load.stop()
	for _, said := range []string{"disk is low, producers wait", "disk has space again"} {
		f.eventually(5*time.Second, "the disk is looked at again", func() error {
			if n := f.log.count(said); n != 1 {
				return fmt.Errorf("%q was said %d times, want once", said, n)
			}
			return nil
		})
	}
	t.Log(ledger.summary())
	ledger.check(t, f.kafka, "low", partitions)
	f.stopAll()
	if code := f.verify(low); code != 0 {
		t.Errorf("verify of the broker whose disk was low ends with %d, want 0", code)
	}
}

// fillUp makes a file that leaves so many bytes free.
func fillUp(t *testing.T, path string, free int64) {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &s); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = syscall.Fallocate(int(file.Fd()), 0, 0, int64(s.Bavail)*s.Bsize-free)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}
