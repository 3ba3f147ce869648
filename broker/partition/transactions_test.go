package partition

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// transactional makes a batch of one record in a transaction.
func transactional(id int64, epoch int16, sequence int32) []byte {
	b := batch.NewBuilder(batch.CodecNone)
	b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = id, epoch, sequence, true
	b.Add(batch.Record{Timestamp: 1, Value: []byte("v")})
	raw, err := b.Build()
	if err != nil {
		panic(err)
	}
	return raw
}

// verified appends a transactional batch of which the coordinator was asked.
func (f *fixture) verified(b []byte) (Appended, error) {
	f.Helper()
	h, err := batch.ParseHeader(b)
	if err != nil {
		f.Fatal(err)
	}
	g, _ := f.log.GuardTransaction(h.ProducerID, h.ProducerEpoch)
	defer f.log.DropGuard(g)
	return f.log.Append(context.Background(), b, AppendOptions{Acks: AcksAll, Guard: g})
}

func (f *fixture) within(b []byte) Appended {
	f.Helper()
	a, err := f.verified(b)
	if err != nil {
		f.Fatalf("append in a transaction: %v", err)
	}
	return a
}

func (f *fixture) mark(id int64, epoch int16, commit bool) error {
	_, err := f.log.AppendMarker(context.Background(), EndTransaction{
		ProducerID: id, ProducerEpoch: epoch, Marker: batch.Marker{Commit: commit, CoordinatorEpoch: 1}, Timestamp: 5,
	}, AppendOptions{Acks: AcksAll})
	return err
}

func (f *fixture) end(id int64, epoch int16, commit bool) {
	f.Helper()
	if err := f.mark(id, epoch, commit); err != nil {
		f.Fatalf("append marker: %v", err)
	}
}

func (f *fixture) wantStable(want topic.Offset) {
	f.Helper()
	if got := f.log.State().LastStable; got != want {
		f.Fatalf("last stable offset: got %d, want %d", got, want)
	}
}

// TestReadersOfCommittedRecordsStopAtTheLastStableOffset: at the first open transaction, also when its
// marker is there but not committed, and they are told what was aborted.
func TestReadersOfCommittedRecordsStopAtTheLastStableOffset(t *testing.T) {
	f := newFixture(t)
	f.lead(0)
	f.append(spec{})                 // 0
	f.within(transactional(1, 0, 0)) // 1
	f.within(transactional(2, 0, 0)) // 2
	f.append(spec{})                 // 3
	f.log.SetHighWatermark(4)
	f.wantStable(1)
	read, err := f.log.ReadCommitted(0, 1<<20, true)
	if err != nil || len(read.Batches) != 1 || read.LastStable != 1 || read.HighWatermark != 4 {
		t.Fatalf("read: got %d batches, %+v, %v, want one below 1", len(read.Batches), read, err)
	}
	if all, err := f.log.Read(0, 1<<20, true); err != nil || len(all.Batches) != 4 {
		t.Fatalf("uncommitted read: got %d batches, %v, want 4", len(all.Batches), err)
	}
	f.end(1, 0, false) // 4
	f.wantStable(1)
	f.log.SetHighWatermark(5)
	f.wantStable(2)
	f.end(2, 0, true) // 5
	f.log.SetHighWatermark(6)
	f.wantStable(6)
	read, err = f.log.ReadCommitted(0, 1<<20, true)
	if err != nil || len(read.Batches) != 6 {
		t.Fatalf("read: got %d batches, %v, want 6", len(read.Batches), err)
	}
	if len(read.Aborted) != 1 || read.Aborted[0].ProducerID != 1 || read.Aborted[0].First != 1 || read.Aborted[0].Last != 4 {
		t.Fatalf("aborted: got %+v, want producer 1 from 1 to 4", read.Aborted)
	}
	if read, _ = f.log.ReadCommitted(5, 1<<20, true); len(read.Aborted) != 0 {
		t.Errorf("aborted from 5 on: got %+v, want none", read.Aborted)
	}
}

func TestBatchIsLetInOnlyIfItsTransactionIsKnown(t *testing.T) {
	f := newFixture(t)
	f.lead(0)
	try := func(b []byte, g Guard, want error) {
		t.Helper()
		if _, err := f.log.Append(expired(), b, AppendOptions{Acks: AcksAll, Guard: g}); !errors.Is(err, want) {
			t.Fatalf("append: got %v, want %v", err, want)
		}
	}
	try(transactional(1, 0, 0), Guard{}, ErrNoTransaction)
	g, open := f.log.GuardTransaction(1, 0)
	if open {
		t.Fatal("a transaction is open that nobody began")
	}
	f.end(1, 0, false) // the coordinator has ended it meanwhile
	try(transactional(1, 0, 0), g, ErrNoTransaction)
	f.log.DropGuard(g)

	other, _ := f.log.GuardTransaction(2, 0)
	try(transactional(1, 0, 0), other, ErrNoTransaction)
	f.log.DropGuard(other)
	try(transactional(2, 0, 0), other, ErrNoTransaction)
	if len(f.log.mu.producers.transactions.guards) != 0 {
		t.Error("guards are left")
	}

	f.within(transactional(1, 0, 0))
	try(transactional(1, 0, 1), Guard{}, nil)
	try(build(spec{idempotent: true, producer: 1, sequence: 2}), Guard{}, ErrNoTransaction)
	if _, open := f.log.GuardTransaction(1, 0); !open {
		t.Error("the transaction is not open")
	}
}

