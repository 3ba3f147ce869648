package e2e

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// storedBatch is one batch as a broker's disk has it.
type storedBatch struct {
	base  topic.Offset
	count int32
	epoch topic.Epoch
	crc   uint32
}

// storedLogs reads every partition of a stopped broker's data directory.
func storedLogs(t testing.TB, dir string) map[topic.Partition][]storedBatch {
	t.Helper()
	began := time.Now()
	quiet := slog.New(slog.DiscardHandler)
	drained, err := catalog.Open(filepath.Join(dir, "catalog"), quiet, func(err error) { panic(err) })
	if err != nil {
		t.Fatalf("open the catalog of %s: %v", dir, err)
	}
	defer func() {
		if err := drained.Close(); err != nil {
			t.Errorf("close the catalog of %s: %v", dir, err)
		}
	}()
	store, err := partition.Open(partition.Config{
		Catalog: drained,
		WAL:     wal.Config{FS: wal.OS(), Dir: filepath.Join(dir, "wal"), Session: 1},
		Now:     func() time.Duration { return time.Since(began) },
		Logger:  quiet,
	})
	if err != nil {
		t.Fatalf("open the log of %s: %v", dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("close the log of %s: %v", dir, err)
		}
	}()
	logs := map[topic.Partition][]storedBatch{}
	for _, p := range store.Partitions() {
		log := store.Log(p)
		log.SetHighWatermark(log.State().LogEnd)
		for at := log.State().LogStart; at < log.State().LogEnd; {
			read, err := log.Read(at, 1<<20, true)
			if err != nil {
				t.Fatalf("read partition %s of %s at %d: %v", p, dir, at, err)
			}
			for _, b := range read.Batches {
				stored, err := describe(b)
				if err != nil {
					t.Fatalf("partition %s of %s at %d: %v", p, dir, at, err)
				}
				logs[p] = append(logs[p], stored)
				at = stored.base + topic.Offset(stored.count)
			}
		}
	}
	return logs
}

// sameLogs requires that all replicas of every partition are byte-identical, now that the cluster has
// stopped.
func (c *cluster) sameLogs(what string) {
	c.t.Helper()
	first := storedLogs(c.t, c.brokerDir(0))
	batches := 0
	for i := 1; i < c.opts.brokers; i++ {
		other := storedLogs(c.t, c.brokerDir(i))
		for p, want := range first {
			if diff := difference(want, other[p]); diff != "" {
				c.t.Errorf("%s: partition %s differs between broker 1 and broker %d: %s", what, p, i+1, diff)
			}
			batches += len(want)
		}
	}
	c.t.Logf("%s: %d batches are byte-identical on all replicas", what, batches)
}

func difference(want, got []storedBatch) string {
	for i := range want {
		if i >= len(got) {
			return fmt.Sprintf("the other ends after %d of %d batches", len(got), len(want))
		}
		if want[i] != got[i] {
			return fmt.Sprintf("batch %d is %+v here and %+v there", i, want[i], got[i])
		}
	}
	if len(got) > len(want) {
		return fmt.Sprintf("the other has %d batches, this one %d", len(got), len(want))
	}
	return ""
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// describe hashes the whole batch, headers too.
func describe(b []byte) (storedBatch, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return storedBatch{}, err
	}
	return storedBatch{
		base: topic.Offset(h.BaseOffset), count: h.LastOffsetDelta + 1, epoch: topic.Epoch(h.PartitionLeaderEpoch),
		crc: crc32.Checksum(b, castagnoli),
	}, nil
}
