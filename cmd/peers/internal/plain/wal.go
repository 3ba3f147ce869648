package plain

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// recordBytes is the payload of a record: a batch of a busy partition.
const recordBytes = 128 << 10

// sizes notes what the WAL wrote. The writer calls it from one goroutine.
type sizes struct {
	mu     sync.Mutex
	groups []int64
	total  int64
}

// Sealed is not counted: it is not durable yet.
func (s *sizes) Sealed(*wal.Group) {}

// Durable notes a group.
func (s *sizes) Durable(g *wal.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = append(s.groups, g.Bytes)
	s.total += g.Bytes
}

func (s *sizes) so(since int) (groups []int64, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[since:], s.total
}

// WAL keeps the node WAL full for so long, and returns its rate on disk and the sizes of the groups
// that it synced.
func WAL(ctx context.Context, dir string, window time.Duration) (Rate, []int64, error) {
	written := &sizes{}
	log, err := wal.Open(wal.Config{Dir: dir, Session: topic.Session(1), Sink: written})
	if err != nil {
		return Rate{}, nil, fmt.Errorf("open a log: %w", err)
	}
	running, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- log.Run(running) }()
	began := time.Now()
	filling, full := context.WithTimeout(ctx, window)
	err = fill(filling, log)
	full()
	groups, total := written.so(0)
	rate := Rate{Bytes: total, Took: time.Since(began)}
	groups = append([]int64{}, groups...)
	stop()
	return rate, groups, errors.Join(err, <-ran, log.Close(), ctx.Err())
}

// fill appends until ctx ends, as fast as there is room.
func fill(ctx context.Context, log *wal.Log) error {
	payload := make([]byte, recordBytes)
	_, _ = rand.Read(payload) // it never fails
	r := wal.Record{Kind: wal.Data, Partition: topic.Partition{Index: 0}, Epoch: 1, Count: 1, Payload: payload}
	for {
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
}
