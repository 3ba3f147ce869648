// Package moves carries out a plan of reassignments, and takes reassignments back. It decides what is begun
// when, when all is done, what becomes of the throttle, and what a person is told who stops it; a cluster
// behind small interfaces does what it decides.
//
//	plan ── some at a time ─> reassignments ── all have ended ─> preferred leaders lead, no throttle
//	                               └── stopped meanwhile ──────> what was begun goes on, throttled as it was
//
// Nothing is remembered between runs: the cluster tells what moves and how it is throttled, and a plan is
// made from where everything will be. So a second run takes up what the first one has left.
package moves

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"outrigger/cmd/outrigger/internal/rebalance"
)

// RateConfig is the brokers' config that bounds moves, in bytes per second.
const RateConfig = "reassignment.throttled.rate"

const (
	poll = 300 * time.Millisecond
	// sizesEvery is how often brokers are asked how far copies are, which costs more than a poll.
	sizesEvery = time.Second
	// leaveTime is for what is to be cleared up after the command was told to stop.
	leaveTime = 10 * time.Second
)

// Partition names one.
type Partition struct {
	Topic string
	Index int32
}

// Move is a reassignment of which replicas on some brokers are filled.
type Move struct {
	Partition
	Adding []int32
}

// Filled is how far the copies of one partition are, in bytes. Of is zero where nobody can tell.
type Filled struct{ Bytes, Of int64 }

// Reassigner is the cluster whose partitions move. Each call may be made again.
type Reassigner interface {
	// Under lists the reassignments under way, whoever began them.
	Under(context.Context) ([]Move, error)
	Begin(context.Context, rebalance.Plan) error
	// TakeBack cancels reassignments; one that has ended meanwhile is none to worry about.
	TakeBack(context.Context, []Move) error
	// PreferLeaders lets the first replicas lead, as far as they can.
	PreferLeaders(context.Context, []Partition) error
}

// Throttle is RateConfig of all brokers.
type Throttle interface {
	// Rate is 0 if there is none.
	Rate(context.Context) (int64, error)
	// SetRate unsets it by 0.
	SetRate(context.Context, int64) error
}

// Cluster is both.
type Cluster interface {
	Reassigner
	Throttle
}

// Options say how a plan is carried out.
type Options struct {
	// Rate is set before anything moves, 0 for no bound; nil leaves what an earlier run has set. Either way
	// nothing is left of it once nothing moves any more.
	Rate *int64
	// AtOnce bounds how many partitions move at the same time, those counted that others have begun.
	AtOnce int
	// Show, if not nil, is told how far it is. Then Sizes is asked how far copies are.
	Show  func(Progress)
	Sizes func(context.Context, []Move) map[Partition]Filled
}

// Progress is how far everything is that moves. OfBytes is zero where nobody can tell.
type Progress struct {
	Partitions, Of int
	Bytes, OfBytes int64
}

// Run begins a plan's moves and waits until nothing moves any more, what others have begun included. If it
// cannot, or the context ends, its error says in one sentence what goes on and what ends that.
func Run(ctx context.Context, c Cluster, plan rebalance.Plan, o Options) error {
	r := &runner{cluster: c, options: o, waiting: slices.Clone(plan), known: map[Partition]*followed{}}
	for _, m := range plan {
		r.follow(Move{Partition{m.Topic, m.Partition}, m.Added()})
	}
	err := r.carryOut(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		// Neither a deadline nor an interrupt is a failure of the cluster, which the caller could take it for.
		err = fmt.Errorf("%d of %d partitions have not moved yet", len(r.order)-r.done(), len(r.order))
	}
	return r.leave(ctx, err)
}

// runner is one Run.
type runner struct {
	cluster Cluster
	options Options
	waiting rebalance.Plan
	// known are the moves of the plan and of others, order as they became known.
	known map[Partition]*followed
	order []*followed
	sized time.Time
}

// followed is a move on its way.
type followed struct {
	Move
	done   bool
	filled Filled
}

func (r *runner) follow(m Move) {
	if r.known[m.Partition] == nil {
		f := &followed{Move: m}
		r.known[m.Partition] = f
		r.order = append(r.order, f)
	}
}

