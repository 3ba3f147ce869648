package partition

import (
	"cmp"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
)

// someProducers is a table of producers of all kinds: with sequences that wrap around, with markers, with what is not
// committed, with numbers at their ends.
func someProducers(rng *rand.Rand) *producerTable {
	t := newProducerTable(1000)
	numbers := []int64{0, 1, -1, 77, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
	number := func() int64 { return numbers[rng.IntN(len(numbers))] + rng.Int64N(100) }
	end := topic.Offset(0)
	for range rng.IntN(5) {
		id, p := rng.Int64N(1<<40), &producer{}
		for range 1 + rng.IntN(8) {
			x := producerBatch{epoch: int16(number()), first: int32(number()), last: int32(number()), coordinator: int32(number()),
				base: topic.Offset(number()), end: topic.Offset(number()), timestamp: number()}
			if rng.IntN(2) == 0 {
				x.base, x.first, x.coordinator = end+topic.Offset(rng.IntN(50)), math.MaxInt32-rng.Int32N(30), -1
				x.last, x.end = batch.AddSequence(x.first, 20), x.base+21
			}
			end = x.end
			p.batches.push(x)
		}
		p.committed = rng.IntN(p.batches.len() + 1)
		t.byID[id] = p
	}
	return t
}

// TestProducersAreReadAsTheyWereWritten, in either way.
func TestProducersAreReadAsTheyWereWritten(t *testing.T) {
	log := newLog(newPress(t).store, p0)
	for seed := range uint64(500) {
		want := someProducers(rand.New(rand.NewPCG(seed, 1)))
		for what, section := range map[string]struct {
			kind  byte
			bytes []byte
		}{"terse": {sectionProducers, want.encode(nil, new(producerCoding))}, "fixed": {sectionProducersFixed, want.encode(nil, fixedProducers{})}} {
			log.mu.producers = newProducerTable(1000)
			value := appendSection([]byte{logFormat}, section.kind, func(b []byte) []byte { return append(b, section.bytes...) })
			if err := log.decodeLog(value); err != nil {
				t.Fatalf("seed %d, written %s: %v", seed, what, err)
			}
			expectProducers(t, log.mu.producers, want)
			if t.Failed() {
				t.Fatalf("seed %d, written %s", seed, what)
			}
		}
	}
}

func expectProducers(t *testing.T, got, want *producerTable) {
	t.Helper()
	if len(got.byID) != len(want.byID) {
		t.Errorf("%d producers, want %d", len(got.byID), len(want.byID))
		return
	}
	var uncommitted []uncommittedBatch
	for id, p := range want.byID {
		q := got.byID[id]
		if q == nil || q.committed != p.committed || q.batches.len() != p.batches.len() {
			t.Errorf("producer %d: %+v, want %+v", id, q, p)
			return
		}
		markers := 0
		for i := range p.batches.len() {
			if *q.batches.at(i) != *p.batches.at(i) {
				t.Errorf("batch %d of producer %d: %+v, want %+v", i, id, *q.batches.at(i), *p.batches.at(i))
			}
			if i >= p.committed {
				uncommitted = append(uncommitted, uncommittedBatch{id, p.batches.at(i).end})
			} else if p.batches.at(i).isMarker() {
				markers++
			}
		}
		if q.markers != markers {
			t.Errorf("producer %d: %d markers, want %d", id, q.markers, markers)
		}
	}
	byEnd := func(a, b uncommittedBatch) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.id, b.id)) }
	slices.SortFunc(uncommitted, byEnd)
	listed := slices.Clone(got.uncommitted.items[got.uncommitted.head:])
	if !slices.IsSortedFunc(listed, func(a, b uncommittedBatch) int { return cmp.Compare(a.end, b.end) }) {
		t.Errorf("not committed are %v, want them in the order of the log", listed)
	}
	slices.SortFunc(listed, byEnd)
	if !slices.Equal(listed, uncommitted) {
		t.Errorf("not committed are %v, want %v", listed, uncommitted)
	}
}

// TestProducersTakeFewBytes: a log's producers are written anew with each file that has a record of the log.
func TestProducersTakeFewBytes(t *testing.T) {
	table := newProducerTable(1000)
	const producers, batches = 4, 10
	for i := range int32(batches) {
		for id := range int64(producers) {
			h := pb(1000+id, 0, 1_000_000+4*i, 4)
			h.BaseTimestamp, h.MaxTimestamp = 1_700_000_000_000+int64(i)*40, 1_700_000_000_000+int64(i)*40+3
			base := topic.Offset(9_000_000 + 4*(producers*int64(i)+id))
			table.record(h, base, 0)
		}
	}
	terse, fixed := len(table.encode(nil, new(producerCoding))), len(table.encode(nil, fixedProducers{}))
	if most := table.encodedBytes(new(producerCoding)); terse > most || 3*terse > fixed {
		t.Errorf("%d producers of %d batches take %d bytes, want %d or less, and a third of %d", producers, batches, terse, most, fixed)
	}
	if want := table.encodedBytes(fixedProducers{}); fixed != want {
		t.Errorf("with numbers of fixed length they take %d bytes, want %d", fixed, want)
	}
}

// TestProducersThatAreCutShortAreAnError, wherever that is.
func TestProducersThatAreCutShortAreAnError(t *testing.T) {
	log := newLog(newPress(t).store, p0)
	rng := rand.New(rand.NewPCG(3, 1))
	table := someProducers(rng)
	for len(table.byID) < 3 {
		table = someProducers(rng)
	}
	whole := table.encode(nil, new(producerCoding))
	ends := map[int]bool{0: true}
	var c producerCoding
	var b []byte
	for _, id := range slices.Sorted(maps.Keys(table.byID)) {
		p := table.byID[id]
		b = c.appendHead(b, id, p)
		for i := range p.batches.len() {
			b = c.appendBatch(b, p.batches.at(i))
		}
		ends[len(b)] = true
	}
	for n := range whole {
		log.mu.producers = newProducerTable(1000)
		value := appendSection([]byte{logFormat}, sectionProducers, func(b []byte) []byte { return append(b, whole[:n]...) })
		if err := log.decodeLog(value); (err == nil) != ends[n] {
			t.Errorf("%d bytes of %d: %v", n, len(whole), err)
		}
	}
}

// TestProducersAreToldInFewBytesOnceAllVersionsKnowThat: before, a broker that is taken back has to read them.
func TestProducersAreToldInFewBytesOnceAllVersionsKnowThat(t *testing.T) {
	may := false
	log := newLog(newPress(t, func(c *Config) { c.MayBeTerse = func() bool { return may } }).store, p0)
	log.mu.producers.record(pb(7, 0, 5, 1), 0, 0)
	for _, may = range []bool{false, true} {
		for kind, want := range map[byte]bool{sectionProducersFixed: !may, sectionProducers: may} {
			if got := slices.Contains(sectionsOf(log.encodeLog()), kind); got != want {
				t.Errorf("level 3 finalized %v: section %d is there %v, want %v", may, kind, got, want)
			}
		}
	}
}

// sectionsOf are the kinds of the sections of a log.
func sectionsOf(b []byte) (kinds []byte) {
	d := decoder{b: b[1:]}
	for len(d.b) > 0 {
		kinds = append(kinds, d.uint8())
		d.take(int(d.uint32()))
	}
	return kinds
}
