package moves

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"outrigger/cmd/outrigger/internal/rebalance"
)

// fake is a cluster whose moves take a while each. Its clock is that of the test's bubble.
type fake struct {
	takes time.Duration
	under map[Partition]time.Time
	begun []Partition
	// atOnce is the most that ever moved together, rates all that was set.
	atOnce    int
	rate      int64
	rates     []int64
	preferred []Partition
	// refuses fails Begin, broken everything; the calls before count down to it.
	refuses error
	broken  error
}

func newFake(takes time.Duration) *fake { return &fake{takes: takes, under: map[Partition]time.Time{}} }

func (f *fake) Under(ctx context.Context) ([]Move, error) {
	if err := f.fails(ctx); err != nil {
		return nil, err
	}
	var under []Move
	for at, began := range f.under {
		if time.Since(began) >= f.takes {
			delete(f.under, at)
			continue
		}
		under = append(under, Move{at, []int32{9}})
	}
	return under, nil
}

func (f *fake) fails(ctx context.Context) error { return errors.Join(ctx.Err(), f.broken) }

func (f *fake) Begin(ctx context.Context, plan rebalance.Plan) error {
	if err := errors.Join(f.fails(ctx), f.refuses); err != nil {
		return err
	}
	for _, m := range plan {
		at := Partition{m.Topic, m.Partition}
		f.begun = append(f.begun, at)
		f.under[at] = time.Now()
	}
	f.atOnce = max(f.atOnce, len(f.under))
	return nil
}

func (f *fake) TakeBack(ctx context.Context, taken []Move) error {
	for _, m := range taken {
		delete(f.under, m.Partition)
	}
	return f.fails(ctx)
}

func (f *fake) PreferLeaders(ctx context.Context, moved []Partition) error {
	f.preferred = moved
	return f.fails(ctx)
}

func (f *fake) Rate(ctx context.Context) (int64, error) { return f.rate, f.fails(ctx) }

func (f *fake) SetRate(ctx context.Context, rate int64) error {
	if err := f.fails(ctx); err != nil {
		return err
	}
	f.rate, f.rates = rate, append(f.rates, rate)
	return nil
}

func planOf(n int32) rebalance.Plan {
	var plan rebalance.Plan
	for i := range n {
		plan = append(plan, rebalance.Move{Topic: "t", Partition: i, From: []int32{1}, To: []int32{9}})
	}
	return plan
}

func wants(t *testing.T, err error, sentences ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range sentences {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

func TestThrottleIsThereFromTheFirstMoveToTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, rate := newFake(time.Second), int64(500)
		if err := Run(t.Context(), f, planOf(5), Options{Rate: &rate, AtOnce: 2}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.rates, []int64{500, 0}) {
			t.Errorf("rates: got %v, want 500, then none", f.rates)
		}
		if len(f.begun) != 5 || f.atOnce != 2 || len(f.preferred) != 5 {
			t.Errorf("got %d begun, %d at once, %d with preferred leaders, want 5, 2, 5", len(f.begun), f.atOnce, len(f.preferred))
		}
	})
}

// Who stops a run, or waits no longer, finds what was begun going on at its rate, and is told what ends it;
// the next run begins the rest, and nothing is left of the throttle although nobody asked for it again.
func TestSecondRunTakesUpWhatAnInterruptedOneHasLeft(t *testing.T) {
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"interrupt": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(1500*time.Millisecond, cancel)
			return ctx, cancel
		},
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 1500*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, rate := newFake(time.Second), int64(500)
				ctx, cancel := end(t.Context())
				defer cancel()
				err := Run(ctx, f, planOf(5), Options{Rate: &rate, AtOnce: 2})
				wants(t, err, "3 of 5 partitions have not moved yet", "2 reassignments that were begun go on at 500 bytes/s",
					"the same command again", "`outrigger cluster cancel`")
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
					t.Errorf("got %v, which passes for a cluster that does not answer", err)
				}
				if f.rate != 500 || len(f.begun) != 4 {
					t.Errorf("got rate %d and %d begun, want 500 and 4", f.rate, len(f.begun))
				}
				if err := Run(t.Context(), f, planOf(5)[4:], Options{AtOnce: 2}); err != nil {
					t.Fatal(err)
				}
				if f.rate != 0 || len(f.under) != 0 || len(f.preferred) != 3 {
					t.Errorf("got rate %d, %d under way, %d with preferred leaders, want 0, 0 and 3", f.rate, len(f.under), len(f.preferred))
				}
			})
		})
	}
}

