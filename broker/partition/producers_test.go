package partition

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// pb is a header of one producer's batch.
func pb(id int64, epoch int16, sequence, count int32) batch.Header {
	return batch.Header{ProducerID: id, ProducerEpoch: epoch, BaseSequence: sequence,
		LastOffsetDelta: count - 1, Records: count}
}

func TestProducerSequencesAreJudged(t *testing.T) {
	type verdict struct {
		h         batch.Header
		duplicate topic.Offset // base of the original, -1 if it is none
		err       error
	}
	const none = -1
	tests := []struct {
		name  string
		log   []batch.Header
		asked []verdict
	}{
		{"an unknown producer may start anywhere", nil, []verdict{
			{pb(1, 0, 0, 1), none, nil}, {pb(1, 0, 77, 1), none, nil}, {pb(1, 9, 77, 1), none, nil},
		}},
		{"the next sequence follows the last", []batch.Header{pb(1, 0, 0, 3)}, []verdict{
			{pb(1, 0, 3, 1), none, nil},
			{pb(1, 0, 4, 1), none, ErrOutOfOrderSequence},
			{pb(1, 0, 2, 1), none, ErrOutOfOrderSequence},
			{pb(2, 0, 9, 1), none, nil},
		}},
		{"five batches are remembered", []batch.Header{
			pb(1, 0, 0, 2), pb(1, 0, 2, 2), pb(1, 0, 4, 2), pb(1, 0, 6, 2), pb(1, 0, 8, 2), pb(1, 0, 10, 2),
		}, []verdict{
			{pb(1, 0, 10, 2), 10, nil}, {pb(1, 0, 2, 2), 2, nil},
			{pb(1, 0, 0, 2), none, ErrOutOfOrderSequence}, // the sixth
			{pb(1, 0, 2, 3), none, ErrOutOfOrderSequence}, // same start, another length
			{pb(1, 0, 12, 2), none, nil},
		}},
		{"a new epoch starts at zero", []batch.Header{pb(1, 3, 0, 5)}, []verdict{
			{pb(1, 4, 0, 1), none, nil},
			{pb(1, 4, 5, 1), none, ErrOutOfOrderSequence},
			{pb(1, 2, 5, 1), none, ErrInvalidProducerEpoch},
			{pb(1, 2, 0, 5), none, ErrInvalidProducerEpoch},
		}},
		{"a batch of an older epoch is no duplicate", []batch.Header{pb(1, 3, 0, 1), pb(1, 4, 0, 1)},
			[]verdict{
				{pb(1, 4, 0, 1), 1, nil}, {pb(1, 3, 0, 1), none, ErrInvalidProducerEpoch},
				{pb(1, 4, 1, 1), none, nil},
			}},
		{"sequences wrap to zero", []batch.Header{pb(1, 0, math.MaxInt32-1, 2)}, []verdict{
			{pb(1, 0, 0, 1), none, nil}, {pb(1, 0, 1, 1), none, ErrOutOfOrderSequence},
			{pb(1, 0, math.MaxInt32-1, 2), 0, nil},
		}},
		{"sequences wrap within a batch", []batch.Header{pb(1, 0, math.MaxInt32-1, 5)}, []verdict{
			{pb(1, 0, 3, 1), none, nil}, {pb(1, 0, 2, 1), none, ErrOutOfOrderSequence},
			{pb(1, 0, math.MaxInt32-1, 5), 0, nil},
		}},
		{"batches without a producer are not judged", []batch.Header{pb(1, 0, 5, 1), pb(-1, -1, -1, 1)},
			[]verdict{{pb(-1, -1, -1, 1), none, nil}}},
		{"control batches have no sequence", []batch.Header{pb(1, 0, 5, 1),
			{ProducerID: 1, BaseSequence: -1, Attributes: 0x20}},
			[]verdict{{pb(1, 0, 6, 1), none, nil}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := newProducerTable(100)
			base := topic.Offset(0)
			for _, h := range test.log {
				table.record(h, base, 0)
				base += topic.Offset(h.LastOffsetDelta) + 1
			}
			// The verdicts are the same whether the batches are committed or not.
			for _, highWatermark := range []topic.Offset{0, base / 2, base} {
				table.commit(highWatermark)
				for _, want := range test.asked {
					original, duplicate, err := table.judge(want.h, false)
					if !errors.Is(err, want.err) || duplicate != (want.duplicate != none) {
						t.Errorf("%+v at high watermark %d: duplicate %v, error %v; want %v, %v", want.h,
							highWatermark, duplicate, err, want.duplicate != none, want.err)
					}
					if duplicate && original.base != want.duplicate {
						t.Errorf("%+v: original at %d, want %d", want.h, original.base, want.duplicate)
					}
				}
			}
		})
	}
}

// A cut above the high watermark must leave the state that replaying only the rest would give.
func TestProducerCutUncoversWhatWasBefore(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var log []batch.Header
		table := newProducerTable(100)
		end, highWatermark := topic.Offset(0), topic.Offset(0)
		for range 60 {
			switch h := pb(random.Int64N(3), int16(len(log)/20), random.Int32N(50), 1); random.IntN(5) {
			default:
				table.record(h, end, 0)
				log = append(log, h)
				end++
			case 3:
				highWatermark += topic.Offset(random.IntN(int(end-highWatermark) + 1))
				table.commit(highWatermark)
			case 4:
				end = highWatermark + topic.Offset(random.IntN(int(end-highWatermark)+1))
				log = log[:end]
				table.cut(end)
			}
		}
		dumb := newProducerTable(100)
		for i, h := range log {
			dumb.record(h, topic.Offset(i), 0)
		}
		dumb.commit(highWatermark)
		wantSameProducers(t, table, dumb)
	}
}

