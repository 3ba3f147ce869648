package node

import (
	"fmt"

	"outrigger/sidecar/raft"
)

// snapshotReadBytes is the piece in which a snapshot is read from the store.
const snapshotReadBytes = 256 << 10

// snapshotIfDue takes a snapshot when the log behind the last one has grown past its bound. It is
// put off while a follower pulls the present one, within reason: each new snapshot would make that
// follower start again.
func (q *Quorum) snapshotIfDue() error {
	bytes := q.machine.AppliedBytes()
	if bytes < q.cfg.SnapshotLogBytes ||
		bytes < snapshotPatience*q.cfg.SnapshotLogBytes && q.machine.SnapshotInDemand() {
		return nil
	}
	data := q.state.Snapshot()
	s := q.machine.SnapshotAt(q.applied, data)
	to := q.machine.CompactionPoint(q.applied, q.cfg.TailBytes)
	if err := q.store.SaveSnapshot(s, data, to); err != nil {
		return fmt.Errorf("save snapshot %d: %w", s.Index, err)
	}
	q.machine.Compact(s, to)
	return nil
}

// install makes a pulled snapshot the current one. A crash before InstallSnapshot leaves the staged
// bytes, and the next offer finds them complete; a crash after it leaves the installed snapshot.
func (q *Quorum) install(i raft.Install) error {
	data, err := q.readSnapshot(i.Snapshot, true)
	if err != nil {
		return err
	}
	if raft.HashOf(data) != i.Snapshot.Hash {
		q.machine.InstallFailed()
		return nil
	}
	if err := q.state.Restore(i.Snapshot.Index, data); err != nil {
		return fmt.Errorf("restore snapshot %d: %w", i.Snapshot.Index, err)
	}
	if err := q.store.InstallSnapshot(i.Snapshot, i.Hard); err != nil {
		return fmt.Errorf("install snapshot %d: %w", i.Snapshot.Index, err)
	}
	q.machine.Installed()
	q.applied = i.Snapshot.Index
	return nil
}

// readSnapshot reads all of the current or the staged snapshot.
func (q *Quorum) readSnapshot(s raft.Snapshot, staged bool) ([]byte, error) {
	data := make([]byte, 0, min(s.Size, 64<<20))
	for uint64(len(data)) < s.Size {
		length := int(min(s.Size-uint64(len(data)), snapshotReadBytes))
		piece, err := q.store.ReadSnapshot(s.Index, staged, uint64(len(data)), length)
		if err == nil && len(piece) == 0 {
			err = raft.ErrDamaged
		}
		if err != nil {
			return nil, fmt.Errorf("read snapshot %d at %d: %w", s.Index, len(data), err)
		}
		data = append(data, piece...)
	}
	return data, nil
}
