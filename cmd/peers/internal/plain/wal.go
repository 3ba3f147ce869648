package plain

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// recordBytes is the payload of a record: a batch of a busy partition.
const recordBytes = 128 << 10

// The WAL uses its files again, as the plain program does: those that are full are given up, as after a
// drain, which alone is not measured.
const (
	walFiles  = 8
	walSpares = walFiles
)

// sizes notes what the WAL wrote. The writer calls it from one goroutine.
type sizes struct {
	mu     sync.Mutex
	groups []int64
	total  int64
	// last is the newest group that is durable, and the file that it lies in; full takes the start of the
	// log behind each file that is full.
	last wal.Start
	full chan wal.Start
}

// Sealed is not counted: it is not durable yet.
func (s *sizes) Sealed(*wal.Group) {}

// Durable notes a group.
func (s *sizes) Durable(g *wal.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = append(s.groups, g.Bytes)
	s.total += g.Bytes
	file := g.Records[0].At.File
	if s.last.File != 0 && file != s.last.File {
		s.full <- wal.Start{File: file, Sequence: s.last.Sequence, CRC: s.last.CRC, NextPack: 1} // there is room: see WAL
	}
	s.last = wal.Start{File: file, Sequence: g.Sequence, CRC: g.CRC}
}

func (s *sizes) so(since int) (groups []int64, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[since:], s.total
}

// WAL keeps the node WAL full for so long, and returns its rate on disk and the sizes of the groups
// that it synced.
func WAL(ctx context.Context, dir string, window time.Duration) (Rate, []int64, error) {
	written := &sizes{full: make(chan wal.Start, walFiles+1)} // no more can be full and not given up
	log, err := wal.Open(wal.Config{Dir: dir, Session: topic.Session(1), Sink: written,
		FilesMax: walFiles, SparesMax: walSpares})
	if err != nil {
		return Rate{}, nil, fmt.Errorf("open a log: %w", err)
	}
	running, stop := context.WithCancel(ctx)
	ran, retired := make(chan error, 1), make(chan error, 1)
	go func() { ran <- log.Run(running) }()
	go func() { retired <- retire(running, log, written.full) }()
	// Until its files have been written once, it pays for that.
	filling, full := context.WithTimeout(ctx, window)
	err = fill(filling, log, 2*walFiles*log.FileBytes())
	full()
	before, already := written.so(0)
	began := time.Now()
	filling, full = context.WithTimeout(ctx, window)
	err = errors.Join(err, fill(filling, log, math.MaxInt64))
	full()
	groups, total := written.so(len(before))
	rate := Rate{Bytes: total - already, Took: time.Since(began)}
	groups = append([]int64{}, groups...)
	stop()
	return rate, groups, errors.Join(err, <-ran, <-retired, log.Close(), ctx.Err())
}

// retire gives up files that are full, until ctx ends.
func retire(ctx context.Context, log *wal.Log, full <-chan wal.Start) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case start := <-full:
			if err := log.Retire(start); err != nil {
				return fmt.Errorf("give up a file of the log: %w", err)
			}
		}
	}
}

// fill appends until ctx ends, or so much is appended, as fast as there is room.
func fill(ctx context.Context, log *wal.Log, bytes int64) error {
	payload := make([]byte, recordBytes)
	_, _ = rand.Read(payload) // it never fails
	// A broker has verified the checksum of a batch before it appends it.
	r := wal.Record{Kind: wal.Data, Partition: topic.Partition{Index: 0}, Epoch: 1, Count: 1, Payload: payload,
		Summed: len(payload), Sum: crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli))}
	for ; bytes > 0; bytes -= recordBytes {
		err := log.Reserve(ctx, wal.Leader, wal.EncodedLen(r))
		if errors.Is(err, wal.ErrFull) {
			return nil // it waits until ctx ends: the window is over
		}
		if err != nil {
			return fmt.Errorf("append to the log: %w", err)
		}
		log.Append(wal.Leader, r)
		r.Base++
	}
	return nil
}
