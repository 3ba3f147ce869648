package node

import (
	"errors"
	"fmt"

	"outrigger/sidecar/cluster"
	"outrigger/sidecar/raft"
)

// imageFrontBytes hold the version and the level of an encoded image.
const imageFrontBytes = 3

// CheckLevel looks whether a stored metadata log has finalized a format level that this build does not speak, as far
// as the store knows what is committed, and returns an error that wraps cluster.ErrLevel then. It is for before
// anything else of a node's disk is read. Damage is for NewMetadata to tell, but for what cannot be loaded at all.
func CheckLevel(store Store) error {
	stored, err := store.Load()
	if err != nil {
		return fmt.Errorf("load raft state: %w", err)
	}
	s := stored.Snapshot
	if !s.IsZero() {
		front, err := store.ReadSnapshot(s.Index, false, 0, int(min(s.Size, imageFrontBytes)))
		if err != nil {
			return fmt.Errorf("read snapshot %d: %w", s.Index, err)
		}
		if err := cluster.CheckImageLevel(front); err != nil {
			return fmt.Errorf("restore snapshot %d: %w", s.Index, err)
		}
	}
	committed := committedCommands(stored)
	for _, e := range committed {
		c, err := cluster.Decode(e.Data)
		if set, ok := c.(cluster.SetLevel); ok && !cluster.Supported().Hold(set.Level) || errors.Is(err, cluster.ErrLevel) {
			return replayLevels(store, s, committed)
		}
	}
	return nil
}

// committedCommands are those that are known to be committed and are not part of the snapshot.
func committedCommands(stored raft.State) (commands []raft.Entry) {
	for _, e := range stored.Entries {
		if e.Kind == raft.EntryCommand && e.Index > stored.Snapshot.Index && e.Index <= stored.Hard.Commit {
			commands = append(commands, e)
		}
	}
	return commands
}

// replayLevels carries out the commands: one that asks for a level may have been refused.
func replayLevels(store Store, s raft.Snapshot, commands []raft.Entry) error {
	m := newImageMachine(cluster.Sound)
	if !s.IsZero() {
		data, err := store.ReadSnapshot(s.Index, false, 0, int(s.Size))
		if err != nil {
			return fmt.Errorf("read snapshot %d: %w", s.Index, err)
		}
		if err := m.Restore(s.Index, data); err != nil {
			return fmt.Errorf("restore snapshot %d: %w", s.Index, err)
		}
	}
	for _, e := range commands {
		if m.Apply(e.Index, e.Data); errors.Is(m.failed, cluster.ErrLevel) {
			return m.failed
		}
	}
	return nil
}