// TestMarkersFenceWhatIsOlder: neither a zombie's batches, nor those of its coordinator, nor a marker
// that belongs to an earlier transaction get in.
func TestMarkersFenceWhatIsOlder(t *testing.T) {
	f := newFixture(t)
	f.lead(0)
	f.within(transactional(1, 3, 0))
	f.end(1, 4, false) // a newer epoch: the producer is fenced
	if _, err := f.verified(transactional(1, 3, 1)); !errors.Is(err, ErrInvalidProducerEpoch) {
		t.Errorf("zombie: got %v, want %v", err, ErrInvalidProducerEpoch)
	}
	if _, err := f.verified(transactional(1, 4, 1)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("first sequence of an epoch: got %v, want %v", err, ErrOutOfOrderSequence)
	}
	if err := f.mark(1, 3, true); !errors.Is(err, ErrInvalidProducerEpoch) {
		t.Errorf("marker of an older epoch: got %v, want %v", err, ErrInvalidProducerEpoch)
	}
	late := EndTransaction{ProducerID: 1, ProducerEpoch: 4, Strict: true}
	if _, err := f.log.AppendMarker(expired(), late, AppendOptions{Acks: AcksAll}); !errors.Is(err, ErrCoordinatorFenced) {
		t.Errorf("marker of an older coordinator: got %v, want %v", err, ErrCoordinatorFenced)
	}
	late.CoordinatorEpoch = 1
	if _, err := f.log.AppendMarker(expired(), late, AppendOptions{Acks: AcksAll}); err != nil {
		t.Errorf("the same marker again: %v", err)
	}
	f.within(transactional(1, 4, 0))
	if _, err := f.log.AppendMarker(expired(), late, AppendOptions{Acks: AcksAll}); !errors.Is(err, ErrInvalidProducerEpoch) {
		t.Errorf("marker of the transaction before: got %v, want %v", err, ErrInvalidProducerEpoch)
	}
	if active := f.log.ActiveProducers(); len(active) != 1 || active[0].Epoch != 4 || active[0].CoordinatorEpoch != 1 || active[0].TransactionStart == topic.NoOffset {
		t.Errorf("producer: got %+v", active)
	}
}

// TestSequenceGoesOnBehindAMarkerOfTheSameEpoch: so transactions of clients before KIP-890 do, and what
// they send twice is still known.
func TestSequenceGoesOnBehindAMarkerOfTheSameEpoch(t *testing.T) {
	f := newFixture(t)
	f.lead(0)
	for i := range int32(8) {
		f.within(transactional(1, 0, i))
		f.end(1, 0, true)
	}
	f.log.SetHighWatermark(16)
	for i := int32(3); i < 8; i++ {
		if a, err := f.verified(transactional(1, 0, i)); err != nil || !a.Duplicate || a.Base != topic.Offset(2*i) {
			t.Errorf("batch %d again: got %+v, %v, want the original at %d", i, a, err, 2*i)
		}
	}
	if _, err := f.verified(transactional(1, 0, 9)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("gap: got %v, want %v", err, ErrOutOfOrderSequence)
	}
}

// A producer of which only a marker is known may go on with any sequence number, as one of which nothing is: its batches may
// merely have been forgotten.
func TestSequenceBehindALoneMarkerIsNotKnown(t *testing.T) {
	f := newFixture(t)
	f.lead(0)
	f.end(1, 0, true)
	for range 2 {
		f.end(1, 0, true)
		f.log.SetHighWatermark(f.log.State().LogEnd)
		f.reopen(false)
		f.lead(1)
	}
	f.within(transactional(1, 0, 7))
	if _, err := f.verified(transactional(1, 0, 9)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("gap: got %v, want %v", err, ErrOutOfOrderSequence)
	}
	f.end(2, 3, true)
	if _, err := f.verified(transactional(2, 4, 7)); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("an epoch that begins at 7: got %v, want %v", err, ErrOutOfOrderSequence)
	}
}

