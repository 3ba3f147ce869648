package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histograms go from a microsecond to ten minutes, with three digits.
const (
	histogramMax    = 10 * time.Minute
	histogramDigits = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, histogramMax.Microseconds(), histogramDigits)
}

// record takes the latency of so many records; what is outside of the range counts as its end.
func record(h *hdrhistogram.Histogram, latency time.Duration, records int64) {
	// it is in range
	_ = h.RecordValues(min(max(1, latency.Microseconds()), histogramMax.Microseconds()), records)
}

// tally is what happened in some time.
type tally struct {
	records, bytes, errors int64
	latency                *hdrhistogram.Histogram
}

func newTally() *tally { return &tally{latency: newHistogram()} }

// add merges another tally into this one.
func (t *tally) add(other *tally) {
	t.records += other.records
	t.bytes += other.bytes
	t.errors += other.errors
	t.latency.Merge(other.latency)
}

func (t *tally) reset() {
	t.records, t.bytes, t.errors = 0, 0, 0
	t.latency.Reset()
}

// meter takes what one worker does. Its lock is the worker's own but for once a second.
type meter struct {
	window window
	mu     struct {
		sync.Mutex
		// interval is since the last take.
		interval *tally
		// total has the records and bytes that were answered within the window, and the latencies of
		// what was due within it.
		total *tally
	}
}

func newMeter(w window) *meter {
	m := &meter{window: w}
	m.mu.interval, m.mu.total = newTally(), newTally()
	return m
}

// event is one answer.
type event struct {
	// due is when it was meant to be asked for, now when it came.
	due, now time.Duration
	bytes    int
}

func (m *meter) add(e event) { m.addAll(e, 1) }

// addAll takes an answer that has so many records, of so many bytes together.
func (m *meter) addAll(e event, records int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, t := m.mu.interval, m.mu.total
	i.records += records
	i.bytes += int64(e.bytes)
	record(i.latency, e.now-e.due, records)
	if m.window.holds(e.now) {
		t.records += records
		t.bytes += int64(e.bytes)
	}
	if m.window.holds(e.due) {
		record(t.latency, e.now-e.due, records)
	}
}

// addError counts an answer that was none.
func (m *meter) addError() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.interval.errors++
	m.mu.total.errors++
}

// take merges what came since the last take into a tally.
func (m *meter) take(into *tally) {
	m.mu.Lock()
	defer m.mu.Unlock()
	into.add(m.mu.interval)
	m.mu.interval.reset()
}

// totalInto merges what the window had into a tally.
func (m *meter) totalInto(into *tally) {
	m.mu.Lock()
	defer m.mu.Unlock()
	into.add(m.mu.total)
}

// meters are those of the workers of one kind.
type meters struct {
	name string
	mu   struct {
		sync.Mutex
		all []*meter
	}
}

// worker adds a meter.
func (m *meters) worker(w window) *meter {
	one := newMeter(w)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.all = append(m.mu.all, one)
	return one
}

func (m *meters) list() []*meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.all[:len(m.mu.all):len(m.mu.all)]
}

// take is the tally of all since the last take.
func (m *meters) take() *tally {
	t := newTally()
	for _, one := range m.list() {
		one.take(t)
	}
	return t
}

// total is the tally of the window.
func (m *meters) total() *tally {
	t := newTally()
	for _, one := range m.list() {
		one.totalInto(t)
	}
	return t
}
