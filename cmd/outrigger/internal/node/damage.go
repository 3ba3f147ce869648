package node

import (
	"errors"
	"fmt"

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
)

// openLogs opens the write-ahead log and the partition logs in it. Damage before the log's tail does
// not say which partitions lost records, so all of them are suspect: the log takes another name, the
// damaged part is set aside, and what is left is filled again from the leaders.
//
// The name goes first. 1. The node acknowledged a record under the old name. 2. The record's file is
// set aside. 3. It crashes. Under the old name its next run would be trusted with leadership, for the
// log looks whole again. With the name renewed before, a crash at any step leads to a log that the
// cluster trusts with nothing.
func (n *node) openLogs(cfg partition.Config) (*partition.Store, error) {
	store, err := partition.Open(cfg)
	var damage *wal.Damage
	if !errors.As(err, &damage) {
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
