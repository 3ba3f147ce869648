package broker

import (
	"context"
	"errors"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

const (
	// pruneWait is how long a cut may wait for room in the WAL, while requests wait for the shard. The next
	// interval comes.
	pruneWait = 20 * time.Millisecond
	// coldMax is how many snapshots one turn writes of its own accord; each may be tens of kilobytes.
	coldMax = 64
)

// placedMark is a mark with its place among the entries of a turn.
type placedMark struct {
	share.Mark
	place int64
}

func marksOf(entries []entry) []placedMark {
	var marks []placedMark
	for i, e := range entries {
		if m, ok := share.MarkOf(share.Record{Key: e.key, Value: e.value}); ok {
			marks = append(marks, placedMark{m, int64(i)})
		}
	}
	return marks
}

// note has the marks of what was appended noted once that is committed. Before, nothing may be cut on the
// strength of them: a later leader may not have them.
func (s *shareShard) note(f *flight, marks []placedMark) {
	f.parked = append(f.parked, parked{func(err error) {
		if err != nil {
			return // the shard ends, and its successor reads the log
		}
		now := s.now()
		for _, m := range marks {
			s.snapshots.Note(m.Mark, int64(f.first)+m.place, now)
		}
		s.snapshots.Settle(int64(f.end))
	}, untilCommitted})
}

// chill writes new snapshots of states whose last ones are old and hold back the cut. When there are many it
// goes on with the next beat.
func (s *shareShard) chill(now, wall int64) {
	cold := s.snapshots.Cold(now-s.broker.config.Shares.ColdInterval.Milliseconds(), now, coldMax)
	for _, key := range cold {
		s.step(key, share.Snapshot{}, wall)
	}
	if len(cold) < coldMax {
		s.chilled = now
	}
}

// prune cuts the log at the first snapshot that is needed. Whoever leads next finds the same in what is left,
// so it does no harm if that is another node by now, or if a crash takes the cut back.
func (s *shareShard) prune(ctx context.Context) {
	cut := topic.Offset(s.snapshots.Cut())
	if cut <= s.log.State().LogStart {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pruneWait)
	defer cancel()
	if _, _, err := s.log.DeleteRecords(ctx, cut); err != nil {
		if !errors.Is(err, partition.ErrNotReady) && !errors.Is(err, partition.ErrNotLeader) {
			s.broker.troubles.report("pruning of "+shareTopic, codeBefore(err), err)
		}
		return
	}
	s.cutAt.Store(int64(cut))
	s.broker.logger.Debug("state of share groups pruned", keyPartition, s.log.Partition().Index, keyLogStart, cut)
}
