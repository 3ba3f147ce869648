package sidecar

import (
	"context"
	"log/slog"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/sidecar/node"
)

// claim tells the cluster what this node holds of the partitions that nobody leads and for which nobody
// clean is left, so that the longest log can lead them. It sleeps while there are none.
func (s *Sidecar) claim(ctx context.Context) error {
	claimant := node.Claimant{Self: s.self()}
	for {
		current := s.current()
		var again <-chan time.Time
		if claimant.Sync(current.Image) {
			s.claimOnce(ctx, &claimant)
			// A log may follow the image a little later, and a proposal may be lost.
			again = time.After(s.cfg.LeaderTimeout / 4)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-current.changed:
		case <-again:
		}
	}
}

// claimOnce says what is due. Whether it was heard shows in the image.
func (s *Sidecar) claimOnce(ctx context.Context, claimant *node.Claimant) {
	claims := claimant.Due(s.logState)
	if len(claims.Items) == 0 || s.disclaims() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*s.cfg.LeaderTimeout)
	defer cancel()
	if _, err := s.proposeOnce(ctx, claims); err != nil {
		s.log.Info("logs of leaderless partitions not claimed yet", slog.Int("partitions", len(claims.Items)),
			slog.String("reason", err.Error()))
		return
	}
	s.log.Info("logs of leaderless partitions claimed", slog.Int("partitions", len(claims.Items)))
}

// logState is the state of a log here, if there is one.
func (s *Sidecar) logState(p topic.Partition) (partition.State, bool) {
	log := s.cfg.Logs.Log(p)
	if log == nil {
		return partition.State{}, false
	}
	return log.State(), true
}
