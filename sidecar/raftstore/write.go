package raftstore

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"outrigger/sidecar/raft"
)

// Save writes one batch atomically; with Batch.Sync it is on stable storage on return.
func (s *Store) Save(b raft.Batch) error {
	return s.commit("save raft batch", b.Sync, func(w *pebble.Batch) error {
		if b.HardState != nil {
			if err := w.Set([]byte{'h'}, raft.AppendHardState(nil, *b.HardState), nil); err != nil {
				return err
			}
		}
		if err := s.writeEntries(w, b); err != nil {
			return err
		}
		for _, c := range b.Chunks {
			if err := s.writeChunk(w, c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) writeEntries(w *pebble.Batch, b raft.Batch) error {
	if from := b.TruncateFrom; from != 0 && from <= s.last {
		if err := w.DeleteRange(entryKey(from), entryKey(s.last+1), nil); err != nil {
			return err
		}
		s.last = from - 1
	}
	var value []byte
	for _, e := range b.Entries {
		if s.last != 0 && e.Index != s.last+1 {
			panic(fmt.Sprintf("raftstore: entry %d written behind %d", e.Index, s.last))
		}
		value = raft.AppendEntry(value[:0], e)
		if err := w.Set(entryKey(e.Index), value, nil); err != nil {
			return err
		}
		s.last = e.Index
		if s.first == 0 {
			s.first = e.Index
		}
	}
	return nil
}

// writeChunk adds a piece to the staging area; one at offset 0 begins it anew.
func (s *Store) writeChunk(w *pebble.Batch, c raft.Chunk) error {
	if c.Offset == 0 {
		if err := s.dropSlot(w, s.staged); err != nil {
			return err
		}
		s.staged, s.have = slot{number: s.takeSlot(), snapshot: c.Snapshot}, 0
		if err := w.Set([]byte{'g'}, encodeSlot(s.staged), nil); err != nil {
			return err
		}
	}
	if !c.Snapshot.Same(s.staged.snapshot) || c.Offset != s.have {
		panic(fmt.Sprintf("raftstore: chunk of snapshot %d at %d, staged is %d up to %d",
			c.Snapshot.Index, c.Offset, s.staged.snapshot.Index, s.have))
	}
	s.have += uint64(len(c.Data))
	return w.Set(pieceKey(s.staged.number, c.Offset), c.Data, nil)
}

// SaveSnapshot makes data the current snapshot and removes the entries up to compactTo. The data is
// written first, into a slot that nothing names; a crash before the last batch leaves the old
// snapshot and the whole log, one after it the new snapshot and the short log.
func (s *Store) SaveSnapshot(snapshot raft.Snapshot, data []byte, compactTo uint64) error {
	next := slot{number: s.takeSlot(), snapshot: snapshot}
	for offset := 0; offset < len(data); offset += pieceBytes {
		piece := data[offset:min(offset+pieceBytes, len(data))]
		err := s.commit("write snapshot", false, func(w *pebble.Batch) error {
			return w.Set(pieceKey(next.number, uint64(offset)), piece, nil)
		})
		if err != nil {
			return err
		}
	}
	return s.commit("save snapshot", true, func(w *pebble.Batch) error {
		if err := w.Set([]byte{'s'}, encodeSlot(next), nil); err != nil {
			return err
		}
		if err := s.dropSlot(w, s.current); err != nil {
			return err
		}
		s.current = next
		return s.dropEntries(w, compactTo)
	})
}

// InstallSnapshot makes the staged snapshot the current one, empties log and staging area and writes
// the hard state, all in one synced batch.
func (s *Store) InstallSnapshot(snapshot raft.Snapshot, hard raft.HardState) error {
	if snapshot.Size != 0 && (!snapshot.Same(s.staged.snapshot) || s.have != snapshot.Size) {
		panic(fmt.Sprintf("raftstore: install snapshot %d of %d bytes, staged is %d up to %d",
			snapshot.Index, snapshot.Size, s.staged.snapshot.Index, s.have))
	}
	return s.commit("install snapshot", true, func(w *pebble.Batch) error {
		next := slot{number: s.staged.number, snapshot: snapshot}
		if snapshot.Size == 0 {
			next.number = s.takeSlot()
		}
		if err := w.Set([]byte{'s'}, encodeSlot(next), nil); err != nil {
			return err
		}
		if err := w.Delete([]byte{'g'}, nil); err != nil {
			return err
		}
		if err := w.Set([]byte{'h'}, raft.AppendHardState(nil, hard), nil); err != nil {
			return err
		}
		if err := s.dropSlot(w, s.current); err != nil {
			return err
		}
		s.current, s.staged, s.have = next, slot{}, 0
		if err := s.dropEntries(w, s.last); err != nil {
			return err
		}
		s.first, s.last = 0, 0
		return nil
	})
}

func (s *Store) dropEntries(w *pebble.Batch, to uint64) error {
	if s.first == 0 || to < s.first {
		return nil
	}
	from := s.first
	s.first = to + 1
	return w.DeleteRange(entryKey(from), entryKey(to+1), nil)
}

func (s *Store) dropSlot(w *pebble.Batch, old slot) error {
	if old.number == 0 {
		return nil
	}
	return w.DeleteRange(pieceKey(old.number, 0), pieceKey(old.number+1, 0), nil)
}

func (s *Store) takeSlot() uint64 {
	s.nextSlot++
	return s.nextSlot
}

// commit writes what fill puts into a batch. After a failure the store refuses everything: a failed
// sync may have lost what was written before it, and no second one can tell.
func (s *Store) commit(what string, sync bool, fill func(*pebble.Batch) error) (err error) {
	if s.failed {
		return fmt.Errorf("%s: %w", what, ErrFailed)
	}
	defer func() {
		if reason, ok := recover().(fatal); ok {
			err = fmt.Errorf("%s: %w: %s", what, ErrFailed, reason.detail)
		}
		s.failed = s.failed || err != nil
	}()
	w := s.db.NewBatch()
	if err := fill(w); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.written++
	if err := w.LogData(appendWitness(nil, witness{batch: s.written, synced: s.synced}), nil); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	options := pebble.NoSync
	if sync {
		options = pebble.Sync
	}
	if err := w.Commit(options); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if sync {
		s.synced = s.written
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func encodeSlot(s slot) []byte {
	return raft.AppendSnapshotInfo(binary.BigEndian.AppendUint64(nil, s.number), s.snapshot)
}
