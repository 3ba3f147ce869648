package broker

import (
	"context"
	"errors"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// retain deletes, every log.retention.check.interval.ms until ctx ends, what is older or more than topics
// keep. Only the leader of a partition decides; followers are told where its log starts.
func (b *Broker) retain(ctx context.Context) {
	ticker := time.NewTicker(b.config.Topics.RetentionCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			b.retainOnce(ctx, now)
		}
	}
}

// retainOnce looks at every partition that is led here, and says in one line what it has deleted: there may
// be thousands of partitions.
func (b *Broker) retainOnce(ctx context.Context, now time.Time) {
	view := b.cluster.View()
	partitions, bytes := 0, int64(0)
	for _, t := range view.Topics() {
		s := b.settingsOf(view, t)
		if !s.cleanup.delete {
			continue
		}
		for i, placement := range t.Partitions {
			if placement.Leader != b.config.Node {
				continue
			}
			if freed, deleted := b.retainPartition(ctx, t, int32(i), s.retention, now); deleted {
				partitions, bytes = partitions+1, bytes+freed
			}
		}
	}
	if partitions > 0 {
		b.logger.Info("records deleted by retention", keyPartitions, partitions, keyBytes, bytes)
	}
}

// compaction says how a partition is compacted here, leader or not; ok is false if it is not. While a replica
// is away, nothing goes that tells of a deletion: 1. It has a key. 2. The tombstone comes, and goes after
// delete.retention.ms. 3. The replica comes back, is sent what is left, and keeps the key.
func (b *Broker) compaction(p topic.Partition) (c partition.Compaction, ok bool) {
	view := b.cluster.View()
	t, known := view.TopicByID(p.Topic)
	if !known {
		return c, false
	}
	s := b.settingsOf(view, t)
	c = s.compaction
	c.Now = time.Now().UnixMilli()
	if int(p.Index) < len(t.Partitions) {
		placement := t.Partitions[p.Index]
		c.Hold = len(placement.ISR) < len(placement.Replicas)
	}
	return c, s.cleanup.compact
}

// retainWait is how long one deletion may wait for room in the log. The next round comes.
const retainWait = time.Second

func (b *Broker) retainPartition(
	ctx context.Context, t *topic.Topic, index int32, keep partition.Retention, now time.Time,
) (freed int64, deleted bool) {
	log := b.logs.Log(topic.Partition{Topic: t.ID, Index: index})
	if log == nil {
		return 0, false
	}
	before := log.State()
	to := log.Expired(keep, now.UnixMilli())
	if to <= before.LogStart {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, retainWait)
	defer cancel()
	if _, _, err := log.DeleteRecords(ctx, to); err != nil {
		if !errors.Is(err, partition.ErrNotLeader) && !errors.Is(err, partition.ErrNotReady) {
			b.troubles.report("retention", codeBefore(err), err)
		}
		return 0, false
	}
	freed = max(0, before.Size-log.State().Size)
	b.meters.retained.Add(float64(freed))
	b.logger.Debug("records deleted by retention", keyTopic, t.Name, keyPartition, index,
		keyLogStart, to, keyBytes, freed)
	return freed, true
}
