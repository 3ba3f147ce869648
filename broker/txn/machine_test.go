package txn

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// table drives one machine and keeps what it wrote.
type table struct {
	*testing.T
	m       *Machine
	now     Time
	fx      Effects
	records []Record
	markers []Markers
	fresh   int64
}

func newTable(t *testing.T) *table {
	cfg := &Config{TimeoutMaxMillis: 60_000, ExpirationMillis: 1_000_000, RecordBytesMax: 2000}
	return &table{T: t, m: New(cfg, "tx"), now: Time{Mono: 1, Wall: 5_000}, fresh: 100}
}

// step takes an event and returns its reply.
func (b *table) step(e Event) (any, error) {
	b.Helper()
	b.m.Step(e, b.now, &b.fx)
	return b.take()
}

func (b *table) take() (any, error) {
	b.records, b.markers = append(b.records, b.fx.Records...), append(b.markers, b.fx.Markers...)
	var last Reply
	if n := len(b.fx.Replies); n > 0 {
		last = b.fx.Replies[n-1]
	}
	b.fx.Reset()
	return last.Result, last.Err
}

// init begins a producer; it brings a new id when one is asked for.
func (b *table) init(id int64, epoch int16) (Identity, error) {
	b.Helper()
	e := Init{Token: 1, TimeoutMillis: 1000, ID: id, Epoch: epoch, NewID: NoProducer}
	result, err := b.step(e)
	if errors.Is(err, ErrNeedsProducerID) {
		b.fresh++
		e.NewID = b.fresh
		result, err = b.step(e)
	}
	if err != nil {
		return Identity{}, err
	}
	return *result.(*Identity), nil
}

func (b *table) begin() Identity {
	b.Helper()
	who, err := b.init(NoProducer, NoEpoch)
	if err != nil {
		b.Fatalf("init: %v", err)
	}
	return who
}

func (b *table) add(who Identity, index int32) error {
	b.Helper()
	_, err := b.step(Add{Token: 1, ID: who.ID, Epoch: who.Epoch, Partitions: []Partition{{"t", index}}, Version: 2})
	return err
}

func (b *table) end(who Identity, commit bool, version int16) (Identity, error) {
	b.Helper()
	e := End{Token: 1, ID: who.ID, Epoch: who.Epoch, Commit: commit, Version: version, NewID: NoProducer}
	result, err := b.step(e)
	if errors.Is(err, ErrNeedsProducerID) {
		b.fresh++
		e.NewID = b.fresh
		result, err = b.step(e)
	}
	if err != nil {
		return Identity{}, err
	}
	return *result.(*Identity), nil
}

// mark confirms all markers that were asked for.
func (b *table) mark() {
	for _, m := range b.markers {
		b.m.Step(Marked{ID: m.ID, Epoch: m.Epoch, Partitions: m.Partitions}, b.now, &b.fx)
	}
	b.markers = nil
	if _, err := b.take(); err != nil {
		b.Fatal(err)
	}
}

