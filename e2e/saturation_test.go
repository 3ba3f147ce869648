package e2e

import (
	"context"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	saturatedPartitions = 6
	saturatedClients    = 2
	saturatedValueBytes = 16 << 10
	// saturatedLinesMax is how many lines all brokers may log under load: events, not frames.
	saturatedLinesMax = 30
	// diskLeftMin ends a long run early: not all that is written is deleted as fast.
	diskLeftMin = 2 << 30
	// saturatedRetained is how much of each partition a long run keeps, for an hour of it fits no disk.
	saturatedRetained = 256 << 20
)

// failure modes 9 and 16: heartbeats do not wait behind frames of half a megabyte, so a cluster that is
// produced to as fast as it takes elects nobody; and nothing is logged for a record, a batch or a frame.
// `task saturate` runs it for longer, an hour if asked, with a retention that has a line each time it deletes.
func TestSaturatedClusterElectsNobodyAndLogsNothing(t *testing.T) {
	window := 6 * time.Second
	if testing.Short() {
		window = 3 * time.Second
	}
	if text := os.Getenv("OUTRIGGER_SATURATE"); text != "" {
		var err error
		if window, err = time.ParseDuration(text); err != nil {
			t.Fatalf("OUTRIGGER_SATURATE: %v", err)
		}
	}
	retained := "-1"
	if window > 30*time.Second {
		retained = strconv.Itoa(saturatedRetained)
	}
	c := start(t, options{args: []string{"--set", "log.retention.check.interval.ms=2000"}})
	c.run("topic", "create", "flood", "--partitions", strconv.Itoa(saturatedPartitions), "--replication-factor", "3",
		"--config", "retention.bytes="+retained, "--bootstrap-server", c.kafka[0])
	c.healthy(20 * time.Second)
	before, framesBefore, at := c.electionCounts(), c.framesSent(), c.log.size()
	acked, took := flood(t, c, window)
	frames := c.framesSent() - framesBefore
	logged := c.log.from(at)
	lines := strings.Count(logged, "\n") - strings.Count(logged, "records deleted by retention")
	t.Logf("%s: %d records of %d bytes acknowledged, %.0f MB/s; %.0f frames sent, %d lines logged",
		took.Round(time.Second), acked, saturatedValueBytes, float64(acked)*saturatedValueBytes/took.Seconds()/1e6, frames, lines)
	if lines > saturatedLinesMax {
		t.Errorf("%d lines logged for %d records and %.0f frames, want at most %d\n%s",
			lines, acked, frames, saturatedLinesMax, c.log.tail(60))
	}
	if acked < 50*saturatedLinesMax || frames < 10*saturatedLinesMax {
		t.Errorf("%d records and %.0f frames: too few to tell a line for each from none", acked, frames)
	}
	if after := c.electionCounts(); !maps.Equal(before, after) {
		t.Errorf("counters after %s of saturation: got %v, want %v\n%s", took, after, before, logged)
	}
	c.healthy(20 * time.Second)
}

// framesSent is over all brokers.
func (c *cluster) framesSent() float64 {
	c.t.Helper()
	sum := 0.0
	for i := range c.http {
		sum += c.metric(i, "outrigger_frames_sent_total")
	}
	return sum
}

// flood produces to all partitions as fast as answers come, until the window or the disk ends. Every
// record must be acknowledged.
func flood(t *testing.T, c *cluster, window time.Duration) (acked int64, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), window)
	defer cancel()
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var clients sync.WaitGroup
	began := time.Now()
	for range saturatedClients {
		client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.DefaultProduceTopic("flood"),
			kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
			kgo.MaxBufferedRecords(1024))
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			defer client.Close()
			value := make([]byte, saturatedValueBytes)
			for ctx.Err() == nil && failed.Load() == nil {
				client.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
					if err != nil {
						failed.Store(&err)
						return
					}
					count.Add(1)
				})
			}
			if err := client.Flush(t.Context()); err != nil {
				failed.Store(&err)
			}
		})
	}
	watchDisk(ctx, t, c.data, cancel)
	clients.Wait()
	if err := failed.Load(); err != nil {
		t.Errorf("produce: %v", *err)
	}
	return count.Load(), time.Since(began)
}

// watchDisk calls full if the disk gets so, and returns when the context has ended.
func watchDisk(ctx context.Context, t *testing.T, dir string, full func()) {
	t.Helper()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(dir, &disk); err != nil {
			t.Errorf("disk of %s: %v", dir, err)
			full()
		} else if int64(disk.Bavail)*disk.Bsize < diskLeftMin {
			t.Logf("the disk has less than %d bytes left: the run ends early", int64(diskLeftMin))
			full()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
