package bench

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// The kinds of results, in the order in which they are shown.
const (
	Produced = "produced"
	Consumed = "consumed"
	Reread   = "reread"
	Created  = "created"
)

var resultNames = []string{Produced, Consumed, Reread, Created}

// meanings say from when to when the latency of a result is.
var meanings = map[string]string{
	Produced: "from due to acknowledged", Consumed: "from due to received by a consumer",
	Reread: ofPolls, Created: "from due to created",
}

// ofPolls is the meaning where nobody waits for single records: each has the latency of its poll.
const ofPolls = "of the poll that brought it"

// never is the end of a window that ends with the work.
const never time.Duration = math.MaxInt64

// load is one run of clients against the topic.
type load struct {
	*bench
	began  time.Time
	window window
	meters map[string]*meters
	// silence is nil but where a broker is killed.
	silence *silence

	rows []Row
	// brokers and client are processor time within the window, if brokers are known.
	processors usage
	elapsed    time.Duration
	// meaning overrides meanings.
	meaning string
	// behind is how many records an open loop had not sent when it ended.
	behind int64
}

func (b *bench) newLoad(w window, names ...string) *load {
	l := &load{bench: b, window: w, meters: map[string]*meters{}}
	for _, name := range names {
		l.meters[name] = &meters{name: name}
	}
	return l
}

// now is the time since the load began.
func (l *load) now() time.Duration { return time.Since(l.began) }

// wait returns at a time of the load, or false if ctx ended before.
func (l *load) wait(ctx context.Context, at time.Duration) bool { return pause(ctx, at-l.now()) }

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run carries out the work, which ends by itself, and samples meanwhile.
func (l *load) run(ctx context.Context, work func(context.Context) error) error {
	sampling, stop := context.WithCancel(ctx)
	var samplers sync.WaitGroup
	l.began = time.Now()
	samplers.Go(func() { l.sample(sampling) })
	samplers.Go(func() { l.watchProcessors(sampling) })
	err := work(ctx)
	l.elapsed = l.now()
	stop()
	samplers.Wait()
	return err
}

// sampleEvery is how long a row of the series is.
const sampleEvery = time.Second

// rowMin is how short the last row may be: a shorter one would show a rate of little meaning.
const rowMin = sampleEvery / 4

func (l *load) sample(ctx context.Context) {
	last := time.Duration(0)
	for next := sampleEvery; l.wait(ctx, next); next += sampleEvery {
		now := l.now()
		l.row(last, now)
		last = now
	}
	if now := l.now(); now-last > rowMin {
		l.row(last, now)
	}
	l.live.done()
}

// row adds a row to the series for the time since the last one.
func (l *load) row(from, to time.Duration) {
	l.processes.look()
	// the middle says which phase a row belongs to; its end may lie on the border
	r := Row{Seconds: to.Seconds(), Phase: l.window.phase((from + to) / 2), Cells: map[string]Cell{}}
	for name, m := range l.meters {
		r.Cells[name] = cellOf(m.take(), to-from)
	}
	l.rows = append(l.rows, r)
	l.live.show(l, r)
}

// watchProcessors measures the processor time of the window.
func (l *load) watchProcessors(ctx context.Context) {
	if !l.wait(ctx, l.window.from) {
		return
	}
	before, from := l.processes.usage(), l.now()
	l.wait(ctx, l.window.to)
	l.processors = l.processes.usage().since(before)
	l.processors.seconds = (l.now() - from).Seconds()
}

// results are those of the window.
func (l *load) results() map[string]Result {
	seconds := min(l.window.to, l.elapsed) - l.window.from
	all := map[string]Result{}
	for name, m := range l.meters {
		all[name] = resultOf(m.total(), seconds, cmp.Or(l.meaning, meanings[name]))
	}
	return all
}

// Row is one second of a load.
type Row struct {
	// Seconds is its end, since the load began.
	Seconds float64         `json:"seconds"`
	Phase   string          `json:"phase"`
	Cells   map[string]Cell `json:"cells"`
}

// Cell is one kind of result in a row.
type Cell struct {
	RecordsPerSecond float64 `json:"records_per_second"`
	MBPerSecond      float64 `json:"mb_per_second"`
	P50              float64 `json:"p50_ms"`
	P99              float64 `json:"p99_ms"`
	Max              float64 `json:"max_ms"`
	Errors           int64   `json:"errors"`
}

// megabyte is what MB means in all outputs.
const megabyte = 1e6

func cellOf(t *tally, took time.Duration) Cell {
	latency, seconds := latencyOf(t.latency), took.Seconds()
	return Cell{RecordsPerSecond: float64(t.records) / seconds, MBPerSecond: float64(t.bytes) / megabyte / seconds,
		P50: latency.P50, P99: latency.P99, Max: latency.Max, Errors: t.errors}
}

// Result is one kind of result over the window.
type Result struct {
	Records          int64   `json:"records"`
	Bytes            int64   `json:"bytes"`
	Seconds          float64 `json:"seconds"`
	RecordsPerSecond float64 `json:"records_per_second"`
	MBPerSecond      float64 `json:"mb_per_second"`
	Errors           int64   `json:"errors"`
	// Meaning says from when to when latency is.
	Meaning string  `json:"latency_is"`
	Latency Latency `json:"latency_ms"`
	Curve   []Point `json:"curve"`
}

func resultOf(t *tally, took time.Duration, meaning string) Result {
	seconds := max(took, time.Microsecond).Seconds()
	return Result{Records: t.records, Bytes: t.bytes, Seconds: seconds, RecordsPerSecond: float64(t.records) / seconds,
		MBPerSecond: float64(t.bytes) / megabyte / seconds, Errors: t.errors, Meaning: meaning,
		Latency: latencyOf(t.latency), Curve: curveOf(t.latency)}
}

// shownNames are the kinds that a map has, in their order.
func shownNames[T any](of map[string]T) []string {
	return slices.DeleteFunc(slices.Clone(resultNames), func(name string) bool { _, ok := of[name]; return !ok })
}
