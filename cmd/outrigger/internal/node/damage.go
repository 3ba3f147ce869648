package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"outrigger/broker/catalog"
	"outrigger/broker/partition"
	"outrigger/broker/wal"
	"outrigger/sidecar/raft"
)

// Attribute keys of lines about damage.
const (
	attrOffset   = "byte"
	attrReason   = "reason"
	attrSetAside = "set_aside"
	attrFiles    = "files"
	attrTry      = "try"
	attrPause    = "pause_ms"
)

// A log that cannot be read is opened again after pauses of 1, 2, 4, 8 and 16 s, but not if a pause would end later than
// openWithin after the first try has begun: tries take their time, too, on a device that is slow to refuse.
const (
	openPause  = time.Second
	openWithin = time.Minute
)

// openLogs opens the write-ahead log and the partition logs in it. Damage before the log's tail does
// not say which partitions lost records, so all of them are suspect: the log takes another name, the
// damaged part is set aside, and what is left is filled again from the leaders.
//
// The name goes first. 1. The node acknowledged a record under the old name. 2. The record's file is
// set aside. 3. It crashes. Under the old name its next run would be trusted with leadership, for the
// log looks whole again. With the name renewed before, a crash at any step leads to a log that the
// cluster trusts with nothing.
func (n *node) openLogs(ctx context.Context, cfg partition.Config) (*partition.Store, error) {
	store, err := n.openPatiently(ctx, cfg)
	var damage *wal.Damage
	if !errors.As(err, &damage) || ctx.Err() != nil {
		return store, err
	}
	n.Logger.Error("write-ahead log is damaged", attrFile, damage.File, attrOffset, damage.At.Offset,
		attrReason, damage.Reason)
	if n.Config.WAL.RefuseDamaged {
		return nil, fmt.Errorf("%w (log.damage.policy=refuse)", err)
	}
	if err := n.dir.RenewLog(); err != nil {
		return nil, err
	}
	done, err := partition.Quarantine(cfg)
	if errors.Is(err, wal.ErrNoSpace) {
		return nil, fmt.Errorf("%w: make room for a copy of one log file, and start again", err)
	}
	if err != nil {
		return nil, err
	}
	n.Logger.Error("the log ends before its damage now: what it lost comes from the leaders, and partitions "+
		"without another replica have no leader until an operator decides", attrSetAside, done.Dir,
		attrFiles, done.Files)
	return partition.Open(cfg)
}

// openPatiently opens the logs, and opens them again while the device does not give back all of the write-ahead log: a
// path that fails over refuses for seconds, and to give up the log's name for that would be to fill the node again for
// nothing. Nothing was changed by a try that failed.
func (n *node) openPatiently(ctx context.Context, cfg partition.Config) (*partition.Store, error) {
	began := cfg.Now()
	for try, wait := 1, openPause; ; try, wait = try+1, 2*wait {
		store, err := partition.Open(cfg)
		var damage *wal.Damage
		if !errors.As(err, &damage) || !damage.Unreadable {
			if try > 1 && err == nil {
				n.Logger.Warn("write-ahead log can be read again", attrTry, try)
			}
			return store, err
		}
		last := cfg.Now()+wait-began > openWithin
		attrs := []any{attrTry, try, attrFile, damage.File, attrOffset, damage.At.Offset, attrReason, damage.Reason}
		if last {
			n.Logger.Warn("write-ahead log cannot be read, and that does not pass", attrs...)
			return nil, err
		}
		n.Logger.Warn("write-ahead log cannot be read, it is opened again after a pause",
			append(attrs, attrPause, wait.Milliseconds())...)
		if !pause(ctx, wait) {
			return nil, fmt.Errorf("wait for the write-ahead log: %w, %w", context.Cause(ctx), err)
		}
	}
}

// pause waits for d; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// explainCatalog says what to do about a damaged catalog: without it nobody knows what the packs hold,
// and what the node once acknowledged is not there.
func (n *node) explainCatalog(err error) error {
	if !errors.Is(err, catalog.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: what this node has stored cannot be found; move %s away, all of it, and start again: "+
		"it joins as a learner with a new disk id and is filled from the other nodes", err, n.dir.Path())
}

// explainMetadata says what to do about a damaged metadata store. There is no way round it: a voter
// must not act on what it may have forgotten.
func (n *node) explainMetadata(err error) error {
	if !errors.Is(err, raft.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: this node must not take part with it; empty %s, all of it, and start again: "+
		"it joins as a learner with a new disk id and is filled from the other nodes", err, n.dir.Path())
}
