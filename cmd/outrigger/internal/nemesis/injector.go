package nemesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// injector does to the brokers and the network what a fault says, and undoes it. One goroutine owns
// it.
type injector struct {
	net     network
	brokers []*broker
	disk    smallDisk
	// traces is where strace writes what it injected.
	traces string
	logger *slog.Logger
}

// active is a fault that has begun.
type active struct {
	fault Fault
	// until is when it is to be healed.
	until time.Duration
	// heal undoes it; a broker that is down is started.
	heal func(context.Context) error
}

func (i *injector) broker(node int) *broker { return i.brokers[node-1] }

// inject begins a fault.
func (i *injector) inject(ctx context.Context, f Fault) (*active, error) {
	begin := map[Kind]func(context.Context, Fault) (func(context.Context) error, error){
		Kill: i.kill, KillAll: i.killAll, Pause: i.pause, Isolate: i.cut, OneWay: i.cut, Partial: i.cut,
		DiskFull: i.fillDisk, SyncError: i.failSyncs, SyncDelay: i.delaySyncs, BitFlip: i.flip, Wipe: i.wipe,
	}
	heal, err := begin[f.Kind](ctx, f)
	if err != nil {
		return nil, fmt.Errorf("begin %v: %w", f, err)
	}
	return &active{fault: f, heal: heal}, nil
}

func (i *injector) kill(_ context.Context, f Fault) (func(context.Context) error, error) {
	b := i.broker(f.Node)
	b.kill()
	return i.startAgain(b), nil
}

// startAgain starts a broker unless it runs.
func (i *injector) startAgain(b *broker) func(context.Context) error {
	return func(context.Context) error {
		if b.process != nil {
			return nil
		}
		return b.start()
	}
}

// killAll kills all before it waits for any: none may notice that another is gone.
func (i *injector) killAll(_ context.Context, f Fault) (func(context.Context) error, error) {
	for _, b := range i.brokers {
		b.signal(syscall.SIGKILL)
	}
	for _, b := range i.brokers {
		b.kill()
	}
	return func(ctx context.Context) error {
		var errs []error
		for n, node := range f.Order {
			if n > 0 && !pause(ctx, f.Delay) {
				return ctx.Err()
			}
			errs = append(errs, i.startAgain(i.broker(node))(ctx))
		}
		return errors.Join(errs...)
	}, nil
}

func (i *injector) pause(_ context.Context, f Fault) (func(context.Context) error, error) {
	b := i.broker(f.Node)
	b.signal(syscall.SIGSTOP)
	return func(context.Context) error {
		b.signal(syscall.SIGCONT)
		return nil
	}, nil
}

func (i *injector) cut(ctx context.Context, f Fault) (func(context.Context) error, error) {
	if err := i.net.cut(ctx, f.Cuts); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return i.net.mend(ctx, f.Cuts) }, nil
}

func (i *injector) fillDisk(ctx context.Context, f Fault) (func(context.Context) error, error) {
	b := i.broker(f.Node)
	if f.Restart {
		b.kill()
	}
	if err := i.disk.fill(ctx, f.RoomBytes); err != nil {
		return nil, err
	}
	if f.Restart {
		if err := b.start(); err != nil {
			return nil, errors.Join(err, i.disk.widen(ctx))
		}
	}
	return func(ctx context.Context) error {
		return errors.Join(i.disk.widen(ctx), i.startAgain(b)(ctx))
	}, nil
}

func (i *injector) flip(_ context.Context, f Fault) (func(context.Context) error, error) {
	b := i.broker(f.Node)
	b.kill()
	places, err := flipBits(b.dir, f.Flips)
	if err != nil {
		return nil, err
	}
	i.logger.Info("bits flipped", attrNode, f.Node, "places", places)
	return i.startAgain(b), nil
}

func (i *injector) wipe(_ context.Context, f Fault) (func(context.Context) error, error) {
	b := i.broker(f.Node)
	b.kill()
	if err := os.RemoveAll(b.dir); err != nil {
		return nil, err
	}
	return i.startAgain(b), nil
}

// pause waits, and reports whether nobody wanted it to end meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