// TestProducersInATransactionAreNotForgotten: neither when they are silent nor when there are many.
func TestProducersInATransactionAreNotForgotten(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.ProducersMax = 8 })
	f.lead(0)
	f.within(transactional(1, 5, 0))
	f.log.SetHighWatermark(f.log.State().LogEnd)
	f.clock.advance(2 * f.store.cfg.ProducerIDExpiration)
	f.store.Tick()
	for id := range int64(30) {
		f.append(spec{idempotent: true, producer: 100 + id})
		f.log.SetHighWatermark(f.log.State().LogEnd)
	}
	if _, err := f.verified(transactional(1, 4, 0)); !errors.Is(err, ErrInvalidProducerEpoch) {
		t.Errorf("zombie: got %v, want %v", err, ErrInvalidProducerEpoch)
	}
}

func TestAbortedTransactionsLeaveWithTheLogStart(t *testing.T) {
	table := newTransactionTable()
	for i := range topic.Offset(10) {
		table.begin(batch.Header{ProducerID: 1}, 2*i)
		table.end(1, batch.Marker{}, 2*i+1)
	}
	table.commit(20)
	table.drop(11)
	if len(table.aborted) != 5 || table.aborted[0].Last != 11 {
		t.Errorf("aborted: got %+v, want the five from the marker at 11 on", table.aborted)
	}
}

// dumbTransactions computes from a whole log what readers of committed records are told.
func dumbTransactions(log []batchAt, highWatermark topic.Offset) (stable topic.Offset, aborted []AbortedTransaction) {
	stable = highWatermark
	first := map[int64]topic.Offset{}
	for _, b := range log {
		if at, open := first[b.id]; b.marker && open {
			if delete(first, b.id); b.at >= highWatermark {
				stable = min(stable, at)
			} else if !b.commit {
				aborted = append(aborted, AbortedTransaction{ProducerID: b.id, First: at, Last: b.at})
			}
		} else if !b.marker && !open {
			first[b.id] = b.at
		}
	}
	for _, at := range first {
		stable = min(stable, at)
	}
	return stable, aborted
}

type batchAt struct {
	id             int64
	at             topic.Offset
	marker, commit bool
}

// TestTransactionsAreWhatTheLogSays: after any appends, cuts above and below the high watermark and
// restarts, the last stable offset and what readers are told is what a dumb reading of the log gives.
func TestTransactionsAreWhatTheLogSays(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			f := newFixture(t)
			var log []batchAt
			epoch := topic.Epoch(0)
			for range 120 {
				end := topic.Offset(len(log))
				switch id := r.Int64N(4); r.IntN(10) {
				case 0, 1, 2, 3:
					f.lead(epoch)
					f.within(transactional(id, 0, -1)) // without a sequence, as coordinators do
					log = append(log, batchAt{id: id, at: end})
				case 4, 5, 6:
					f.lead(epoch)
					commit := r.IntN(2) == 0
					f.end(id, 0, commit)
					log = append(log, batchAt{id: id, at: end, marker: true, commit: commit})
				case 7:
					f.log.SetHighWatermark(topic.Offset(r.IntN(len(log) + 1)))
				case 8:
					f.journal.flush()
					epoch++
					f.follow(epoch)
					to := r.IntN(len(log) + 1)
					if r.IntN(3) > 0 {
						to = max(to, int(f.log.State().HighWatermark))
					}
					f.truncate(topic.Offset(to))
					log = log[:to]
				case 9:
					f.journal.flush()
					f.reopen(true)
					f.follow(epoch)
				}
				wantTransactions(t, f, log, r)
			}
		})
	}
}

func wantTransactions(t *testing.T, f *fixture, log []batchAt, r *rand.Rand) {
	t.Helper()
	state := f.log.State()
	stable, aborted := dumbTransactions(log, state.HighWatermark)
	if state.LogEnd != topic.Offset(len(log)) || state.LastStable != stable {
		t.Fatalf("got end %d, last stable %d, want %d, %d", state.LogEnd, state.LastStable, len(log), stable)
	}
	from := topic.Offset(r.IntN(len(log) + 1))
	read, err := f.log.ReadCommitted(from, 1+r.IntN(1000), true)
	if err != nil {
		t.Fatalf("read from %d: %v", from, err)
	}
	until := from + topic.Offset(len(read.Batches))
	if until > max(stable, from) {
		t.Fatalf("read from %d: %d batches reach beyond %d", from, len(read.Batches), stable)
	}
	want := slices.DeleteFunc(aborted, func(a AbortedTransaction) bool {
		return len(read.Batches) == 0 || a.Last < from || a.First >= until
	})
	slices.SortFunc(want, func(a, b AbortedTransaction) int { return int(a.First - b.First) })
	got := slices.Clone(read.Aborted)
	for i := range got {
		got[i].stable = 0
	}
	if !slices.Equal(got, want) {
		t.Fatalf("aborted in [%d, %d): got %+v, want %+v", from, until, got, want)
	}
}
