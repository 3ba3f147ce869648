package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/broker/wal"
	"outrigger/broker/wal/waltest"
)

// spoil makes the disk keep the batch at base to itself.
func (f *fixture) spoil(base topic.Offset) {
	f.Helper()
	at, ok := f.log.Position(base)
	if !ok {
		f.Fatalf("no batch at %d", base)
	}
	if f.journal.bad == nil {
		f.journal.bad = map[wal.Position]bool{}
	}
	f.journal.bad[at] = true
}

func bases(entries []Entry) []topic.Offset {
	var all []topic.Offset
	for _, e := range entries {
		all = append(all, e.Base)
	}
	return all
}

// A damaged batch is answered with an error; what lies before and behind it is served, to consumers and
// to followers, and nobody is asked twice for what is known.
func TestDamagedBatchHidesNothingElse(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
	f.lead(1)
	for range 8 {
		f.append(spec{})
	}
	f.journal.flush()
	f.log.SetHighWatermark(8)
	f.spoil(3)
	f.spoil(5)
	for round := range 2 {
		for from, want := range []int{3, 2, 1, 0, 1, 0, 2, 1} {
			got, err := f.log.Read(topic.Offset(from), 1<<20, true)
			if errors.Is(err, wal.ErrDamaged) != (want == 0) || len(got.Batches) != want {
				t.Errorf("round %d: read from %d: %d batches, %v; want %d", round, from, len(got.Batches), err, want)
			}
		}
	}
	if got := f.store.Damaged(); len(got) != 1 || got[0] != (DamagedLog{Partition: p0, Offset: 3}) {
		t.Errorf("got damaged logs %+v", got)
	}
	select {
	case <-f.store.DamageFound():
	default:
		t.Error("nobody is told of the damage")
	}
	var sent []topic.Offset
	from, ok := f.log.Position(0)
	for end := false; !end && ok; {
		var entries []Entry
		var err error
		before := from
		if entries, from, end, err = f.store.Scan(from, 200); err != nil {
			t.Fatal(err)
		}
		if sent = append(sent, bases(entries)...); !end && from.Compare(before) <= 0 {
			t.Fatalf("the scan stands still at %v", from)
		}
	}
	if want := []topic.Offset{0, 1, 2, 4, 6, 7}; !slices.Equal(sent, want) {
		t.Errorf("a scan finds %v, want %v", sent, want)
	}
	if _, ok := f.log.Position(5); ok {
		t.Error("a damaged batch is said to be there for a catch-up")
	}
}

// A misdirected write leaves a whole record of the same file, with a good checksum, where another one
// belongs.
func TestRecordOfAnotherPlaceIsDamage(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
	other := f.store.Create(topic.Partition{Topic: p0.Topic, Index: 1})
	other.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true})
	f.lead(1)
	for range 3 {
		f.append(spec{})
		if _, err := other.Append(expired(), build(spec{}), AppendOptions{Acks: AcksAll}); err != nil {
			t.Fatal(err)
		}
	}
	f.journal.flush()
	f.log.SetHighWatermark(3)
	// The records of both partitions are equal but for the partition.
	f.journal.durable[2].Record = f.journal.durable[3].Record
	for _, from := range []topic.Offset{1, 0} {
		got, err := f.log.Read(from, 1<<20, true)
		if want := int(1 - from); len(got.Batches) != want || errors.Is(err, wal.ErrDamaged) != (want == 0) {
			t.Errorf("read from %d: %d batches, %v", from, len(got.Batches), err)
		}
	}
	if got := f.store.Damaged(); len(got) != 1 || got[0] != (DamagedLog{Partition: p0, Offset: 1}) {
		t.Errorf("got damaged logs %+v", got)
	}
}

