// Command sim plays seeds of simulated clusters (package sidecar/sim) until it has
// played enough, or until one breaks a promise; then it prints the seed and exits with status 1.
//
//	go run ./cmd/sim --seeds N [--seed S] [--minutes M] [--mutants] [--trace]
//
// The last line of output is one line of plain integers:
//
//	seeds=N events=E crashes=C partitions=P acked=A violations=0 rare=name:count,...
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"outrigger/sidecar/sim"
)

// options are the command's flags.
type options struct {
	seeds   uint64
	first   uint64
	minutes int
	mutants bool
	only    string
	trace   bool
}

func main() {
	var o options
	flag.Uint64Var(&o.seeds, "seeds", 0, "number of seeds to play; 0 with --minutes: as many as fit")
	flag.Uint64Var(&o.first, "seed", 1, "first seed")
	flag.IntVar(&o.minutes, "minutes", 0, "stop after so many minutes; 0: never")
	flag.BoolVar(&o.mutants, "mutants", false, "put known bugs in, one at a time, and require that each is caught")
	flag.StringVar(&o.only, "mutant", "", "with --mutants: put in this one alone")
	flag.BoolVar(&o.trace, "trace", false, "print every event of the first seed")
	flag.Parse()
	// A run keeps little and throws much away: collecting less often makes it faster.
	debug.SetGCPercent(gcPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const gcPercent = 800

// Seeds that are played when neither --seeds nor --minutes says how many.
const (
	seedsDefault       = 1000
	mutantSeedsDefault = 2000
)

func run(ctx context.Context, o options, out io.Writer) error {
	if o.minutes > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(o.minutes)*time.Minute)
		defer cancel()
	}
	switch {
	case o.seeds == 0 && o.mutants:
		o.seeds = mutantSeedsDefault
	case o.seeds == 0 && o.minutes == 0:
		o.seeds = seedsDefault
	}
	switch {
	case o.mutants:
		return playMutants(ctx, o, out)
	case o.trace:
		o.seeds = 1
	}
	return play(ctx, o, out)
}

// rareSeeds is from how many seeds on every rare state must have been reached: a simulation that never
// gets there proves nothing about it.
const rareSeeds = 10_000

// totals is what all seeds came to. The lowest seed that broke a promise counts.
type totals struct {
	sync.Mutex
	counters      sim.Counters
	seeds, events uint64
	violation     *sim.Violation
}

func (t *totals) add(r sim.Result) {
	t.Lock()
	defer t.Unlock()
	t.seeds++
	t.events += r.Events
	t.counters.Add(r.Counters)
	if r.Violation != nil && (t.violation == nil || r.Seed < t.violation.Seed) {
		t.violation = r.Violation
	}
}

func (t *totals) broken() bool {
	t.Lock()
	defer t.Unlock()
	return t.violation != nil
}

// play runs seeds on all processors and ends with the line of totals.
func play(ctx context.Context, o options, out io.Writer) error {
	total := &totals{}
	progress := newProgress(out)
	var next atomic.Uint64
	workers := runtime.GOMAXPROCS(0)
	var settings sim.Options
	if o.trace {
		workers = 1
		settings.Trace = func(line string) { fmt.Fprintln(out, line) }
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil && !total.broken() {
				i := next.Add(1) - 1
				if o.seeds > 0 && i >= o.seeds {
					return
				}
				total.add(sim.Run(o.first+i, settings))
				progress.show(total)
			}
		})
	}
	group.Wait()
	progress.clear()
	return total.report(out)
}

// report prints the totals, and says what is wrong.
func (t *totals) report(out io.Writer) error {
	violations := 0
	if t.violation != nil {
		violations = 1
		fmt.Fprintf(out, "%v\nreproduce: go run ./cmd/sim --seed %d --trace\n", t.violation, t.violation.Seed)
	}
	fmt.Fprintf(out, "seeds=%d events=%d crashes=%d partitions=%d acked=%d violations=%d rare=%s\n",
		t.seeds, t.events, t.counters.Crashes, t.counters.Partitions, t.counters.Acked, violations, t.counters)
	if t.violation != nil {
		return fmt.Errorf("seed %d breaks a promise", t.violation.Seed)
	}
	for _, r := range t.counters.Rare {
		if t.seeds >= rareSeeds && r.Count == 0 {
			return fmt.Errorf("%s was reached in none of %d seeds", r.Name, t.seeds)
		}
	}
	return nil
}

// playMutants requires that each known bug is caught. They are looked for side by side, and reported
// in their order.
func playMutants(ctx context.Context, o options, out io.Writer) error {
	mutants := slices.DeleteFunc(sim.Mutants(), func(m sim.Mutant) bool {
		return o.only != "" && o.only != m.String()
	})
	lines := make([]chan string, len(mutants))
	var next, missed atomic.Int64
	for i := range lines {
		lines[i] = make(chan string, 1)
	}
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(mutants); i = next.Add(1) - 1 {
				seed, caught := sim.Catch(ctx, mutants[i], o.first, o.seeds)
				if caught {
					lines[i] <- fmt.Sprintf("caught %s seed=%d", mutants[i], seed)
				} else {
					missed.Add(1)
					lines[i] <- fmt.Sprintf("missed %s", mutants[i])
				}
			}
		})
	}
	for _, line := range lines {
		fmt.Fprintln(out, <-line)
	}
	group.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("look for known bugs: %w", context.Cause(ctx))
	case missed.Load() > 0:
		return fmt.Errorf("%d of %d known bugs were missed", missed.Load(), len(mutants))
	}
	return nil
}

// progress is a line that is written over, on a terminal only.
type progress struct {
	out   io.Writer
	on    bool
	began time.Time
	mu    sync.Mutex
	next  time.Time
}

func newProgress(out io.Writer) *progress {
	file, ok := out.(*os.File)
	return &progress{out: out, on: ok && term.IsTerminal(int(file.Fd())), began: time.Now()}
}

func (p *progress) show(t *totals) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.on && now.After(p.next) {
		p.next = now.Add(time.Second / 4)
		t.Lock()
		defer t.Unlock()
		seconds := now.Sub(p.began).Seconds()
		fmt.Fprintf(p.out, "\r%d seeds, %d events, %.0f events/s\x1b[K", t.seeds, t.events,
			float64(t.events)/max(seconds, 0.001))
	}
}

func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
