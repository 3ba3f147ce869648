package wal

import (
	"fmt"
	"time"

	"outrigger/broker/topic"
)

// jobsMax is how many jobs may be under way: the one at the device and one that follows it without
// waiting for the writer to wake up.
const jobsMax = 2

// job is one round of I/O: write a group, if there is one, then sync files, if there are any, then
// close files.
type job struct {
	group *openGroup
	sync  []*segment
	// close are files that will not be written again; the last sync has seen all of them.
	close []*segment
	// alone says that everything that was written before the group is synced, and sync is its own file: then one
	// operation does both.
	alone bool
	// farewell: the group is the empty one of a clean stop, which nobody needs to hear of.
	farewell bool
}

// result of a job, in the order of the jobs. synced is the highest sequence on stable storage.
type result struct {
	synced uint64
	// waited: a thread waited for the device, see File.WriteDurable.
	waited bool
	// took is how long the device took.
	took time.Duration
	err  error
}

// disk waits for the device, in a goroutine of its own or by a Driver's hand. It holds no lock.
// Neither channel ever makes a sender wait, since at most jobsMax jobs are under way.
type disk struct {
	jobs    chan *job
	results chan result

	// Whoever turns the disk alone touches what follows. It completes each group's header just before
	// the write, when the chain and what is synced are known for certain.
	session topic.Session
	now     func() time.Duration
	last    chain
	synced  uint64
	// failed is the first error; after it nothing is touched any more.
	failed error
	mutant Mutant
}

func newDisk(cfg *Config, last chain) *disk {
	return &disk{
		jobs:    make(chan *job, jobsMax),
		results: make(chan result, jobsMax),
		session: cfg.Session,
		now:     cfg.Now,
		last:    last,
		synced:  last.sequence,
		mutant:  cfg.mutant,
	}
}

// run does the jobs until the channel is closed.
func (d *disk) run() {
	for j := range d.jobs {
		d.turn(j)
	}
}

// turn does one job.
func (d *disk) turn(j *job) {
	var waited bool
	from := d.now()
	if d.failed == nil {
		waited, d.failed = d.do(j)
	}
	d.results <- result{synced: d.synced, waited: waited, took: d.now() - from, err: d.failed}
}

// do writes and syncs. A crash before the sync has returned leaves any subset of the blocks: the
// group's checksum tells. A crash after it leaves all of them.
func (d *disk) do(j *job) (waited bool, err error) {
	if g := j.group; g != nil {
		d.last = g.finish(d.last, d.session, d.synced)
		if j.alone && d.mutant != SkipsSync {
			if waited, err = g.segment.file.WriteDurable(g.buffer[:g.group.Bytes], g.offset); err != nil {
				return waited, fmt.Errorf("write and sync group %d to file %d at byte %d: %w",
					g.group.Sequence, g.segment.number, g.offset, err)
			}
			d.synced = d.last.sequence
			return waited, closeAll(j.close)
		}
		if _, err := g.segment.file.WriteAt(g.buffer[:g.group.Bytes], g.offset); err != nil {
			return false, fmt.Errorf("write group %d to file %d at byte %d: %w",
				g.group.Sequence, g.segment.number, g.offset, err)
		}
	}
	for _, s := range j.sync {
		if d.mutant == SkipsSync {
			break
		}
		if err := s.file.Sync(); err != nil {
			return false, fmt.Errorf("sync file %d: %w", s.number, err)
		}
	}
	if len(j.sync) > 0 {
		d.synced = d.last.sequence
	}
	return false, closeAll(j.close)
}

func closeAll(segments []*segment) error {
	for _, s := range segments {
		if err := s.file.Close(); err != nil {
			return fmt.Errorf("close file %d: %w", s.number, err)
		}
	}
	return nil
}