// The follower's log is cut before its damage, below the high watermark, and goes on from there: also
// when the way to the cut meets more damage.
func TestCutDamageLeavesAGoodPrefix(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
	f.follow(1)
	for range 8 {
		f.replicate(spec{}, 1)
	}
	f.journal.flush()
	f.log.SetHighWatermark(7)
	f.spoil(5)
	f.store.scrubbed(wal.Damage{At: wal.Position{File: 1}, Bytes: 1 << 20})
	if s := f.log.State(); !s.Damaged || s.DamagedAt != 5 {
		t.Fatalf("got %+v", s)
	}
	f.lead(2)
	if err := f.log.CutDamage(); !errors.Is(err, ErrLeading) {
		t.Errorf("a leader: got %v", err)
	}
	f.follow(3)
	f.journal.limit(wal.Relief, 0)
	if err := f.log.CutDamage(); !errors.Is(err, wal.ErrFull) || !f.log.State().Damaged {
		t.Errorf("a full disk: got %v", err)
	}
	f.journal.limit(wal.Relief, journalCapacity)
	f.spoil(2) // nobody knows
	if err := f.log.CutDamage(); err != nil {
		t.Fatal(err)
	}
	s := f.log.State()
	if s.LogEnd != 2 || s.HighWatermark != 2 || s.DurableEnd != 2 || s.Damaged {
		t.Fatalf("got %+v, want everything to end at 2", s)
	}
	for range 6 {
		f.replicate(spec{}, 3)
	}
	f.journal.flush()
	f.log.SetHighWatermark(8)
	got, err := f.log.Read(0, 1<<20, true)
	if err != nil || len(got.Batches) != 8 {
		t.Fatalf("got %d batches, %v", len(got.Batches), err)
	}
	if err := f.log.CutDamage(); err != nil || f.log.State().LogEnd != 8 {
		t.Errorf("a whole log: got %v, %+v", err, f.log.State())
	}
	f.journal.bad = nil
	want := f.log.State()
	f.reopen(false)
	if got := f.log.State(); got.LogEnd != want.LogEnd || got.TailEpoch != want.TailEpoch {
		t.Errorf("after a restart: got %+v, want %+v", got, want)
	}
}

// What the cut needs is read before, in any role, so that the cut itself does no I/O. A log that was
// cut lower in the meantime does not use what was made from batches that are gone.
func TestPreparedCutReadsNothing(t *testing.T) {
	for _, cutBetween := range []bool{false, true} {
		f := newFixture(t, func(c *Config) { c.TailBytesMax = 1 })
		f.lead(1)
		for i := range 8 {
			f.append(spec{idempotent: true, producer: 5, sequence: int32(i)})
		}
		f.journal.flush()
		f.log.SetHighWatermark(7)
		f.spoil(5)
		f.spoil(3)
		if _, err := f.log.Read(5, 1, true); !errors.Is(err, wal.ErrDamaged) {
			t.Fatal(err)
		}
		if err := f.store.PrepareCut(p0); err != nil || f.log.State().DamagedAt != 3 {
			t.Fatalf("got %v, %+v: the way to the damage at 5 leads over that at 3", err, f.log.State())
		}
		f.follow(2)
		if cutBetween {
			f.truncate(1)
			for i := 1; i < 8; i++ { // another producer's
				f.replicate(spec{idempotent: true, producer: 6, sequence: int32(i - 1)}, 2)
			}
			f.journal.flush()
			f.log.SetHighWatermark(7)
			f.spoil(3)
			f.store.scrubbed(wal.Damage{At: wal.Position{File: 1}, Bytes: 1 << 20})
		}
		reads, scans := f.journal.payloadReads, f.journal.scans
		if err := f.log.CutDamage(); err != nil || f.log.State().LogEnd != 3 {
			t.Fatalf("got %v, %+v", err, f.log.State())
		}
		if again := f.journal.payloadReads != reads || f.journal.scans != scans; again != cutBetween {
			t.Errorf("cut in between %t: the cut reads the log: %t", cutBetween, again)
		}
		f.lead(3)
		next := spec{idempotent: true, producer: 5, sequence: 3}
		if cutBetween {
			next = spec{idempotent: true, producer: 6, sequence: 2}
		}
		if a := f.append(next); a.Duplicate || a.Base != 3 {
			t.Errorf("the next batch of the producer: got %+v", a)
		}
	}
}