func (b *table) want(what string, got, want error) {
	b.Helper()
	if !errors.Is(got, want) {
		b.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (b *table) wantState(want State) {
	b.Helper()
	if got := b.m.Describe().State; got != want {
		b.Errorf("state: got %v, want %v", got, want)
	}
}

// reload makes the machine anew from its records.
func (b *table) reload() {
	b.Helper()
	replay := NewReplay()
	for _, r := range b.records {
		if err := replay.Apply(r); err != nil {
			b.Fatal(err)
		}
	}
	m := replay.Machines(b.m.cfg, b.now)["tx"]
	if m == nil {
		m = New(b.m.cfg, "tx")
	}
	b.m, b.markers = m, nil
	b.m.Resume(b.now, &b.fx)
	if _, err := b.take(); err != nil {
		b.Fatal(err)
	}
}

func TestTransactionGoesThroughItsStates(t *testing.T) {
	for _, version := range []int16{0, 2} {
		for _, commit := range []bool{true, false} {
			t.Run(fmt.Sprint("version ", version, " commit ", commit), func(t *testing.T) {
				b := newTable(t)
				who := b.begin()
				b.wantState(Empty)
				b.want("add", b.add(who, 3), nil)
				b.want("add", b.add(who, 1), nil)
				b.wantState(Ongoing)
				next, err := b.end(who, commit, version)
				b.want("end", err, nil)
				if version == 2 && next.Epoch != who.Epoch+1 || version == 0 && next != who {
					t.Errorf("identity: got %+v after %+v", next, who)
				}
				b.want("add while markers are sent", b.add(next, 5), ErrConcurrent)
				_, err = b.init(NoProducer, NoEpoch)
				b.want("init while markers are sent", err, ErrConcurrent)
				want := []Partition{{"t", 1}, {"t", 3}}
				if len(b.markers) != 1 || b.markers[0].Commit != commit || b.markers[0].Epoch != next.Epoch ||
					b.markers[0].Strict != (version == 2) || !slices.Equal(b.markers[0].Partitions, want) {
					t.Fatalf("markers: got %+v", b.markers)
				}
				b.mark()
				again, err := b.end(who, commit, version)
				b.want("the same end again", err, nil)
				if again != next {
					t.Errorf("identity: got %+v, want %+v again", again, next)
				}
				_, err = b.end(who, !commit, version)
				b.want("the other end", err, ErrInvalidState)
				b.want("next transaction", b.add(next, 1), nil)
				if d := b.m.Describe(); len(d.Partitions) != 1 {
					t.Errorf("partitions: got %v, want those of this transaction", d.Partitions)
				}
			})
		}
	}
}

// TestNewProducerFencesAndAborts: what was open is aborted under an epoch that nobody has, and whoever had
// an older one is out.
func TestNewProducerFencesAndAborts(t *testing.T) {
	b := newTable(t)
	zombie := b.begin()
	b.want("add", b.add(zombie, 0), nil)
	_, err := b.init(NoProducer, NoEpoch)
	b.want("init", err, ErrConcurrent)
	if len(b.markers) != 1 || b.markers[0].Commit || b.markers[0].Epoch != zombie.Epoch+1 {
		t.Fatalf("markers: got %+v, want an abort of a newer epoch", b.markers)
	}
	b.mark()
	who := b.begin()
	if who.Epoch != zombie.Epoch+2 || who.ID != zombie.ID {
		t.Errorf("identity: got %+v after %+v", who, zombie)
	}
	b.want("zombie's add", b.add(zombie, 1), ErrFenced)
	_, err = b.end(zombie, true, 2)
	b.want("zombie's end", err, ErrFenced)
	_, err = b.init(zombie.ID, zombie.Epoch)
	b.want("zombie's init", err, ErrFenced)
	b.want("another producer id's add", b.add(Identity{7, 0}, 1), ErrUnknownProducer)
}

func TestTimeoutAbortsAndFences(t *testing.T) {
	b := newTable(t)
	who := b.begin()
	b.want("add", b.add(who, 0), nil)
	b.now.Mono += 999
	b.m.Tick(b.now, &b.fx)
	b.wantState(Ongoing)
	b.reload() // the wall clock has not moved: the whole timeout is left
	b.now.Mono += 1000
	b.m.Tick(b.now, &b.fx)
	b.want("tick", second(b.take()), nil)
	b.wantState(PrepareAbort)
	b.mark()
	b.wantState(CompleteAbort)
	_, err := b.end(who, true, 0)
	b.want("commit", err, ErrFenced)
	_, err = b.end(who, true, 2)
	b.want("commit of a client of version 2", err, ErrInvalidState)
	b.want("add", b.add(who, 0), ErrFenced)
	_, err = b.init(who.ID, who.Epoch)
	b.want("init of the one that timed out", err, ErrFenced)
}

func second(_ any, err error) error { return err }

// TestProducerGoesOnWithANewerEpoch (KIP-360): the present one may, also when the answer gets lost, and
// one that was fenced may not.
func TestProducerGoesOnWithANewerEpoch(t *testing.T) {
	b := newTable(t)
	first := b.begin()
	next, err := b.init(first.ID, first.Epoch)
	b.want("init", err, nil)
	again, err := b.init(first.ID, first.Epoch)
	b.want("init again", err, nil)
	if next.Epoch != first.Epoch+1 || again != next {
		t.Errorf("identities: got %+v and %+v after %+v", next, again, first)
	}
	b.want("add", b.add(next, 0), nil)
	_, err = b.init(first.ID, first.Epoch)
	b.want("a late request", err, ErrFenced)
	b.wantState(Ongoing)
	_, err = b.init(next.ID, next.Epoch)
	b.want("init in a transaction", err, ErrConcurrent)
	b.mark()
	own, err := b.init(next.ID, next.Epoch)
	b.want("init after it", err, nil)
	if own.ID != next.ID || own.Epoch <= next.Epoch {
		t.Errorf("identity: got %+v after %+v", own, next)
	}
}

// TestEpochsRunOutIntoAnotherProducerID, at each of the places that make a new epoch.
func TestEpochsRunOutIntoAnotherProducerID(t *testing.T) {
	worn := func(t *testing.T) (*table, Identity) {
		b := newTable(t)
		who := b.begin()
		b.m.epoch, who.Epoch = epochLast, epochLast
		return b, who
	}
	t.Run("init", func(t *testing.T) {
		b, who := worn(t)
		next := b.begin()
		if next.ID == who.ID || next.Epoch != 0 {
			t.Errorf("identity: got %+v after %+v", next, who)
		}
		again, err := b.init(who.ID, who.Epoch)
		b.want("the request before again", err, nil)
		if again != next {
			t.Errorf("identity: got %+v, want %+v", again, next)
		}
	})
	t.Run("end", func(t *testing.T) {
		b, who := worn(t)
		b.want("add", b.add(who, 0), nil)
		next, err := b.end(who, true, 2)
		b.want("end", err, nil)
		if next.ID == who.ID || next.Epoch != 0 || b.markers[0].ID != who.ID || b.markers[0].Epoch != epochLast+1 {
			t.Fatalf("identity: got %+v after %+v, markers %+v", next, who, b.markers)
		}
		b.reload()
		b.mark()
		again, err := b.end(who, true, 2)
		b.want("end again", err, nil)
		if again != next {
			t.Errorf("identity: got %+v, want %+v", again, next)
		}
		b.want("add", b.add(next, 0), nil)
	})
	t.Run("timeout", func(t *testing.T) {
		b, who := worn(t)
		b.want("add", b.add(who, 0), nil)
		b.now.Mono += 1000
		b.m.Tick(b.now, &b.fx)
		b.want("tick", second(b.take()), nil)
		b.mark()
		if next := b.begin(); next.ID == who.ID || next.Epoch != 0 {
			t.Errorf("identity: got %+v after %+v", next, who)
		}
	})
	t.Run("own init in a transaction", func(t *testing.T) {
		b, who := worn(t)
		b.want("add", b.add(who, 0), nil)
		_, err := b.init(who.ID, who.Epoch)
		b.want("init", err, ErrConcurrent)
		b.mark()
		if next, err := b.init(who.ID, who.Epoch); err != nil || next.ID == who.ID || next.Epoch != 0 {
			t.Errorf("identity: got %+v, %v after %+v", next, err, who)
		}
	})
}

// TestEmptyTransactionsEndAtOnce: with a new epoch for clients that know version 2, which abort when they
// do not know what has come through, and are refused a commit of nothing.
func TestEmptyTransactionsEndAtOnce(t *testing.T) {
	b := newTable(t)
	who := b.begin()
	_, err := b.end(who, true, 2)
	b.want("commit", err, ErrInvalidState)
	_, err = b.end(who, false, 0)
	b.want("abort of an older client", err, ErrInvalidState)
	next, err := b.end(who, false, 2)
	b.want("abort", err, nil)
	if next.Epoch != who.Epoch+1 || len(b.markers) != 0 {
		t.Errorf("identity: got %+v after %+v, markers %+v", next, who, b.markers)
	}
	b.wantState(CompleteAbort)
	third, err := b.end(next, false, 2)
	b.want("abort", err, nil)
	if third.Epoch != next.Epoch+1 {
		t.Errorf("identity: got %+v after %+v", third, next)
	}
}

func TestVerifyTellsWhatIsPartOfTheTransaction(t *testing.T) {
	b := newTable(t)
	who := b.begin()
	b.want("add", b.add(who, 1), nil)
	result, err := b.step(Verify{Token: 1, ID: who.ID, Epoch: who.Epoch, Partitions: []Partition{{"t", 1}, {"t", 2}}})
	b.want("verify", err, nil)
	if errs := result.(*Verified).Errs; errs[0] != nil || !errors.Is(errs[1], ErrNotAdded) {
		t.Errorf("verified: got %v", errs)
	}
	_, err = b.step(Verify{Token: 1, ID: who.ID, Epoch: who.Epoch - 1, Partitions: []Partition{{"t", 1}}})
	b.want("verify of an older epoch", err, ErrFenced)
}

func TestSilentIDsExpireAndBusyOnesDoNot(t *testing.T) {
	b := newTable(t)
	who := b.begin()
	b.want("add", b.add(who, 0), nil)
	b.now.Wall += 2_000_000
	b.m.Sweep(b.now, &b.fx)
	b.want("sweep", second(b.take()), nil)
	b.wantState(Ongoing)
	if _, err := b.end(who, true, 2); err != nil {
		t.Fatal(err)
	}
	b.m.Sweep(b.now, &b.fx)
	b.wantState(PrepareCommit)
	b.mark()
	b.now.Wall += 2_000_000
	b.m.Sweep(b.now, &b.fx)
	b.want("sweep", second(b.take()), nil)
	b.wantState(Dead)
	if last := b.records[len(b.records)-1]; last.Value != nil {
		t.Errorf("last record: got a value, want the key taken away")
	}
	b.reload()
	b.wantState(Dead)
}

func TestTransactionOfTooManyPartitionsIsRefused(t *testing.T) {
	b := newTable(t)
	who := b.begin()
	var err error
	for i := int32(0); err == nil && i < 1000; i++ {
		err = b.add(who, i)
	}
	b.want("add", err, ErrTooLarge)
	for _, r := range b.records {
		if len(r.Key)+len(r.Value) > b.m.cfg.RecordBytesMax {
			t.Fatalf("record of %d bytes", len(r.Key)+len(r.Value))
		}
	}
}

func FuzzReplay(f *testing.F) {
	m := New(&Config{}, "tx")
	m.partitions = []Partition{{"a", 1}, {"a", 2}, {"b", 0}}
	r := m.record()
	f.Add(r.Key, r.Value)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		replay := NewReplay()
		if err := replay.Apply(Record{Key: key, Value: value}); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v, want %v", err, ErrMalformed)
			}
			return
		}
		for _, m := range replay.Machines(&Config{}, Time{}) {
			m.Describe()
		}
	})
}
