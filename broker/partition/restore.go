package partition

import (
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"outrigger/broker/catalog"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// restore rebuilds all logs from the catalog, before the WAL is replayed on top of them, and says where
// that begins. Their batches are the most of it, and logs do not know of each other: so all processors do that.
//
//	keys "d", "k", "l" ──> where the chain begins, packs, logs without batches
//	keys "r", in shares ──> the batches of some logs each
func (s *Store) restore() (wal.Start, []wal.Pack, error) {
	var start wal.Start
	var packs []wal.Pack
	var logs []topic.Partition
	err := s.cfg.Catalog.Range(nil, []byte{keyRun}, func(key, value []byte) (err error) {
		switch key[0] {
		case keyStart:
			if start, err = decodeStart(value); err == nil {
				s.drainer.nextPack = start.NextPack
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
		err = s.restoreIndexes(logs)
	}
	s.drainer.usedByRuns()
	return start, packs, err
}

// sharesMost is in how many parts the logs are restored: more than there are processors, for logs differ.
const sharesMost = 256

// restoreIndexes gives logs, which are in the order of their keys, their batches. A share reaches from its first log to that of
// the next, so that no run is passed over, be it of a log that is not there.
func (s *Store) restoreIndexes(logs []topic.Partition) error {
	var workers errgroup.Group
	workers.SetLimit(runtime.GOMAXPROCS(0))
	size := (len(logs) + sharesMost - 1) / sharesMost
	for from, more := []byte{keyRun}, true; more; more = len(logs) > 0 { // Where no log is, no run may be.
		share, begin, until := logs[:min(size, len(logs))], from, []byte{keyEnd}
		if logs = logs[len(share):]; len(logs) > 0 {
			until = runKey(logs[0], 0)
		}
		workers.Go(func() error { return s.restoreShare(begin, until, share) })
		from = until
	}
	return workers.Wait()
}

// restoreShare restores what the catalog's keys from `from` on and below until say of some logs.
func (s *Store) restoreShare(from, until []byte, logs []topic.Partition) error {
	err := s.cfg.Catalog.Range(from, until, func(key, value []byte) error {
		if key[0] != keyRun {
			return fmt.Errorf("%w: key %q", errCatalog, key[0])
		}
		return s.restoreRun(nil, key, value)
	})
	if err != nil {
		return err
	}
	for _, p := range logs {
		s.mu.logs[p].recount()
	}
	return nil
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
