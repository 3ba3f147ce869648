package bench

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"outrigger/e2e/history"
)

// Verification is what became of what was acknowledged.
type Verification struct {
	// OK says that it may be relied upon, Skipped that nobody looked.
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"`
	Text    string `json:"text"`
	// Acked records were acknowledged, Seen of them read back at their offsets.
	Acked   int      `json:"acked"`
	Seen    int      `json:"seen"`
	Unknown int      `json:"unknown"`
	Failed  int      `json:"failed"`
	Wrong   []string `json:"wrong,omitempty"`
	Seconds float64  `json:"seconds"`
	// History is where a history that is not valid was written.
	History string `json:"history,omitempty"`
}

func (v Verification) err() error {
	if v.OK {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrVerification, v.Text)
}

// acknowledged has, per partition, the end of what was acknowledged. All producers of a run merge
// theirs into one when they have ended.
type acknowledged []int64

func (a acknowledged) add(partition int32, offset int64) { a[partition] = max(a[partition], offset+1) }

func (a acknowledged) reachedBy(bounds map[int32]history.Range) bool {
	for partition, end := range a {
		if bounds[int32(partition)].End < end {
			return false
		}
	}
	return true
}

// sharedAcknowledged is that of a run.
type sharedAcknowledged struct {
	mu struct {
		sync.Mutex
		ends acknowledged
	}
}

func (s *sharedAcknowledged) merge(other acknowledged) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ends == nil {
		s.mu.ends = make(acknowledged, len(other))
	}
	for partition, end := range other {
		s.mu.ends[partition] = max(s.mu.ends[partition], end)
	}
}

const (
	settleWithin = 30 * time.Second
	settleCalm   = time.Second
)

// settled are the bounds once they hold all that was acknowledged: with acks=1 that is more than what
// is committed, and the rest follows. Without acks it is when nothing moves. What is not there in time
// is missing, and the judgement will say so.
func (b *bench) settled(ctx context.Context) (map[int32]history.Range, error) {
	b.acknowledged.mu.Lock()
	want := b.acknowledged.mu.ends
	b.acknowledged.mu.Unlock()
	var before map[int32]history.Range
	for deadline := time.Now().Add(settleWithin); ; {
		bounds, err := b.bounds(ctx)
		if err != nil {
			return nil, err
		}
		calm := b.o.Load.Acks != acksNone || before != nil && sameEnds(before, bounds)
		if want.reachedBy(bounds) && calm || time.Now().After(deadline) {
			return bounds, nil
		}
		before = bounds
		every := eventuallyWait
		if b.o.Load.Acks == acksNone {
			every = settleCalm
		}
		if !pause(ctx, every) {
			return nil, ctx.Err()
		}
	}
}

func sameEnds(a, b map[int32]history.Range) bool {
	return maps.EqualFunc(a, b, func(x, y history.Range) bool { return x.End == y.End })
}

// verify reads back everything from where this run began to write, and judges.
func (b *bench) verify(ctx context.Context, from map[int32]int64) (Verification, error) {
	if !b.o.Load.Verify {
		return Verification{OK: true, Skipped: true, Text: "skipped"}, nil
	}
	b.live.say("reading everything back")
	began := time.Now()
	ends, err := b.settled(ctx)
	if err != nil {
		return Verification{}, err
	}
	for p, r := range ends {
		r.Start = max(r.Start, from[p])
		ends[p] = r
	}
	l := b.newLoad(window{to: never})
	l.began = time.Now()
	if err := l.readAll(ctx, nil, ends); err != nil {
		return Verification{}, err
	}
	v := b.judge()
	v.Seconds = time.Since(began).Seconds()
	return v, nil
}

// judge lets the history be judged.
func (b *bench) judge() Verification {
	if !b.o.Load.Verify {
		return Verification{OK: true, Skipped: true, Text: "skipped"}
	}
	v := verificationOf(history.Check(b.history), b.o.Load.Acks)
	if !v.OK {
		path, err := b.writeHistory()
		if err != nil {
			v.Wrong = append(v.Wrong, "the history cannot be kept: "+err.Error())
		}
		v.History = path
	}
	return v
}

// verificationOf wants a valid history in which something was acknowledged, unless nobody asked for
// acknowledgements.
func verificationOf(verdict history.Verdict, acks string) Verification {
	v := Verification{OK: verdict.Valid(), Acked: verdict.Acked, Seen: verdict.Seen, Unknown: verdict.Unknown,
		Failed: verdict.Failed, Text: verdict.String(), Wrong: verdict.Incomplete}
	for _, a := range verdict.Anomalies {
		v.Wrong = append(v.Wrong, a.String())
	}
	switch {
	case acks == acksNone:
		v.Text = fmt.Sprintf("nobody asked for acknowledgements: %d records sent, %d read", verdict.Sends, verdict.Reads)
	case verdict.Acked == 0:
		v.OK = false
		v.Wrong = append(v.Wrong, "nothing was acknowledged")
	case v.OK:
		v.Text = fmt.Sprintf("%s acknowledged records read back, each once and at its offset; %d unknown, %d failed",
			count(int64(v.Acked)), v.Unknown, v.Failed)
	}
	if verdict.Seen != verdict.Acked {
		v.OK = false
		v.Wrong = append(v.Wrong, fmt.Sprintf("%d acknowledged records, and %d of them read back", verdict.Acked, verdict.Seen))
	}
	return v
}

// judgeReads is for what others wrote: it can be said only whether it was all read, in order.
func (b *bench) judgeReads(want, got int64) Verification {
	v := Verification{OK: true, Text: fmt.Sprintf("%d records of others read, each once and in order", got)}
	if gaps := b.gaps.Load(); gaps > 0 || got != want {
		v.Text = fmt.Sprintf("%d records of others read, from %d offsets, with %d jumps", got, want, gaps)
		v.OK = got <= want
	}
	return v
}

// writeHistory keeps the history in a temporary file.
func (b *bench) writeHistory() (path string, err error) {
	file, err := os.CreateTemp("", "outrigger-bench-history-*.jsonl")
	if err != nil {
		return "", err
	}
	if _, err := b.history.WriteTo(file); err != nil {
		_ = file.Close() // the write has failed already
		return "", err
	}
	return file.Name(), file.Close()
}
