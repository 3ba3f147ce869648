package partition

import (
	"errors"
	"fmt"
	"io"

	"outrigger/broker/wal"
)

// Driver is Run by hand: no goroutine, and the order of the steps is the caller's, as wal.Driver's
// is. It is for one goroutine, which must not wait on the Store beside it: Append with a context
// that has ended is a try.
type Driver struct {
	store *Store
	wal   *wal.Driver
	scrub *wal.Scrubber
}

// Drive returns the driver of a store that is not run, once.
func (s *Store) Drive() (*Driver, error) {
	d, err := s.walLog.Drive()
	if err != nil {
		return nil, fmt.Errorf("drive node WAL: %w", err)
	}
	return &Driver{store: s, wal: d, scrub: s.walLog.Scrubber()}, nil
}

// Turn seals what is queued and hands it to the disk; the observer hears what is sealed.
func (d *Driver) Turn() error { return d.judge(d.wal.Turn()) }

// Tick passes one wal.Config.Sync.Interval.
func (d *Driver) Tick() error { return d.judge(d.wal.Tick()) }

// Writing reports whether a job waits for Disk. Up to two may.
func (d *Driver) Writing() bool { return d.wal.Writing() }

// Disk carries out the I/O of the oldest job. The store hears of the outcome by Complete.
func (d *Driver) Disk() { d.wal.Disk() }

// Written reports whether the outcome of a job waits for Complete.
func (d *Driver) Written() bool { return d.wal.Written() }

// Complete takes the outcome of the oldest job that Disk has carried out: durable ends move, the
// observer and those who wait hear of it. An error wraps wal.ErrFailed: the node has to stop.
func (d *Driver) Complete() error { return d.judge(d.wal.Complete()) }

// Wanted reports whether the WAL wants a file made ahead.
func (d *Driver) Wanted() bool { return d.wal.Wanted() }

// Prepare makes one file, if one is wanted. An error that wraps wal.ErrNoSpace has changed nothing and
// is for later; any other wraps wal.ErrFailed.
func (d *Driver) Prepare() error {
	err := d.wal.Prepare()
	if errors.Is(err, wal.ErrNoSpace) && !errors.Is(err, wal.ErrFailed) {
		return fmt.Errorf("prepare node WAL: %w", err)
	}
	return d.judge(err)
}

// Drain drains a file of the WAL, if one is sealed, and removes the packs that nobody needs. An error
// that wraps wal.ErrNoSpace is for later; after any other the store is of no use any more.
func (d *Driver) Drain() (drained bool, err error) { return d.drain(false) }

// Adopt is Drain while the disk is busy: the file becomes a pack as it is.
func (d *Driver) Adopt() (adopted bool, err error) { return d.drain(true) }

func (d *Driver) drain(adopt bool) (drained bool, err error) {
	if err := d.store.readOne(); err != nil {
		return false, d.store.end(err)
	}
	d.store.spillIndexes()
	if adopt {
		d.store.found.Store(int32(busy))
	} else if d.store.demand() == busy {
		d.store.found.Store(int32(loaded))
	}
	drained, err = d.store.drainer.turn(adopt)
	if err != nil && !errors.Is(err, wal.ErrNoSpace) {
		return false, d.store.end(err)
	}
	return drained, err
}

// Compact goes on compacting, by about so many bytes that are read, and reports whether there is more to do.
// Errors are those of Drain.
func (d *Driver) Compact(bytes int64) (more bool, err error) {
	more, err = d.store.drainer.compact(bytes)
	if err != nil && !errors.Is(err, wal.ErrNoSpace) {
		return false, d.store.end(err)
	}
	return more, err
}

// Scrub verifies the next stretch of the WAL and reports whether a pass ended with it. What it finds is
// in Store.Damaged.
func (d *Driver) Scrub() (passed bool) { return errors.Is(d.scrub.Turn(), io.EOF) }

// judge ends the store when the WAL has failed.
func (d *Driver) judge(err error) error {
	if err == nil {
		return nil
	}
	return d.store.end(err)
}

// Close does what Run does when its context ends: high watermarks are checkpointed, the WAL is
// drained, and every wait ends.
func (d *Driver) Close() error {
	d.store.saveHighWatermarks(0)
	err := d.store.end(errors.Join(d.store.drainer.stop(), d.wal.Close()))
	return errors.Join(err, d.store.bodies.close())
}
