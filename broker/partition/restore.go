package partition

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sort"

	"golang.org/x/sync/errgroup"

	"outrigger/broker/catalog"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// restore rebuilds all logs from the catalog, before the WAL is replayed on top of them, and says where
// that begins. Their batches are the most of it: those that heads are about are not read (head.go), and since logs do not
// know of each other, all processors read the others.
//
//	keys "d", "h", "k", "l" ──> where the chain begins, heads, packs, logs without batches
//	keys "r" between heads, in shares ──> the batches of some logs each
func (s *Store) restore() (wal.Start, []wal.Pack, error) {
	var start wal.Start
	var packs []wal.Pack
	var logs []topic.Partition
	var found []headAt
	err := s.cfg.Catalog.Range(nil, []byte{keyRun}, func(key, value []byte) (err error) {
		switch key[0] {
		case keyStart:
			if start, err = decodeStart(value); err == nil {
				s.drainer.nextPack = start.NextPack
			}
		case keyHead:
			var one headAt
			if one.partition, one.head, err = decodeHead(key, value); err == nil {
				err = s.drainer.heads.found(one)
				found = append(found, one)
			}
		case keyPack:
			var p wal.Pack
			if p, err = decodePack(key, value); err == nil {
				packs = append(packs, p)
				s.drainer.packs[p.Number] = p
				s.drainer.used(p.Number)
				s.unsorted.Store(true)
			}
		case keyLog:
			var p topic.Partition
			if p, _, err = parsePartitionKey(key); err == nil {
				logs = append(logs, p)
				err = s.openLog(p).decodeLog(value)
			}
		default:
			err = fmt.Errorf("%w: key %q", errCatalog, key[0])
		}
		return err
	})
	if err == nil {
		err = s.restoreIndexes(logs, found)
	}
	s.drainer.usedByRuns()
	return start, packs, err
}

// sharesMost is in how many parts the logs are restored: more than there are processors, for logs differ.
const sharesMost = 256

// restoreIndexes gives logs, which are in the order of their keys as the heads are, their batches. A share reaches from its first log to
// that of the next, so that no run is passed over, be it of a log that is not there.
func (s *Store) restoreIndexes(logs []topic.Partition, found []headAt) (err error) {
	if len(found) > 0 {
		if s.bodies, err = newBodies(s.cfg.Catalog); err != nil {
			return err
		}
	}
	var workers errgroup.Group
	workers.SetLimit(runtime.GOMAXPROCS(0))
	size := (len(logs) + sharesMost - 1) / sharesMost
	for from, more := []byte{keyRun}, true; more; more = len(logs) > 0 { // Where no log is, no run may be.
		share, begin, until, of := logs[:min(size, len(logs))], from, []byte{keyEnd}, found
		if logs = logs[len(share):]; len(logs) > 0 {
			until = runKey(logs[0], 0)
			of = of[:sort.Search(len(of), func(i int) bool { return comparePartitions(of[i].partition, logs[0]) >= 0 })]
		}
		found = found[len(of):]
		workers.Go(func() error { return s.restoreShare(begin, until, share, of) })
		from = until
	}
	if err = workers.Wait(); err != nil {
		return err
	}
	for _, l := range s.mu.logs { // Nobody else knows the store yet.
		s.drainer.heads.restored(l.partition, l.mu.index.len(), s.cfg.ChunkBatches)
	}
	return nil
}

// headAt is a head in the catalog.
type headAt struct {
	partition topic.Partition
	head
}

// restoreShare restores what the catalog's keys from `from` on and below until say of some logs.
func (s *Store) restoreShare(from, until []byte, logs []topic.Partition, found []headAt) (err error) {
	view, err := s.cfg.Catalog.View()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	run := func(key, value []byte) error {
		if key[0] != keyRun {
			return fmt.Errorf("%w: key %q", errCatalog, key[0])
		}
		return s.restoreRun(nil, key, value)
	}
	for i := range found {
		h := &found[i]
		l := s.mu.logs[h.partition]
		if l == nil {
			return fmt.Errorf("%w: a head of %v, which is not there", errCatalog, h.partition)
		}
		begin := runKey(h.partition, h.base)
		if !bytes.Equal(from, begin) { // To look for nothing reads a block.
			if err := view.Range(from, begin, run); err != nil {
				return err
			}
		}
		if from = begin; l.restoreHead(&h.head) {
			from = runKey(h.partition, h.end)
		}
	}
	if err := view.Range(from, until, run); err != nil {
		return err
	}
	for _, p := range logs {
		l := s.mu.logs[p]
		if err := l.mu.index.restored(l.mu.highWatermark); err != nil {
			return err
		}
		l.recount()
	}
	return nil
}

// restoreHead adds the batches that a head is about; not ok if they are to be read, since the log starts within them.
func (l *Log) restoreHead(h *head) (ok bool) {
	if h.end <= l.mu.start {
		return true
	}
	if h.base < l.mu.start {
		return false
	}
	l.mu.index.addUnread(h, l.store.bodies, l.partition)
	l.mu.bytes += h.bytes
	return true
}

// restoreLog rebuilds a log from the catalog, without its batches; one that is not there stays empty.
func restoreLog(from catalog.Ranger, l *Log) error {
	key := partitionKey(keyLog, l.partition)
	return from.Range(key, append(key, 0), func(_, value []byte) error {
		return l.decodeLog(value)
	})
}

// restoreRuns gives a log its batches, and calls between after some of them.
func (s *Store) restoreRuns(from catalog.Ranger, l *Log, between func()) error {
	return from.Range(runKey(l.partition, 0), runsEnd(l.partition), func(key, value []byte) error {
		between()
		return s.restoreRun(l, key, value)
	})
}

// restoreRun adds the batches of a run to l, or to the log that the key names.
func (s *Store) restoreRun(l *Log, key, value []byte) error {
	p, base, err := parseRunKey(key)
	if err != nil {
		return err
	}
	if l == nil {
		if l = s.mu.logs[p]; l == nil {
			return fmt.Errorf("%w: a run of %v, which is not there", errCatalog, p)
		}
	}
	return decodeRun(base, value, func(e extent) {
		// The first run may reach below the log start; its front is not needed any more.
		if e.end() > l.mu.start {
			l.mu.index.push(e)
			l.mu.bytes += int64(e.bytes)
		}
	})
}

// recount derives from the restored index what is counted in passing elsewhere. All of it is durable.
func (l *Log) recount() {
	l.mu.settled = l.mu.index.len()
	l.mu.committed, l.mu.room.unacked = l.mu.index.covering(l.mu.highWatermark), 0
	for i := l.mu.committed; i < l.mu.settled; i++ {
		l.mu.room.unacked += int64(l.mu.index.at(i).bytes)
	}
}