// The whole way on a file system: the scrub finds a damaged group, and of the logs in it only the one
// whose batch is spoilt is damaged.
func TestScrubTellsWhichLogsLostRecords(t *testing.T) {
	fs := waltest.New()
	c := &clock{}
	cfg := testConfig(c)
	cfg.TailBytesMax = 1
	cfg.WAL = wal.Config{FS: fs, Dir: "/wal", FileBytes: 64 << 10, GroupBytesMax: 16 << 10, Session: 1}
	store, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	driver, err := store.Drive()
	if err != nil {
		t.Fatal(err)
	}
	settle := func() {
		t.Helper()
		for err := driver.Turn(); driver.Writing() || driver.Written(); err = driver.Turn() {
			if err != nil {
				t.Fatal(err)
			}
			driver.Disk()
			if err := driver.Complete(); err != nil {
				t.Fatal(err)
			}
		}
	}
	store.SetLease(Forever)
	var logs []*Log
	for i := range int32(3) {
		l := store.Create(topic.Partition{Topic: p0.Topic, Index: i})
		l.Assume(Role{Leading: true, Epoch: 1, AcceptAll: true, AcceptOne: true, Ready: true})
		logs = append(logs, l)
	}
	for range 4 { // groups of all three
		for _, l := range logs {
			if _, err := l.Append(context.Background(), build(spec{count: 3}), AppendOptions{Acks: AcksAll}); err != nil {
				t.Fatal(err)
			}
		}
		settle()
	}
	hit, ok := logs[1].Position(6)
	if !ok {
		t.Fatal("no batch at 6")
	}
	fs.Damage("/wal/00000000000000000001.wal", func(b []byte) []byte {
		b[hit.Offset+60] ^= 1
		return b
	})
	scrubber := store.walLog.Scrubber()
	for !errors.Is(scrubber.Turn(), io.EOF) {
		continue
	}
	if got := store.Damaged(); len(got) != 1 || got[0] != (DamagedLog{Partition: logs[1].Partition(), Offset: 6}) {
		t.Errorf("got %+v", got)
	}
	logs[1].Assume(Role{Epoch: 2})
	if err := logs[1].CutDamage(); err != nil || logs[1].State().LogEnd != 6 {
		t.Errorf("got %v, %+v", err, logs[1].State())
	}
	settle()
	if err := errors.Join(driver.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
}

// reopenSpoiled starts again with a batch that cannot be read.
func (f *fixture) reopenSpoiled(base topic.Offset) {
	f.Helper()
	f.spoil(base)
	bad := f.journal.bad
	next := f.journal.survivors(false)
	next.bad = bad
	f.open(f.store.cfg, next)
}

// commit makes what there is durable, and what lies before an offset committed, as the log notes it.
func (f *fixture) commit(end topic.Offset) {
	f.Helper()
	f.journal.flush()
	f.log.SetHighWatermark(end)
	f.clock.advance(1)
	f.store.Tick()
}

// A start that meets damage where it would read what producers have written, because the log was cut below what was
// committed, does not remember what was cut: a producer that sends that again would be told that it is there.
func TestDamagedLogForgetsTheProducersOfWhatWasCut(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax, c.HighWatermarkCheckpoint = 1, 1 })
	f.follow(1)
	f.replicate(spec{}, 1)
	for sequence := range int32(3) {
		f.replicate(spec{idempotent: true, producer: 7, sequence: sequence}, 1)
	}
	f.commit(4)
	f.truncate(2)
	f.replicate(spec{}, 2)
	f.journal.flush()
	f.reopenSpoiled(0)
	if s := f.log.State(); !s.Damaged || s.LogEnd != 3 {
		t.Fatalf("got %+v, want damage at 0 and an end at 3", s)
	}
	f.lead(3)
	if a := f.append(spec{idempotent: true, producer: 7, sequence: 1}); a.Duplicate || a.Base != 3 {
		t.Errorf("a batch that was cut, sent again: got %+v, want it at 3", a)
	}
}

// Nor does it take a transaction for decided whose marker was cut: readers of committed records wait for the next one.
func TestDamagedLogReopensTransactionsWhoseMarkersWereCut(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax, c.HighWatermarkCheckpoint = 1, 1 })
	f.follow(1)
	f.replicate(spec{}, 1)
	for _, id := range []int64{7, 8, 9} {
		f.replicate(spec{idempotent: true, producer: id, transactional: true}, 1)
	}
	end := func(id int64, commit bool) {
		f.replicate(spec{producer: id, marker: &batch.Marker{Commit: commit}}, 1)
	}
	end(7, false)
	end(8, true)
	end(9, false) // at 6
	f.commit(7)
	f.truncate(5)
	f.journal.flush()
	f.reopenSpoiled(0)
	if s := f.log.State(); !s.Damaged || s.HighWatermark != 5 || s.LastStable != 2 {
		t.Errorf("got %+v, want damage at 0, and all stable below 2", s)
	}
	if got := f.log.mu.producers.transactions.aborted; len(got) != 1 || got[0].ProducerID != 7 {
		t.Errorf("got %+v aborted, want the one of producer 7", got)
	}
}

