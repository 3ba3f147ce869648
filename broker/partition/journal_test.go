package partition

import (
	"context"
	"slices"
	"sync"
	"testing"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// journal is a node WAL whose progress the test decides: it is appender and reader of a Store, and
// the test seals and settles groups by hand.
type journal struct {
	tb   testing.TB
	sink wal.Sink

	mu sync.Mutex
	// free is what each budget has left, capacity what it had.
	free, capacity [3]int64
	freed          chan struct{}
	queued         []wal.Record
	groups         []*wal.Group // sealed, at most two: the WAL overlaps so many
	durable        []wal.Placed
	next           wal.Position
	failed         error
	// reads counts ReadRecord and Scan.
	payloadReads, scans int
	damaged             bool
	// bad are the records that the disk does not give back.
	bad map[wal.Position]bool
}

const journalCapacity = 1 << 40

func newJournal(tb testing.TB) *journal {
	j := &journal{tb: tb, freed: make(chan struct{}), next: wal.Position{File: 1, Offset: 4096}}
	j.capacity = [3]int64{journalCapacity, journalCapacity, journalCapacity}
	j.free = j.capacity
	return j
}

// limit gives a budget that many bytes.
func (j *journal) limit(b wal.Budget, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.free[b] += bytes - j.capacity[b]
	j.capacity[b] = bytes
	close(j.freed)
	j.freed = make(chan struct{})
}

func (j *journal) Reserve(ctx context.Context, b wal.Budget, bytes int64) error {
	for {
		j.mu.Lock()
		failed, freed := j.failed, j.freed
		j.mu.Unlock()
		if failed != nil {
			return failed
		}
		if j.TryReserve(b, bytes) {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return wal.ErrFull
		}
	}
}

func (j *journal) TryReserve(b wal.Budget, bytes int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.free[b] < bytes {
		return false
	}
	j.free[b] -= bytes
	return true
}

func (j *journal) Release(b wal.Budget, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.releaseLocked(b, bytes)
}

func (j *journal) releaseLocked(b wal.Budget, bytes int64) {
	j.free[b] += bytes
	if j.free[b] > j.capacity[b] {
		j.tb.Errorf("budget %d was given back %d bytes too many", b, j.free[b]-j.capacity[b])
	}
	close(j.freed)
	j.freed = make(chan struct{})
}

// Append gives the reservation back at once: the journal has no bound of its own.
func (j *journal) Append(b wal.Budget, r wal.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queued = append(j.queued, r)
	j.releaseLocked(b, wal.EncodedLen(r))
}

// seal closes a group of the first n queued records.
func (j *journal) seal(n int) {
	j.mu.Lock()
	if len(j.groups) == 2 {
		j.tb.Fatal("two groups are sealed already")
	}
	group := &wal.Group{}
	for _, r := range j.queued[:n] {
		group.Records = append(group.Records, wal.Placed{Record: r, At: j.next})
		j.next.Offset += wal.EncodedLen(r)
	}
	j.queued = slices.Clone(j.queued[n:])
	j.groups = append(j.groups, group)
	j.mu.Unlock()
	j.sink.Sealed(group)
}

// settle makes the older sealed group durable.
func (j *journal) settle() {
	j.mu.Lock()
	group := j.groups[0]
	j.groups = j.groups[1:]
	j.durable = append(j.durable, group.Records...)
	j.mu.Unlock()
	j.sink.Durable(group)
}

// progress tells how many groups are sealed and how many records wait.
func (j *journal) progress() (sealed, queued int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.groups), len(j.queued)
}

// flush seals and settles everything.
func (j *journal) flush() {
	sealed, queued := j.progress()
	for range sealed {
		j.settle()
	}
	if queued > 0 {
		j.seal(queued)
		j.settle()
	}
}

func (j *journal) ReadRecord(at wal.Position, encodedLen int64) (wal.Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.payloadReads++
	i, found := j.find(at)
	if !found || j.damaged || j.bad[at] || wal.EncodedLen(j.durable[i].Record) != encodedLen {
		return wal.Record{}, wal.ErrDamaged
	}
	r := j.durable[i].Record
	r.Payload = slices.Clone(r.Payload)
	return r, nil
}

// The journal has no cache.
func (j *journal) Lend() *wal.Loan          { return nil }
func (j *journal) Prefetch(at wal.Position) {}
func (j *journal) ChunkBytes() int64        { return 512 << 10 }

func (j *journal) Scan(from wal.Position, bytesMax int) ([]wal.Placed, wal.Position, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.scans++
	if j.damaged {
		return nil, from, wal.ErrDamaged
	}
	i, _ := j.find(from)
	var records []wal.Placed
	for bytes := int64(0); i < len(j.durable); i++ {
		r := j.durable[i]
		if j.bad[r.At] && len(records) > 0 {
			return records, r.At, nil
		}
		if j.bad[r.At] {
			return nil, r.At, &wal.Damage{At: r.At, Reason: "bad"}
		}
		if bytes += wal.EncodedLen(r.Record); bytes > int64(bytesMax) && len(records) > 0 {
			return records, r.At, nil
		}
		r.Payload = slices.Clone(r.Payload)
		records = append(records, r)
	}
	end := from
	if len(j.durable) > 0 {
		last := j.durable[len(j.durable)-1]
		end = wal.Position{File: 1, Offset: last.At.Offset + wal.EncodedLen(last.Record)}
	}
	return records, end, wal.ErrEnd
}

func (j *journal) find(at wal.Position) (int, bool) {
	return slices.BinarySearchFunc(j.durable, at, func(r wal.Placed, at wal.Position) int {
		return r.At.Compare(at)
	})
}

// idle checks that every reservation was consumed or given back.
func (j *journal) idle() {
	j.tb.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.free != j.capacity {
		j.tb.Errorf("free bytes are %v, want %v: a reservation leaked", j.free, j.capacity)
	}
}

// survivors is the journal as a crash leaves it: what was durable, and the older sealed group if its
// write came through.
func (j *journal) survivors(withSealed bool) *journal {
	after := newJournal(j.tb)
	after.durable = slices.Clone(j.durable)
	if withSealed && len(j.groups) > 0 {
		after.durable = append(after.durable, j.groups[0].Records...)
	}
	if n := len(after.durable); n > 0 {
		last := after.durable[n-1]
		after.next = wal.Position{File: 1, Offset: last.At.Offset + wal.EncodedLen(last.Record)}
	}
	return after
}

func (j *journal) kinds() []wal.Kind {
	var kinds []wal.Kind
	for _, r := range j.durable {
		kinds = append(kinds, r.Kind)
	}
	return kinds
}

var _ appender = (*journal)(nil)
var _ reader = (*journal)(nil)

// p0 is the partition that most tests use.
var p0 = topic.Partition{Topic: topic.ID{1}, Index: 0}