func TestFailureBeforeAnythingMovesLeavesNoThrottle(t *testing.T) {
	f, rate := newFake(time.Second), int64(500)
	f.refuses = errors.New("reassign t-0: refused")
	err := Run(t.Context(), f, planOf(5), Options{Rate: &rate, AtOnce: 2})
	wants(t, err, "reassign t-0: refused")
	if f.rate != 0 || strings.Contains(err.Error(), "go on") {
		t.Errorf("got rate %d and %q, want no rate and nothing that goes on", f.rate, err)
	}
}

func TestFailureThatHidesWhatMovesSaysSo(t *testing.T) {
	f, rate := newFake(time.Second), int64(500)
	f.broken = errors.New("no answer")
	wants(t, Run(t.Context(), f, planOf(1), Options{Rate: &rate, AtOnce: 1}),
		"no answer", "whether reassignment.throttled.rate is left behind")
}

// With nothing to move a run waits for what others have begun, and clears up behind one that was killed.
func TestRunWithoutAPlanEndsAThrottleThatWasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Second)
		f.under[Partition{"t", 0}], f.rate = time.Now(), 500
		began := time.Now()
		if err := Run(t.Context(), f, nil, Options{AtOnce: 1}); err != nil {
			t.Fatal(err)
		}
		if f.rate != 0 || time.Since(began) < time.Second || f.begun != nil {
			t.Errorf("got rate %d after %v, %v begun, want none after the move", f.rate, time.Since(began), f.begun)
		}
	})
}

func TestProgressIsInBytesAndEndsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(4 * time.Second)
		var seen []Progress
		o := Options{AtOnce: 1, Show: func(p Progress) { seen = append(seen, p) }}
		o.Sizes = func(_ context.Context, open []Move) map[Partition]Filled {
			filled := map[Partition]Filled{}
			for _, m := range open {
				filled[m.Partition] = Filled{Of: 400}
				if began, under := f.under[m.Partition]; under {
					filled[m.Partition] = Filled{100 * int64(time.Since(began)/time.Second), 400}
				}
			}
			return filled
		}
		if err := Run(t.Context(), f, planOf(2), o); err != nil {
			t.Fatal(err)
		}
		first, last := seen[0], seen[len(seen)-1]
		if want := (Progress{0, 2, 0, 800}); first != want {
			t.Errorf("first: got %+v, want %+v", first, want)
		}
		if want := (Progress{2, 2, 800, 800}); last != want {
			t.Errorf("last: got %+v, want %+v", last, want)
		}
		half := func(p Progress) bool { return p.Partitions == 1 && p.Bytes > 400 && p.Bytes < 800 }
		if !slices.ContainsFunc(seen, half) {
			t.Errorf("got %+v, want the second one partly copied in it", seen)
		}
		if !slices.IsSortedFunc(seen, func(a, b Progress) int { return int(a.Bytes - b.Bytes) }) {
			t.Errorf("it goes back: %+v", seen)
		}
	})
}

func TestCancelTakesBackWhatIsChosenAndEndsTheThrottleWithTheLast(t *testing.T) {
	f := newFake(time.Hour)
	now := time.Now()
	f.under[Partition{"t", 0}], f.under[Partition{"u", 0}], f.rate = now, now, 500
	taken, left, err := Cancel(t.Context(), f, func(p Partition) bool { return p.Topic == "t" })
	if err != nil || len(taken) != 1 || left != 1 || f.rate != 500 {
		t.Errorf("one of two: got %v, %d left, rate %d, %v", taken, left, f.rate, err)
	}
	all := func(Partition) bool { return true }
	if taken, left, err = Cancel(t.Context(), f, all); err != nil || len(taken) != 1 || left != 0 || f.rate != 0 {
		t.Errorf("the other: got %v, %d left, rate %d, %v", taken, left, f.rate, err)
	}
	f.rate = 500
	if taken, left, err = Cancel(t.Context(), f, all); err != nil || len(taken) != 0 || left != 0 || f.rate != 0 {
		t.Errorf("none: got %v, %d left, rate %d, %v", taken, left, f.rate, err)
	}
}
