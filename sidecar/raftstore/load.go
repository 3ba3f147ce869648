package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"outrigger/sidecar/raft"
)

// Load reads everything back after a start and clears away what a crash left half made. What does not
// have its checksum, or contradicts itself, is raft.ErrDamaged.
func (s *Store) Load() (raft.State, error) {
	state, err := s.load()
	if pebble.IsCorruptionError(err) {
		err = fmt.Errorf("%w: %w", raft.ErrDamaged, err)
	}
	return state, err
}

func (s *Store) load() (raft.State, error) {
	var state raft.State
	value, ok, err := s.read([]byte{'h'})
	if err != nil {
		return state, fmt.Errorf("load hard state: %w", err)
	}
	if ok {
		if state.Hard, err = raft.DecodeHardState(value); err != nil {
			return state, fmt.Errorf("load hard state: %w: %w", raft.ErrDamaged, err)
		}
	}
	if s.current, err = s.loadSlot('s'); err != nil {
		return state, fmt.Errorf("load snapshot: %w", err)
	}
	if s.staged, err = s.loadSlot('g'); err != nil {
		return state, fmt.Errorf("load staged snapshot: %w", err)
	}
	if err := s.loadPieces(); err != nil {
		return state, fmt.Errorf("load snapshot pieces: %w", err)
	}
	if state.Entries, err = s.loadEntries(); err != nil {
		return state, fmt.Errorf("load log: %w", err)
	}
	state.Snapshot, state.Staged, state.StagedBytes = s.current.snapshot, s.staged.snapshot, s.have
	return state, nil
}

func (s *Store) loadSlot(kind byte) (slot, error) {
	value, ok, err := s.read([]byte{kind})
	if err != nil || !ok {
		return slot{}, err
	}
	if len(value) < 8 {
		return slot{}, fmt.Errorf("%w: record of %d bytes", raft.ErrDamaged, len(value))
	}
	snapshot, err := raft.DecodeSnapshotInfo(value[8:])
	if err != nil {
		return slot{}, fmt.Errorf("%w: %w", raft.ErrDamaged, err)
	}
	return slot{number: binary.BigEndian.Uint64(value), snapshot: snapshot}, nil
}

// loadPieces measures what is staged and removes the slots that nothing names.
func (s *Store) loadPieces() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'c'}, UpperBound: []byte{'d'}})
	if err != nil {
		return err
	}
	rubbish := make(map[uint64]bool)
	s.have, s.nextSlot = 0, max(s.current.number, s.staged.number)
	for it.First(); it.Valid(); it.Next() {
		number := binary.BigEndian.Uint64(it.Key()[1:9])
		offset := binary.BigEndian.Uint64(it.Key()[9:17])
		s.nextSlot = max(s.nextSlot, number)
		switch {
		case number == s.staged.number && offset == s.have:
			s.have += uint64(len(it.Value()))
		case number != s.current.number && number != s.staged.number:
			rubbish[number] = true
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	if len(rubbish) == 0 || s.looking {
		return nil
	}
	return s.commit("remove unnamed snapshots", false, func(w *pebble.Batch) error {
		for number := range rubbish {
			if err := s.dropSlot(w, slot{number: number}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) loadEntries() ([]raft.Entry, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'e'}, UpperBound: []byte{'f'}})
	if err != nil {
		return nil, err
	}
	var entries []raft.Entry
	s.first, s.last = 0, 0
	for it.First(); it.Valid(); it.Next() {
		e, err := raft.DecodeEntry(bytes.Clone(it.Value()))
		if err == nil && !bytes.Equal(it.Key(), entryKey(e.Index)) {
			err = fmt.Errorf("entry %d lies elsewhere", e.Index)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", raft.ErrDamaged, err), it.Close())
		}
		entries = append(entries, e)
		if s.first == 0 {
			s.first = e.Index
		}
		s.last = e.Index
	}
	return entries, errors.Join(it.Error(), it.Close())
}

// ReadSnapshot reads up to length bytes of the current or the staged snapshot, from offset on. It
// fails if that is not the snapshot of this index.
func (s *Store) ReadSnapshot(index uint64, staged bool, offset uint64, length int) ([]byte, error) {
	from := s.current
	if staged {
		from = s.staged
	}
	if from.snapshot.Index != index {
		return nil, fmt.Errorf("read snapshot %d: held is %d", index, from.snapshot.Index)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: pieceKey(from.number, 0), UpperBound: pieceKey(from.number+1, 0)})
	if err != nil {
		return nil, fmt.Errorf("read snapshot %d: %w", index, err)
	}
	var data []byte
	// The piece that holds offset begins at or before it.
	for ok := it.SeekLT(pieceKey(from.number, offset+1)); ok && len(data) < length; ok = it.Next() {
		start := binary.BigEndian.Uint64(it.Key()[9:17])
		at := offset + uint64(len(data))
		if at < start || at-start >= uint64(len(it.Value())) {
			break
		}
		piece := it.Value()[at-start:]
		data = append(data, piece[:min(len(piece), length-len(data))]...)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, fmt.Errorf("read snapshot %d: %w", index, err)
	}
	return data, nil
}