func (r *runner) carryOut(ctx context.Context) error {
	throttled := r.options.Rate == nil
	for {
		under, err := r.cluster.Under(ctx)
		if err != nil {
			return err
		}
		if !throttled && len(under)+len(r.waiting) > 0 {
			if err := r.cluster.SetRate(ctx, *r.options.Rate); err != nil {
				return err
			}
			throttled = true
		}
		if room := r.options.AtOnce - len(under); room > 0 && len(r.waiting) > 0 {
			some := r.waiting[:min(room, len(r.waiting))]
			if err := r.cluster.Begin(ctx, some); err != nil {
				return err
			}
			r.waiting = r.waiting[len(some):]
			continue
		}
		r.note(under)
		r.show(ctx)
		if len(under)+len(r.waiting) == 0 {
			return r.finish(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

// note takes what moves now: all else that was begun is done.
func (r *runner) note(under []Move) {
	open := map[Partition]bool{}
	for _, m := range under {
		r.follow(m)
		open[m.Partition] = true
	}
	for _, m := range r.waiting {
		open[Partition{m.Topic, m.Partition}] = true
	}
	for _, f := range r.order {
		f.done = !open[f.Partition]
	}
}

func (r *runner) done() int {
	n := 0
	for _, f := range r.order {
		n += map[bool]int{true: 1}[f.done]
	}
	return n
}

// show tells how far it is.
func (r *runner) show(ctx context.Context) {
	if r.options.Show == nil {
		return
	}
	if time.Since(r.sized) >= sizesEvery {
		r.sized = time.Now()
		var open []Move
		for _, f := range r.order {
			if !f.done && len(f.Adding) > 0 {
				open = append(open, f.Move)
			}
		}
		for at, filled := range r.options.Sizes(ctx, open) {
			r.known[at].filled = filled
		}
	}
	p := Progress{Partitions: r.done(), Of: len(r.order)}
	for _, f := range r.order {
		if f.done {
			f.filled.Bytes = f.filled.Of
		}
		p.Bytes, p.OfBytes = p.Bytes+f.filled.Bytes, p.OfBytes+f.filled.Of
	}
	r.options.Show(p)
}

// finish comes when nothing moves any more.
func (r *runner) finish(ctx context.Context) error {
	if err := unthrottle(ctx, r.cluster); err != nil {
		return err
	}
	var moved []Partition
	for _, f := range r.order {
		moved = append(moved, f.Partition)
	}
	if len(moved) == 0 {
		return nil
	}
	return r.cluster.PreferLeaders(ctx, moved)
}

// leave clears up behind a run that did not come to its end, whose own context may have ended. While
// something moves, the throttle stays: who asked for one does not want it to go on at full speed.
func (r *runner) leave(ctx context.Context, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	under, err := r.cluster.Under(ctx)
	rate := int64(0)
	if err == nil {
		rate, err = r.cluster.Rate(ctx)
	}
	if err == nil && len(under) == 0 {
		if err = unthrottle(ctx, r.cluster); err == nil {
			return failure
		}
	}
	if err != nil {
		return fmt.Errorf("%w; `outrigger cluster status` tells what moves and whether %s is left behind, "+
			"`outrigger cluster cancel` ends both (%v)", failure, RateConfig, err)
	}
	slow := ""
	if rate > 0 {
		slow = fmt.Sprintf(" at %d bytes/s", rate)
	}
	return fmt.Errorf("%w; %d reassignments that were begun go on%s: the same command again begins the rest, waits, and ends "+
		"the throttle, `outrigger cluster cancel` takes them back", failure, len(under), slow)
}

func unthrottle(ctx context.Context, t Throttle) error {
	rate, err := t.Rate(ctx)
	if err != nil || rate == 0 {
		return err
	}
	return t.SetRate(ctx, 0)
}

// Cancel takes back what moves of what is chosen, and ends the throttle if nothing moves then. It returns
// what it has taken back and how many go on.
func Cancel(ctx context.Context, c Cluster, chosen func(Partition) bool) (taken []Move, left int, err error) {
	under, err := c.Under(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, m := range under {
		if chosen(m.Partition) {
			taken = append(taken, m)
		}
	}
	if len(taken) > 0 {
		if err := c.TakeBack(ctx, taken); err != nil {
			return nil, 0, err
		}
		if under, err = c.Under(ctx); err != nil {
			return taken, 0, errors.Join(errors.New("reassignments are taken back, the throttle may be left"), err)
		}
	}
	if len(under) > 0 {
		return taken, len(under), nil
	}
	return taken, 0, unthrottle(ctx, c)
}
