package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"outrigger/e2e/history"
)

// finalConsumers read everything back.
const finalConsumers = 2

// outcome is what a mode hands to the report.
type outcome struct {
	load         *load
	verification Verification
	failover     *Gaps
}

func (b *bench) runMode(ctx context.Context) (*outcome, error) {
	switch b.o.Mode {
	case Consume:
		return b.consume(ctx)
	case Create:
		return b.create(ctx)
	default:
		return b.produce(ctx)
	}
}

// produce is every mode with producers: it differs in who reads meanwhile, and in whether a broker dies.
func (b *bench) produce(ctx context.Context) (*outcome, error) {
	start, err := b.bounds(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{Produced}
	if b.o.Mode == EndToEnd || b.o.Mode == Mixed {
		names = append(names, Consumed)
	}
	if b.o.Mode == Mixed {
		names = append(names, Reread)
	}
	l := b.newLoad(b.o.Load.window(), names...)
	out := &outcome{load: l}
	if b.o.Mode == Failover {
		l.silence = newSilence(b.partitions, l.window.from)
	}
	err = l.run(ctx, func(ctx context.Context) error { return l.withReaders(ctx, endsOf(start), out) })
	if err != nil {
		return nil, err
	}
	if out.verification, err = b.verify(ctx, endsOf(start)); err != nil && ctx.Err() == nil {
		// what was measured is told all the same, with the end that it had
		out.verification, err = Verification{Text: err.Error()}, nil
	}
	return out, err
}

// endsOf is where what is written from now on begins.
func endsOf(bounds map[int32]history.Range) map[int32]int64 {
	ends := map[int32]int64{}
	for p, r := range bounds {
		ends[p] = r.End
	}
	return ends
}

// withReaders produces while the readers of the mode read. Those at the tail end when they have read
// everything.
func (l *load) withReaders(ctx context.Context, from map[int32]int64, out *outcome) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var readers sync.WaitGroup
	defer readers.Wait()
	var tail positions
	if m := l.meters[Consumed]; m != nil {
		all, next, err := l.open(reading{name: "tail", count: l.o.Load.Consumers, from: from, meters: m, fromDue: true})
		if err != nil {
			return err
		}
		tail = next
		readers.Go(func() { runAll(ctx, all, func() bool { return false }) })
	}
	rereading, stopRereading := context.WithCancel(ctx)
	defer stopRereading()
	if l.meters[Reread] != nil {
		readers.Go(func() { l.rereads(rereading, from) })
	}
	var killing chan error
	if l.silence != nil {
		killing = make(chan error, 1)
		readers.Go(func() { killing <- l.killLeader(ctx, out) })
	}
	err := l.producers(ctx, 0)
	stopRereading()
	if killing != nil {
		err = errors.Join(err, <-killing)
		if out.failover != nil {
			led, node := out.failover.LedPartitions, out.failover.KilledNode
			*out.failover = l.silence.gaps(l.window.to)
			out.failover.LedPartitions, out.failover.KilledNode = led, node
		}
	}
	if err == nil && tail != nil {
		err = l.caughtUp(ctx, tail)
	}
	cancel()
	return err
}

const (
	catchUpWithin = 2 * time.Minute
)

// caughtUp waits until the consumers at the tail have read what was written.
func (l *load) caughtUp(ctx context.Context, tail positions) error {
	ends, err := l.settled(ctx)
	if err != nil {
		return err
	}
	return eventually(ctx, catchUpWithin, "read to the end", func() error {
		if !tail.reached(ends) {
			return errors.New("consumers lag behind")
		}
		return nil
	})
}

// rereads reads everything from the start, again and again, until ctx ends.
func (l *load) rereads(ctx context.Context, from map[int32]int64) {
	for ctx.Err() == nil {
		ends, err := l.bounds(ctx)
		if err != nil {
			return // ctx ended, or the verification will say it
		}
		all, next, err := l.open(reading{name: "reread", count: 1, from: from, meters: l.meters[Reread]})
		if err != nil {
			l.failures.add("consumer: " + codeOf(err))
			return
		}
		runAll(ctx, all, func() bool { return next.reached(ends) })
		if !pause(ctx, eventuallyWait) {
			return
		}
	}
}

// consume fills the topic if it is empty, and reads all of it once.
func (b *bench) consume(ctx context.Context) (*outcome, error) {
	before, err := b.bounds(ctx)
	if err != nil {
		return nil, err
	}
	filled := recordsIn(before) == 0
	if filled {
		b.live.say("filling the topic")
		fill := b.newLoad(window{to: never}, Produced)
		records := (b.o.Load.FillBytes + int64(b.o.Load.RecordBytes) - 1) / int64(b.o.Load.RecordBytes)
		err := fill.run(ctx, func(ctx context.Context) error { return fill.producers(ctx, records) })
		if err != nil {
			return nil, fmt.Errorf("fill the topic: %w", err)
		}
	}
	ends, err := b.settled(ctx)
	if err != nil {
		return nil, err
	}
	l := b.newLoad(window{to: never}, Consumed)
	l.meaning = ofPolls
	err = l.run(ctx, func(ctx context.Context) error { return l.readAll(ctx, l.meters[Consumed], ends) })
	if err != nil {
		return nil, err
	}
	out := &outcome{load: l}
	if filled {
		out.verification = b.judge()
	} else {
		out.verification = b.judgeReads(recordsIn(ends), l.meters[Consumed].total().records)
	}
	return out, nil
}

func recordsIn(bounds map[int32]history.Range) int64 {
	var records int64
	for _, r := range bounds {
		records += r.End - r.Start
	}
	return records
}

// readAll are final polls, measured or not.
func (l *load) readAll(ctx context.Context, m *meters, ends map[int32]history.Range) error {
	ctx, cancel := context.WithTimeout(ctx, finalWithin)
	defer cancel()
	from := map[int32]int64{}
	for p, r := range ends {
		from[p] = r.Start
	}
	count := finalConsumers
	if m != nil {
		count = l.o.Load.Consumers
	}
	all, next, err := l.open(reading{name: "final", count: count, from: from, final: ends, meters: m})
	if err != nil {
		return err
	}
	runAll(ctx, all, func() bool { return next.reached(ends) })
	if !next.reached(ends) {
		return fmt.Errorf("read everything back: %w", ctx.Err())
	}
	return nil
}

const finalWithin = 30 * time.Minute
