package wal

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Run writes until ctx ends, then what is queued, then returns nil. An error that wraps ErrFailed
// means that a write, a sync or the making of a file went wrong; the log stays failed. Run is called
// once, and never beside a Driver. All goroutines of the log are its own and have ended when it
// returns, and the lock of the directory is given up; reading is still possible until Close.
func (l *Log) Run(ctx context.Context) error {
	d, err := l.Drive()
	if err != nil {
		return err
	}
	beside, stop := context.WithCancel(ctx)
	broken := make(chan error, 1)
	var group sync.WaitGroup
	group.Go(d.disk.run)
	group.Go(func() {
		if err := d.preparer.run(beside); err != nil {
			broken <- err
		}
	})
	group.Go(func() { (&scrub{log: l}).run(beside) })
	for range aheadReaders {
		group.Go(func() { l.readAhead(beside) })
	}
	group.Go(func() { l.shrinkCache(beside) })
	err = d.writer.run(ctx, broken)
	if err != nil {
		err = l.fail(err)
	}
	stop()
	close(d.disk.jobs)
	group.Wait()
	return errors.Join(err, d.release())
}

// Driver is Run without goroutines, a clock or a choice of its own: the same writer, disk and
// preparer, turned by hand. Whoever holds it decides what happens when, so a run can be repeated
// exactly, and stopped between any two steps. It is for one goroutine; of the log's other methods
// those that wait must not be called with a context that lasts.
//
//	Turn ───> [ job, job ] ──> Disk ──> [ result, result ] ──> Complete ──> Turn
//	Prepare, whenever Wanted
//
// After the first error all of them return it, and nothing is touched any more.
type Driver struct {
	log      *Log
	writer   *writer
	disk     *disk
	preparer preparer
	failed   error
}

// Drive returns the driver of a log that is not run, once.
func (l *Log) Drive() (*Driver, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.ran || l.mu.state != running {
		return nil, fmt.Errorf("run: %w", ErrClosed)
	}
	l.mu.ran = true
	d := &Driver{log: l, disk: newDisk(&l.cfg, l.recovered), preparer: preparer{log: l}}
	d.writer = &writer{
		log:      l,
		disk:     d.disk,
		memory:   groupMemory{largest: l.cfg.GroupBytesMax},
		sequence: l.recovered.sequence,
		syncDue:  l.cfg.Now() + l.cfg.Sync.Interval,
	}
	return d, nil
}

// Turn seals and hands to the disk what is queued, as far as that goes: an idle disk gets what there
// is, a busy one only a full group. It does no I/O.
func (d *Driver) Turn() error {
	if d.failed == nil {
		d.writer.advance()
	}
	return d.failed
}

// Tick passes one Config.Sync.Interval: what no later group takes along is handed to the disk to be
// synced. Under Always there is nothing to do.
func (d *Driver) Tick() error {
	if d.failed == nil {
		d.writer.syncIdle()
	}
	return d.failed
}

// Writing reports whether a job waits for Disk. Up to two may.
func (d *Driver) Writing() bool { return d.failed == nil && len(d.disk.jobs) > 0 }

// Disk carries out the I/O of the oldest job: the write of its group, and the sync. The log hears of
// the outcome by Complete.
func (d *Driver) Disk() {
	if d.Writing() {
		d.disk.turn(<-d.disk.jobs)
	}
}

// Written reports whether the outcome of a job waits for Complete.
func (d *Driver) Written() bool { return d.failed == nil && len(d.disk.results) > 0 }

// Complete takes the outcome of the oldest job that Disk has carried out: what it wrote is durable
// now, and the next group goes to the disk. An error wraps ErrFailed.
func (d *Driver) Complete() error {
	if !d.Written() {
		return d.failed
	}
	if err := d.writer.completed(<-d.disk.results); err != nil {
		d.failed = d.log.fail(err)
	}
	return d.failed
}

// Wanted reports whether a file ahead is missing.
func (d *Driver) Wanted() bool { return d.failed == nil && d.preparer.wanted() }

// Prepare makes one file, if one is missing. An error that wraps ErrNoSpace has changed nothing: it is
// for later. Any other wraps ErrFailed.
func (d *Driver) Prepare() error {
	if d.failed != nil {
		return d.failed
	}
	err := d.preparer.turn(context.Background())
	if err != nil && !errors.Is(err, ErrNoSpace) {
		d.failed = d.log.fail(err)
		return d.failed
	}
	return err
}

// Close does what Run does when its context ends: what is queued is written, the chain closed and the
// lock given up. After an error it only lets go of the files, and returns the error once more. The
// driver is of no use afterwards; reading is possible until Log.Close.
func (d *Driver) Close() error {
	if d.failed == nil {
		d.log.stop()
	}
	for d.Turn() == nil && !d.writer.windUp() {
		d.Disk()
		_ = d.Complete() // Turn says it again.
	}
	err := d.failed
	d.failed = ErrClosed
	return errors.Join(err, d.release())
}

// release lets go of what the writer held.
func (d *Driver) release() error {
	d.writer.drop()
	return errors.Join(d.writer.memory.release(), closeAll(d.writer.left), d.log.closeSegments(), d.log.unlock())
}
