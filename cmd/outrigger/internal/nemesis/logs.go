package nemesis

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/catalog"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/e2e/history"
)

// storedBatch is one batch as a broker's disk has it.
type storedBatch struct {
	Base  topic.Offset
	Count int32
	Epoch topic.Epoch
	CRC   uint32
	// raw is the batch, where it was asked for.
	raw []byte
}

// String is for the report.
func (b storedBatch) String() string {
	return fmt.Sprintf("[base %d, %d records, epoch %d, CRC %08x]", b.Base, b.Count, b.Epoch, b.CRC)
}

// same reports whether two disks have the same batch.
func (b storedBatch) same(o storedBatch) bool {
	return b.Base == o.Base && b.Count == o.Count && b.Epoch == o.Epoch && b.CRC == o.CRC
}

const readBytes = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// storedLogs reads every partition of a stopped broker's data directory to its end. The batches of the topic
// whole are kept.
func storedLogs(ctx context.Context, dir string, whole topic.ID) (logs map[topic.Partition][]storedBatch, err error) {
	began := time.Now()
	quiet := slog.New(slog.DiscardHandler)
	drained, err := catalog.Open(filepath.Join(dir, "catalog"), quiet, func(err error) { panic(err) })
	if err != nil {
		return nil, fmt.Errorf("open the catalog of %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, drained.Close()) }()
	store, err := partition.Open(partition.Config{
		Catalog: drained,
		WAL:     wal.Config{FS: wal.OS(), Dir: filepath.Join(dir, "wal"), Session: 1},
		Now:     func() time.Duration { return time.Since(began) },
		Logger:  quiet,
	})
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", dir, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- store.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	logs = map[topic.Partition][]storedBatch{}
	for _, p := range store.Partitions() {
		if logs[p], err = storedLog(store.Log(p), p.Topic == whole); err != nil {
			return nil, fmt.Errorf("read partition %s of %s: %w", p, dir, err)
		}
	}
	return logs, nil
}

func storedLog(log *partition.Log, whole bool) ([]storedBatch, error) {
	var all []storedBatch
	log.SetHighWatermark(log.State().LogEnd)
	for at := log.State().LogStart; at < log.State().LogEnd; {
		read, err := log.Read(at, readBytes, true)
		if err != nil {
			return nil, err
		}
		for _, b := range read.Batches {
			header, err := batch.ParseHeader(b)
			if err != nil {
				return nil, fmt.Errorf("batch at %d: %w", at, err)
			}
			// the hash covers the whole batch, headers too
			stored := storedBatch{Base: topic.Offset(header.BaseOffset), Count: header.LastOffsetDelta + 1,
				Epoch: topic.Epoch(header.PartitionLeaderEpoch), CRC: crc32.Checksum(b, castagnoli)}
			if whole {
				stored.raw = slices.Clone(b)
			}
			all = append(all, stored)
			at = stored.Base + topic.Offset(stored.Count)
		}
	}
	return all, nil
}

// compareLogs wants all replicas of every partition byte-identical between the start and the end that
// consumers see, and returns how many batches are, and where they are not. A partition lies on some brokers
// only. Partitions of the topic other are left out: each replica compacts at its own pace.
func compareLogs(replicas []map[topic.Partition][]storedBatch, bounds map[int32]history.Range, other topic.ID) (same int, wrong []string) {
	type holder struct {
		broker  int
		batches []storedBatch
		holders int
	}
	first := map[topic.Partition]holder{}
	for i, logs := range replicas {
		for p, batches := range logs {
			if p.Topic == other {
				continue
			}
			batches = within(batches, bounds[p.Index])
			want, known := first[p]
			if !known {
				first[p] = holder{broker: i + 1, batches: batches, holders: 1}
				continue
			}
			want.holders++
			first[p] = want
			if diff := difference(want.batches, batches); diff != "" {
				wrong = append(wrong, fmt.Sprintf("partition %s differs between broker %d and broker %d: %s",
					p, want.broker, i+1, diff))
			}
		}
	}
	for p, h := range first {
		same += len(h.batches)
		if h.holders != replication {
			wrong = append(wrong, fmt.Sprintf("partition %s lies on %d brokers, want %d", p, h.holders, replication))
		}
	}
	slices.Sort(wrong)
	return same, wrong
}

// within are the batches of which something lies in a range.
func within(batches []storedBatch, r history.Range) []storedBatch {
	from, to := 0, len(batches)
	for i, b := range batches {
		if int64(b.Base)+int64(b.Count) <= r.Start {
			from = i + 1
		}
		if int64(b.Base) >= r.End {
			to = i
			break
		}
	}
	return batches[min(from, to):to]
}

func difference(want, got []storedBatch) string {
	for i := range want {
		if i >= len(got) {
			return fmt.Sprintf("the other ends after %d of %d batches", len(got), len(want))
		}
		if !want[i].same(got[i]) {
			return fmt.Sprintf("batch %d is %v here and %v there", i, want[i], got[i])
		}
	}
	if len(got) > len(want) {
		return fmt.Sprintf("the other has %d batches, this one %d", len(got), len(want))
	}
	return ""
}