// wantSameProducers compares what two tables can tell.
func wantSameProducers(t *testing.T, got, want *producerTable) {
	t.Helper()
	if len(got.byID) != len(want.byID) {
		t.Fatalf("table knows %d producers, want %d", len(got.byID), len(want.byID))
	}
	for id, w := range want.byID {
		g := got.byID[id]
		if g == nil {
			t.Fatalf("producer %d is unknown", id)
		}
		if g.committed != w.committed || g.batches.len() != w.batches.len() {
			t.Fatalf("producer %d has %d batches, %d committed; want %d, %d",
				id, g.batches.len(), g.committed, w.batches.len(), w.committed)
		}
		for i := range w.batches.len() {
			if *g.batches.at(i) != *w.batches.at(i) {
				t.Fatalf("producer %d batch %d is %+v, want %+v", id, i, *g.batches.at(i), *w.batches.at(i))
			}
		}
	}
}

func TestSilentProducerIsForgottenOnceCommitted(t *testing.T) {
	table := newProducerTable(100)
	table.record(pb(1, 0, 0, 1), 0, 0)
	table.record(pb(2, 0, 0, 1), 1, 0)
	table.commit(1)
	table.expire(time.Hour, time.Hour)
	if len(table.byID) != 2 {
		t.Fatalf("%d producers before the time has come, want 2", len(table.byID))
	}
	table.expire(time.Hour+1, time.Hour)
	if table.byID[1] != nil || table.byID[2] == nil {
		t.Fatal("want the committed producer forgotten and the uncommitted one kept")
	}
	if _, _, err := table.judge(pb(1, 0, 40, 1), false); err != nil {
		t.Fatalf("a forgotten producer goes on with any sequence, got %v", err)
	}
	if _, _, err := table.judge(pb(1, 0, 40, 1), true); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("a forgotten producer has to continue: got %v, want %v", err, ErrOutOfOrderSequence)
	}
	marked := newProducerTable(100)
	marked.recordMarker(pb(1, 0, -1, 1), batch.Marker{}, 0, 0)
	if _, _, err := marked.judge(pb(1, 0, 40, 1), false); err != nil {
		t.Errorf("behind a marker alone any sequence goes on, got %v", err)
	}
	if _, _, err := marked.judge(pb(1, 0, 40, 1), true); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("behind a marker alone, and has to continue: got %v, want %v", err, ErrOutOfOrderSequence)
	}
}

func TestNumberOfProducersIsBounded(t *testing.T) {
	const bound = 64
	table := newProducerTable(bound)
	for i := range int64(10 * bound) {
		table.record(pb(i, 0, 0, 1), topic.Offset(i), 0)
		table.commit(topic.Offset(i) + 1)
		if len(table.byID) > bound {
			t.Fatalf("%d producers, want at most %d", len(table.byID), bound)
		}
		if table.byID[i] == nil || i > bound/2 && table.byID[i-bound/2] == nil {
			t.Fatalf("after producer %d a recent one was forgotten", i)
		}
	}
}

func TestUncommittedProducersAreNeverForgotten(t *testing.T) {
	const bound = 16
	table := newProducerTable(bound)
	for i := range int64(4 * bound) {
		table.record(pb(i, 0, 0, 1), topic.Offset(i), 0)
	}
	if len(table.byID) != 4*bound {
		t.Fatalf("%d producers, want all %d", len(table.byID), 4*bound)
	}
	table.commit(4 * bound)
	for i := range int64(2 * bound) {
		table.record(pb(1000+i, 0, 0, 1), topic.Offset(4*bound+i), 0)
		table.commit(topic.Offset(4*bound + i + 1))
	}
	if len(table.byID) > bound {
		t.Fatalf("%d producers once all is committed, want at most %d", len(table.byID), bound)
	}
}

// What is left of a compacted log tells whoever is filled from it the state of each producer, also of one of which all
// is superseded.
func TestReplicaOfACompactedLogKnowsItsProducers(t *testing.T) {
	from, to := newPress(t), newPress(t)
	from.lead()
	last := spec{idempotent: true, producer: 7, sequence: 2, key: []byte("k")}
	from.append(from.one, spec{idempotent: true, producer: 7, key: []byte("k"), count: 2}, last,
		spec{idempotent: true, producer: 8, key: []byte("k")}, spec{idempotent: true, producer: 8, sequence: 1, key: []byte("other")})
	from.drain()
	from.compact()
	state := from.one.State()
	pieces := from.one.pieces(state.LogStart, state.LogEnd, 1<<20)
	if _, err := from.one.load(pieces); err != nil {
		t.Fatal(err)
	}
	records := int32(0)
	for _, p := range pieces {
		h, err := batch.ParseHeader(p.payload)
		if err != nil {
			t.Fatal(err)
		}
		records += h.Records
		to.follow(p.payload)
	}
	if records != 2 {
		t.Fatalf("%d records are left, want 2: nothing is proved", records)
	}
	to.one.Assume(Role{Leading: true, Epoch: 2, AcceptAll: true, AcceptOne: true, Ready: true})
	got, err := to.one.Append(t.Context(), build(last), AppendOptions{Acks: AcksAll})
	if err != nil || !got.Duplicate || got.Base != 2 || got.End != 3 {
		t.Errorf("the last batch of producer 7 again: got %+v, %v, want a duplicate at 2", got, err)
	}
	wrong := last
	wrong.sequence = 9
	if _, err := to.one.Append(t.Context(), build(wrong), AppendOptions{Acks: AcksAll}); !errors.Is(err, ErrOutOfOrderSequence) {
		t.Errorf("another batch of producer 7: got %v, want %v", err, ErrOutOfOrderSequence)
	}
}
