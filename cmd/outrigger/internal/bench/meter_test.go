package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestMergedMetersAreTheMeterOfAll(t *testing.T) {
	all, parts := meters{}, meters{}
	w := window{from: 0, to: never}
	one := all.worker(w)
	r := rand.New(rand.NewPCG(1, 1))
	var exact []float64
	for range 3 {
		m := parts.worker(w)
		for range 2000 {
			e := event{now: time.Duration(r.ExpFloat64() * float64(50*time.Millisecond)), bytes: 10}
			one.add(e)
			m.add(e)
			exact = append(exact, float64(e.now.Microseconds())/microsPerMilli)
		}
	}
	a, b := resultOf(all.total(), time.Second, ""), resultOf(parts.total(), time.Second, "")
	if a.Latency != b.Latency || a.Records != b.Records || a.Bytes != b.Bytes {
		t.Errorf("got %+v merged, want %+v", b, a)
	}
	slices.Sort(exact)
	for _, c := range []struct{ quantile, got float64 }{{0.5, a.Latency.P50}, {0.99, a.Latency.P99}, {0.999, a.Latency.P999}} {
		want := exact[int(c.quantile*float64(len(exact)))-1]
		if c.got < want*0.998 || c.got > want*1.01 {
			t.Errorf("p%g: got %.3f ms, want %.3f ms", 100*c.quantile, c.got, want)
		}
	}
}

func TestTakeLeavesTotalsAlone(t *testing.T) {
	var all meters
	m := all.worker(window{to: never})
	m.add(event{now: time.Millisecond, bytes: 5})
	m.addError()
	first, second := all.take(), all.take()
	if first.records != 1 || first.errors != 1 || second.records != 0 || second.errors != 0 || second.latency.TotalCount() != 0 {
		t.Errorf("got %+v, then %+v, want one record, then none", first, second)
	}
	if total := all.total(); total.records != 1 || total.bytes != 5 || total.errors != 1 || total.latency.TotalCount() != 1 {
		t.Errorf("got total %+v, want one record", total)
	}
}

// What was due in the window is in the latency although the answer came after its end: to leave it
// out would leave out exactly the slow ones.
func TestWindowCountsAnswersWithinAndLatencyOfWhatWasDueWithin(t *testing.T) {
	const second = time.Second
	var all meters
	m := all.worker(window{from: 1 * second, to: 2 * second})
	m.add(event{due: 0, now: second / 2})              // warm-up
	m.add(event{due: 0, now: 1*second + 1, bytes: 1})  // answered within, due before
	m.add(event{due: 1*second + 1, now: 9 * second})   // due within, answered late
	m.add(event{due: 2 * second, now: 2*second + 100}) // after
	total := all.total()
	if total.records != 1 || total.bytes != 1 {
		t.Errorf("got %d records of %d bytes, want 1 of 1", total.records, total.bytes)
	}
	if got := latencyOf(total.latency); got.Count != 1 || got.Max < 7990 || got.Max > 8010 {
		t.Errorf("got %+v, want one latency of 8 s", got)
	}
}

func TestLatenciesBeyondTheRangeCountAsItsEnds(t *testing.T) {
	h := newHistogram()
	record(h, -time.Second, 1)
	record(h, 0, 1)
	record(h, 24*time.Hour, 1)
	if h.TotalCount() != 3 || h.Min() != 1 || millis(h.Max()) < 599_000 {
		t.Errorf("got %d values from %d to %d, want 3 from 1 to ten minutes", h.TotalCount(), h.Min(), h.Max())
	}
}

func TestCurveRisesToTheSlowest(t *testing.T) {
	h := newHistogram()
	for i := range 10_000 {
		record(h, time.Duration(i+1)*time.Millisecond, 1)
	}
	curve := curveOf(h)
	for i := 1; i < len(curve); i++ {
		if curve[i].Quantile <= curve[i-1].Quantile || curve[i].Millis < curve[i-1].Millis {
			t.Fatalf("point %d is %+v after %+v, want it above", i, curve[i], curve[i-1])
		}
	}
	if last := curve[len(curve)-1]; last.Quantile != 1 || last.Millis != millis(h.Max()) {
		t.Errorf("got the last point %+v, want the slowest", last)
	}
	if n := len(curve); n < 4*curveSteps || n > 4*curveSteps+2 {
		t.Errorf("got %d points for four powers of ten, want about %d", n, 4*curveSteps)
	}
	if curveOf(newHistogram()) != nil || latencyOf(newHistogram()) != (Latency{}) {
		t.Error("an empty histogram has a curve or a latency")
	}
}

// Records that were asked for together count one by one.
func TestMeterCountsEachRecordOfAnAnswer(t *testing.T) {
	m := newMeter(window{to: never})
	m.addAll(event{now: time.Millisecond, bytes: 30}, 3)
	m.add(event{now: time.Millisecond, bytes: 5})
	got := newTally()
	m.totalInto(got)
	if got.records != 4 || got.bytes != 35 || got.latency.TotalCount() != 4 {
		t.Errorf("got %d records, %d bytes, %d latencies, want 4, 35, 4", got.records, got.bytes, got.latency.TotalCount())
	}
}
