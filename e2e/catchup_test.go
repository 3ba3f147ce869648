package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

// leaderMemoryMax is what a broker may hold while a peer takes nothing: its tails and windows are
// bounded, and so is what NATS keeps for a route.
const leaderMemoryMax = 600 << 20

// A follower is away while far more is written than any queue holds. It catches up while the others
// go on, and is in every in-sync set again.
func TestFollowerThatMissedAGigabyteCatchesUpUnderLoad(t *testing.T) {
	const partitions = 6
	missed := int64(1 << 30)
	if testing.Short() {
		missed = 256 << 20
	}
	// What is kept for consumers is not what a peer's absence may cost.
	c := start(t, options{args: []string{"--set", "wal.tail.bytes=67108864"}})
	c.createTopic(0, "bulk", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "bulk", partitions, ledger)
	resumed(t, ledger, partitions)
	away := (c.controller() + 1) % 3
	pid := c.pid(away)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }() // or it could not be stopped
	resumed(t, ledger, partitions)

	memory := newMemoryWatch(t, c, away)
	began := time.Now()
	writeBulk(t, c.kafka, "bulk", partitions, missed, ledger.idempotent("bulk"))
	took := time.Since(began)
	t.Logf("wrote %d MiB without broker %d in %s, %s", missed>>20, away+1, took.Round(time.Millisecond), rate(missed, took))
	memory.stop()

	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	before := ledger.acks()
	c.healthy(2 * time.Minute)
	took = time.Since(began)
	t.Logf("broker %d is in every in-sync set %s after it woke, %s; meanwhile %d records were acknowledged",
		away+1, took.Round(time.Millisecond), rate(missed, took), total(ledger.acks())-total(before))
	resumed(t, ledger, partitions)
	load.stop()
	t.Log(ledger.summary())
	ledger.check(t, c.kafka, "bulk", partitions)
	c.healthy(30 * time.Second)
	c.stop()
	c.sameLogs("bulk")
}

func rate(bytes int64, took time.Duration) string {
	return fmt.Sprintf("%.0f MB/s", float64(bytes)/1e6/took.Seconds())
}

func total(acks map[int32]int) int {
	n := 0
	for _, acked := range acks {
		n += acked
	}
	return n
}

// writeBulk produces so many bytes in large records that do not compress.
func writeBulk(t testing.TB, seeds []string, topic string, partitions int, bytes int64, producer *history.Producer) {
	t.Helper()
	const recordBytes = 128 << 10
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(256), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	random := make([]byte, 8<<20)
	seed := sha256.Sum256([]byte(topic))
	_, _ = rand.NewChaCha8(seed).Read(random) // never fails, by its documentation
	var failed atomic.Pointer[error]
	for i := range int(bytes / recordBytes) {
		at := i * 4099 % (len(random) - recordBytes)
		record := &kgo.Record{Partition: int32(i % partitions), Value: random[at : at+recordBytes]}
		sent := producer.Send(topic, record.Partition, history.ValueOf(record.Value))
		client.Produce(ctx, record, func(r *kgo.Record, err error) {
			if err != nil {
				sent.Unknown()
				failed.CompareAndSwap(nil, &err)
				return
			}
			sent.Acked(r.Offset)
		})
	}
	if err := client.Flush(ctx); err != nil {
		t.Fatalf("write %d bytes: %v", bytes, err)
	}
	if err := failed.Load(); err != nil {
		t.Fatalf("write %d bytes: %v", bytes, *err)
	}
}

// memoryWatch looks at the resident memory of the brokers that are there.
type memoryWatch struct {
	t       testing.TB
	quit    chan struct{}
	done    chan struct{}
	highest map[int]int64
}

func newMemoryWatch(t testing.TB, c *cluster, away int) *memoryWatch {
	t.Helper()
	m := &memoryWatch{t: t, quit: make(chan struct{}), done: make(chan struct{}), highest: map[int]int64{}}
	go func() {
		defer close(m.done)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			for i, pid := range c.pids {
				if i != away {
					m.highest[i] = max(m.highest[i], residentBytes(pid))
				}
			}
			select {
			case <-m.quit:
				return
			case <-ticker.C:
			}
		}
	}()
	return m
}

// stop requires that nobody held too much.
func (m *memoryWatch) stop() {
	m.t.Helper()
	close(m.quit)
	<-m.done
	for i, bytes := range m.highest {
		m.t.Logf("broker %d held up to %d MiB", i+1, bytes>>20)
		if bytes > leaderMemoryMax {
			m.t.Errorf("broker %d held %d MiB while a peer was away, want at most %d", i+1, bytes>>20, leaderMemoryMax>>20)
		}
	}
}

// residentBytes is what /proc says; 0 if it says nothing.
func residentBytes(pid int) int64 {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}
