package sidecar

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

const (
	// quarantineRetry is the wait before an unanswered, or a granted request of a log that is damaged
	// still, is made again. Each grant doubles it: it ends an epoch of the partition, which all its
	// clients feel, and a replica that has no room for its cut needs room and not another epoch.
	quarantineRetry    = 5 * time.Second
	quarantineRetryMax = 10 * time.Minute
	// quarantineMax keeps a proposal well under the Raft's limit on commands.
	quarantineMax = 2000
)

// quarantine takes the logs in which batches were found damaged out of their in-sync sets. What happens
// then is replication's: in the epoch that this begins, the log is cut before its damage and filled
// again by its leader. It sleeps until damage is found.
func (s *Sidecar) quarantine(ctx context.Context) error {
	q := quarantining{s: s, refused: map[topic.Partition]int32{}, granted: map[topic.Partition]grant{}}
	for {
		current := s.current()
		damaged := s.cfg.Logs.Damaged()
		q.forget(damaged)
		var changed <-chan struct{}
		var again <-chan time.Time
		if len(damaged) > 0 {
			changed, again = current.changed, time.After(quarantineRetry)
			q.ask(ctx, current.Image, damaged)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.cfg.Logs.DamageFound():
		case <-changed:
		case <-again:
		}
	}
}

// quarantining remembers what became of earlier requests.
type quarantining struct {
	s *Sidecar
	// refused holds the partition epoch at which nobody else could lead, granted when one was granted.
	refused map[topic.Partition]int32
	granted map[topic.Partition]grant
}

// grant is when a request was granted last, and for how long it is not made again.
type grant struct{ at, wait time.Duration }

// waits reports whether a request was granted lately.
func (q *quarantining) waits(p topic.Partition) bool {
	g, granted := q.granted[p]
	return granted && q.s.cfg.Now()-g.at < g.wait
}

// forget drops what is known of logs that are whole again.
func (q *quarantining) forget(damaged []partition.DamagedLog) {
	whole := func(p topic.Partition) bool {
		return !slices.ContainsFunc(damaged, func(d partition.DamagedLog) bool { return d.Partition == p })
	}
	for p := range q.refused {
		if whole(p) {
			delete(q.refused, p)
		}
	}
	for p := range q.granted {
		if whole(p) {
			delete(q.granted, p)
		}
	}
}

// ask makes one request for all that is not under way.
func (q *quarantining) ask(ctx context.Context, im *cluster.Image, damaged []partition.DamagedLog) {
	var due []topic.Partition
	for _, d := range damaged {
		if q.waits(d.Partition) {
			continue
		}
		// The reading is done here: replication, which will cut the log, must not wait for it.
		if err := q.s.cfg.Logs.PrepareCut(d.Partition); err != nil {
			q.s.log.Warn("damaged log not read up to its damage", slog.String("partition", d.Partition.String()),
				slog.String("error", err.Error()))
		}
		due = append(due, d.Partition)
	}
	all := im.Quarantines(q.s.self(), due, q.refused)
	for items := range slices.Chunk(all.Items, quarantineMax) {
		part := cluster.QuarantineReplicas{Member: all.Member, Items: items}
		ctx, cancel := context.WithTimeout(ctx, 2*q.s.cfg.LeaderTimeout)
		result, err := q.s.proposeOnce(ctx, part)
		cancel()
		if err != nil || len(result.Items) != len(items) {
			q.s.log.Info("damaged replicas not taken out of their sets yet", slog.Int("partitions", len(items)))
			return
		}
		for i, item := range items {
			q.decided(im, item.Partition, result.Items[i])
		}
	}
}

func (q *quarantining) decided(im *cluster.Image, p topic.Partition, status cluster.Status) {
	switch status {
	case cluster.OK:
		q.granted[p] = grant{at: q.s.cfg.Now(), wait: min(max(quarantineRetry, 2*q.granted[p].wait), quarantineRetryMax)}
		q.s.log.Warn("damaged replica leaves its sets and is filled again", slog.String("partition", p.String()))
		q.s.event("replica.quarantined", map[string]any{
			"node": q.s.cfg.Node, "topic_id": p.Topic.String(), "partition": p.Index,
		})
	case cluster.Refused:
		if placement, found := im.Partition(p); found {
			q.refused[p] = placement.PartitionEpoch
		}
		q.s.log.Error("damaged replica is the only one that could lead: it goes on, and answers reads of "+
			"what is damaged with a storage error", slog.String("partition", p.String()))
	}
}
