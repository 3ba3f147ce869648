package sim

import (
	"errors"
	"fmt"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/sidecar/cluster"
)

// mend asks that damaged replicas leave their sets, as production's quarantine does; in the epoch that
// this begins, replication cuts them before the damage and their leader fills them again.
func (b *broker) mend() {
	if b.w.options.Mutant.name == neverMendsName {
		return
	}
	var due []topic.Partition
	for _, d := range b.store.Damaged() {
		b.soundDisk(fmt.Sprintf("%v at %d", d.Partition, d.Offset))
		if err := b.store.PrepareCut(d.Partition); err == nil {
			due = append(due, d.Partition)
		}
	}
	if c := b.view.Image.Quarantines(b.register.Self, due, nil); len(c.Items) > 0 {
		b.propose(c, 2*leaderTimeout, true, func(result cluster.Result, err error) {
			if err == nil {
				b.w.count.mended++
			}
		})
	}
}

// turnClaim says what this node holds where nobody clean is left.
func (b *broker) turnClaim() {
	if !b.claimant.Sync(b.view.Image) {
		return
	}
	b.wantIn(partClaim, int64(leaderTimeout/time.Microsecond)/4)
	if b.claiming || b.hangs() {
		return
	}
	claims := b.claimant.Due(func(p topic.Partition) (partition.State, bool) {
		log := b.store.Log(p)
		if log == nil {
			return partition.State{}, false
		}
		return log.State(), true
	})
	if len(claims.Items) == 0 {
		return
	}
	b.claiming = true
	b.propose(claims, 2*leaderTimeout, true, func(_ cluster.Result, err error) {
		b.claiming = false
		b.want(partClaim)
		if err == nil {
			b.w.count.claims += uint64(len(claims.Items))
		}
	})
}

// turnDrain drains a file of the log, if one is full: in a third of the seeds by copying all, in a third as
// on a disk that is always busy, in a third by turns. It draws nothing.
func (b *broker) turnDrain() error {
	b.wantIn(partDrain, drainMicros)
	before := b.store.Stats().Drain
	drain := b.drive.Drain
	busy := b.w.seed / 2 % 3
	if b.view.Image.Level() >= topic.AdoptionLevel && (busy == 1 || busy == 2 && b.w.count.drained%2 == 0) {
		drain = b.drive.Adopt
	}
	drained, err := drain()
	switch {
	case errors.Is(err, wal.ErrNoSpace):
	case err != nil:
		return err
	}
	if drained {
		b.w.count.drained++
		b.want(partPrepare)
	}
	after := b.store.Stats().Drain
	if after.Packs < before.Packs {
		b.w.count.packsRemoved++
	}
	b.w.count.adopted += uint64(after.Adopted - before.Adopted)
	b.w.count.repacked += uint64(after.Repacked - before.Repacked)
	b.w.count.heads += uint64(after.Heads - before.Heads)
	b.w.count.merged += uint64(after.Merged - before.Merged)
	return b.turnCompaction()
}

// turnScrub reads a stretch of the log in search of damage.
func (b *broker) turnScrub() {
	b.wantIn(partScrub, scrubMicros)
	known := len(b.store.Damaged())
	if b.drive.Scrub() {
		b.w.count.scrubPasses++
	}
	if len(b.store.Damaged()) > known {
		b.w.count.scrubFound++
		b.mend()
	}
}