// A transaction that is open again may be continued, and aborted: all of it is left out then, not only what came behind
// the cut.
func TestDamagedLogAbortsReopenedTransactionsFromTheirBegin(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax, c.HighWatermarkCheckpoint = 1, 1 })
	f.follow(1)
	f.replicate(spec{}, 1)
	f.replicate(spec{idempotent: true, producer: 7, transactional: true}, 1)
	f.replicate(spec{producer: 7, marker: &batch.Marker{Commit: true}}, 1) // at 2
	f.commit(3)
	f.truncate(2)
	f.replicate(spec{idempotent: true, producer: 7, transactional: true, sequence: 1}, 2)
	f.replicate(spec{producer: 7, marker: &batch.Marker{}}, 2)
	f.commit(4)
	f.journal.flush()
	f.reopenSpoiled(0)
	if s := f.log.State(); !s.Damaged || s.LastStable != 4 {
		t.Errorf("got %+v, want damage at 0, and all stable", s)
	}
	got := f.log.mu.producers.transactions.aborted
	if len(got) != 1 || got[0].First != 1 || got[0].Last != 3 {
		t.Errorf("got %+v aborted, want one from 1 to 3", got)
	}
}

// One whose marker cannot be read is not ended by the next marker of its producer, be it there already or not: what was
// committed would be left out. What began behind the damage is not held up.
func TestDamagedLogKeepsTransactionsOpenWhoseMarkersAreDamaged(t *testing.T) {
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprintf("before=%t", before), func(t *testing.T) {
			f := newFixture(t, func(c *Config) { c.TailBytesMax, c.HighWatermarkCheckpoint = 1, 1 })
			f.follow(1)
			f.replicate(spec{idempotent: true, producer: 7, transactional: true}, 1)
			f.replicate(spec{producer: 7, marker: &batch.Marker{Commit: true}}, 1) // at 1
			f.replicate(spec{}, 1)
			f.commit(3)
			f.truncate(2)
			if before {
				f.replicate(spec{idempotent: true, producer: 7, transactional: true, sequence: 1}, 2)
				f.replicate(spec{producer: 7, marker: &batch.Marker{}}, 2)
				f.commit(4)
			}
			f.journal.flush()
			f.reopenSpoiled(1)
			f.lead(3)
			if !before {
				f.within(transactional(7, 0, 1))
				f.end(7, 0, false)
			}
			f.log.SetHighWatermark(f.log.State().LogEnd)
			if s := f.log.State(); !s.Damaged || s.HighWatermark != 4 || s.LastStable != 0 {
				t.Errorf("got %+v, want damage at 1, and nothing stable", s)
			}
			f.log.Assume(Role{Epoch: 4})
			if err := errors.Join(f.store.PrepareCut(f.log.partition), f.log.CutDamage()); err != nil {
				t.Fatal(err)
			}
			f.replicate(spec{producer: 7, marker: &batch.Marker{Commit: true}}, 4)
			f.log.SetHighWatermark(2)
			if s := f.log.State(); s.Damaged || s.LastStable != 2 {
				t.Errorf("repaired: got %+v, want all stable", s)
			}
		})
	}
}

// What began behind the damage has its marker there. It holds nothing up once it has ended, nor once the damage has gone.
func TestDamagedLogLetsTransactionsGoThatBeganBehindTheDamage(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.TailBytesMax, c.HighWatermarkCheckpoint = 1, 1 })
	f.follow(1)
	f.replicate(spec{idempotent: true, producer: 7, transactional: true}, 1)
	f.replicate(spec{}, 1) // at 1
	f.replicate(spec{idempotent: true, producer: 8, transactional: true}, 1)
	f.replicate(spec{}, 1)
	f.commit(4)
	f.truncate(3)
	f.journal.flush()
	f.reopenSpoiled(1)
	f.lead(2)
	f.end(8, 0, true)
	f.end(7, 0, true)
	f.log.SetHighWatermark(f.log.State().LogEnd)
	if s := f.log.State(); !s.Damaged || s.LastStable != 0 {
		t.Errorf("got %+v, want damage at 1, and nothing stable, for the first transaction may have ended there", s)
	}
	if _, _, err := f.log.DeleteRecords(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	if s := f.log.State(); s.Damaged || s.LastStable != s.HighWatermark {
		t.Errorf("got %+v, want no damage, and all stable", s)
	}
	f.log.noteDamage(f.log.mu.index.at(0))
	if s := f.log.State(); !s.Damaged || s.LastStable != s.HighWatermark {
		t.Errorf("got %+v, want damage that is in no transaction's way", s)
	}
}
