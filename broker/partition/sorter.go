package partition

import (
	"errors"
	"fmt"
	"slices"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// windowBytes is how much is gathered before it is sorted and written: the memory of a drain, and about the
// longest stretch of a partition in a pack.
const windowBytes = 16 << 20

// sorter writes a pack in which batches lie by partition, window by window.
type sorter struct {
	log *wal.Log
	// number is that of the pack; moved hears where each batch went.
	number uint64
	moved  func(topic.Partition, moved)
	// breathe is called in between; its error ends the copy.
	breathe func() error
	// window holds the batches that are not in the pack yet, their payloads in arena as far as it goes.
	window []wal.Placed
	arena  []byte
	bytes  int
	pack   *wal.PackWriter
}

// add takes in a batch, which it copies.
func (s *sorter) add(r wal.Placed) error {
	if s.bytes += len(r.Payload); s.bytes > windowBytes {
		if err := s.flush(); err != nil {
			return err
		}
		s.bytes = len(r.Payload)
	}
	if s.arena == nil {
		s.arena = make([]byte, 0, windowBytes)
	}
	from := len(s.arena)
	s.arena = append(s.arena, r.Payload...) // Grows for one that is larger than the window.
	r.Payload = s.arena[from:]
	h, err := batch.ParseHeader(r.Payload)
	if err != nil {
		return fmt.Errorf("pack batch at %v: %w", r.At, err)
	}
	// Bytes that change in memory from here on fail their checksum in the pack.
	r.Summed, r.Sum = len(r.Payload)-batch.SummedFrom, h.CRC
	s.window = append(s.window, r)
	return nil
}

// flush writes what the window holds, sorted by partition.
func (s *sorter) flush() error {
	if len(s.window) == 0 {
		return nil
	}
	if s.pack == nil {
		pack, err := s.log.NewPack(s.number)
		if err != nil {
			return err
		}
		s.pack = pack
	}
	slices.SortStableFunc(s.window, func(a, b wal.Placed) int {
		return comparePartitions(a.Partition, b.Partition)
	})
	for i := range s.window {
		r := &s.window[i]
		at, err := s.pack.Add(&r.Record)
		if err != nil {
			return err
		}
		s.moved(r.Partition, moved{base: r.Base, from: r.At, to: at})
		if err := s.breathe(); err != nil {
			return err
		}
	}
	clear(s.window)
	s.window, s.arena, s.bytes = s.window[:0], s.arena[:0], 0
	return nil
}

// finish makes the pack durable; it is nothing if no batch was added.
func (s *sorter) finish() (wal.Pack, error) {
	if err := s.flush(); err != nil || s.pack == nil {
		return wal.Pack{}, err
	}
	return s.pack.Finish()
}

// giveUp removes the pack, because of an error. That the store ends hides no other error.
func (s *sorter) giveUp(why error) error {
	abandoned := s.abandon()
	if abandoned != nil && errors.Is(why, errEnding) {
		return abandoned
	}
	return errors.Join(why, abandoned)
}

// abandon removes the pack.
func (s *sorter) abandon() error {
	if s.pack == nil {
		return nil
	}
	return s.pack.Abandon()
}
