package node

import (
	"context"
	"fmt"
)

// task is one part that runs until it is told to stop.
type task struct {
	name   string
	cancel context.CancelFunc
	// done is closed when the part has returned; err may be read then.
	done chan struct{}
	err  error
}

// failure says which task ended by itself.
type failure struct {
	task *task
	err  error
}

// launch starts run as a task. Ending before it was told to is reported on failed, which has room
// for every task.
func launch(name string, failed chan<- failure, run func(context.Context) error) *task {
	ctx, cancel := context.WithCancel(context.Background())
	t := &task{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = run(ctx)
		if ctx.Err() == nil {
			failed <- failure{t, t.err}
		}
	}()
	return t
}

// stop ends the task and returns what it returned, or an error if ctx ends first. A nil task has
// nothing to stop.
func (t *task) stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	t.cancel()
	select {
	case <-t.done:
		if t.err != nil {
			return fmt.Errorf("stop %s: %w", t.name, t.err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", t.name, context.Cause(ctx))
	}
}

// within runs a step that knows no context, and gives it up when ctx ends.
func within(ctx context.Context, name string, step func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		step()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", name, context.Cause(ctx))
	}
}
