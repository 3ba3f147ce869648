// Command sim plays seeds of the simulated metadata consensus (package sidecar/sim) until it has
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
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
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

// play runs seed after seed and ends with the line of totals.
func play(ctx context.Context, o options, out io.Writer) error {
	var total sim.Counters
	var seeds, events uint64
	var violation *sim.Violation
	progress := newProgress(out)
	for ctx.Err() == nil && violation == nil && (o.seeds == 0 || seeds < o.seeds) {
		var settings sim.Options
		if o.trace {
			settings.Trace = func(line string) { fmt.Fprintln(out, line) }
		}
		result := sim.Run(o.first+seeds, settings)
		seeds++
		events += result.Events
		total.Add(result.Counters)
		violation = result.Violation
		progress.show(seeds, events)
	}
	progress.clear()
	violations := 0
	if violation != nil {
		violations = 1
		fmt.Fprintf(out, "%v\nreproduce: go run ./cmd/sim --seed %d --trace\n", violation, violation.Seed)
	}
	fmt.Fprintf(out, "seeds=%d events=%d crashes=%d partitions=%d acked=%d violations=%d rare=%s\n",
		seeds, events, total.Crashes, total.Partitions, total.Acked, violations, total)
	if violation != nil {
		return fmt.Errorf("seed %d breaks a promise", violation.Seed)
	}
	return nil
}

// playMutants requires that each known bug is caught.
func playMutants(ctx context.Context, o options, out io.Writer) error {
	missed := 0
	for _, mutant := range sim.Mutants() {
		if o.only != "" && o.only != mutant.String() {
			continue
		}
		seed, caught := sim.Catch(ctx, mutant, o.first, o.seeds)
		if ctx.Err() != nil {
			return fmt.Errorf("catch %s: %w", mutant, context.Cause(ctx))
		}
		if caught {
			fmt.Fprintf(out, "caught %s seed=%d\n", mutant, seed)
		} else {
			missed++
			fmt.Fprintf(out, "missed %s\n", mutant)
		}
	}
	if missed > 0 {
		return errors.New("a known bug was missed")
	}
	return nil
}

// progress is a line that is written over, on a terminal only.
type progress struct {
	out   io.Writer
	on    bool
	began time.Time
	next  time.Time
}

func newProgress(out io.Writer) *progress {
	file, ok := out.(*os.File)
	return &progress{out: out, on: ok && term.IsTerminal(int(file.Fd())), began: time.Now()}
}

func (p *progress) show(seeds, events uint64) {
	if now := time.Now(); p.on && now.After(p.next) {
		p.next = now.Add(time.Second / 4)
		seconds := now.Sub(p.began).Seconds()
		fmt.Fprintf(p.out, "\r%d seeds, %d events, %.0f events/s\x1b[K", seeds, events,
			float64(events)/max(seconds, 0.001))
	}
}

func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
