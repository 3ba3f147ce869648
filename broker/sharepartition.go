package broker

import (
	"fmt"
	"slices"
	"sync"

	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// errShareLoading: the state of a share-partition is not read yet. Whoever fetches waits.
var errShareLoading = fmt.Errorf("%w: state of the share-partition", errCoordinatorLoading)

// sharePartition is what one share group makes of one partition, while this node leads that in one epoch.
type sharePartition struct {
	all   *sharePartitions
	key   share.Key
	log   *partition.Log
	epoch topic.Epoch
	mu    struct {
		sync.Mutex
		// machine is nil until the state is read.
		machine *share.Partition
		// over, once set, is what ended it; another one begins with what is kept.
		over error
		// asking: a request to the state's coordinator is under way, or waits to be made again.
		asking bool
		// reading: somebody reads the log for what it will acquire.
		reading bool
		// skipped: somebody wanted to read meanwhile.
		skipped bool
		// waits are acknowledgements that are not kept yet, in their order.
		waits []shareWait
		// watchers are signalled when there may be more to acquire.
		watchers map[chan<- struct{}]bool
		// used is when somebody last asked, in milliseconds of sharePartitions.now.
		used int64
	}
}

// shareWait is an acknowledgement that waits until a write is kept.
type shareWait struct {
	number uint64
	told   chan<- error
}

func newSharePartition(all *sharePartitions, key share.Key, log *partition.Log, epoch topic.Epoch) *sharePartition {
	p := &sharePartition{all: all, key: key, log: log, epoch: epoch}
	p.mu.watchers = map[chan<- struct{}]bool{}
	p.mu.used = all.now()
	return p
}

// why is what p was ended for, nil if it was not.
func (p *sharePartition) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.over
}

// leads reports whether this node leads the partition in the epoch of p.
func (p *sharePartition) leads() bool {
	role := p.log.State().Role
	return role.Leading && role.Epoch == p.epoch
}

// with has f look at the machine, or change it; what is to be kept then is on its way.
func (p *sharePartition) with(limits share.Limits, f func(m *share.Partition, now int64) error) error {
	now := p.all.now()
	p.mu.Lock()
	p.mu.used = now
	m, err := p.mu.machine, p.mu.over
	if err == nil && m == nil {
		err = errShareLoading
	}
	if err != nil {
		p.mu.Unlock()
		return err
	}
	m.SetLimits(limits)
	m.Tick(now)
	err = f(m, now)
	due := !p.mu.asking && m.Write() != nil
	p.mu.Unlock()
	if due {
		p.all.ask(p)
	}
	return err
}

// acknowledge takes what a member says of its records. The answer comes when it is kept, or when p ends.
func (p *sharePartition) acknowledge(
	limits share.Limits, member string, acks []share.Ack, told chan<- error,
) error {
	return p.with(limits, func(m *share.Partition, now int64) error {
		wait, err := m.Acknowledge(member, acks, now)
		if err != nil {
			return err
		}
		p.signalLocked()
		if wait <= m.Kept() {
			told <- nil
			return nil
		}
		p.mu.waits = append(p.mu.waits, shareWait{wait, told})
		return nil
	})
}

// release gives back what a member has.
func (p *sharePartition) release(limits share.Limits, member string) {
	// One that is over has given back everything.
	_ = p.with(limits, func(m *share.Partition, _ int64) error {
		m.Release(member)
		p.signalLocked()
		return nil
	})
}

// begin reserves the reading of the log, and says from where; not ok if there is nothing to acquire, or
// somebody else reads. logStart is where the log begins.
func (p *sharePartition) begin(limits share.Limits, logStart topic.Offset) (from topic.Offset, ok bool, err error) {
	err = p.with(limits, func(m *share.Partition, _ int64) error {
		m.Trim(int64(logStart))
		next, some := m.Next()
		if ok = some && !p.mu.reading; ok {
			p.mu.reading, from = true, topic.Offset(next)
		}
		p.mu.skipped = p.mu.skipped || some && !ok
		return nil
	})
	return from, ok, err
}

// acquire ends the reading, and gives the member what it may have of what was read. There is more if all of
// that was nothing to give.
func (p *sharePartition) acquire(
	limits share.Limits, a share.Acquire,
) (given []share.Batch, more bool, err error) {
	p.mu.Lock()
	p.mu.reading = false
	if p.mu.skipped {
		p.mu.skipped = false
		p.signalLocked()
	}
	p.mu.Unlock()
	err = p.with(limits, func(m *share.Partition, now int64) error {
		given = m.Acquire(a, now)
		next, some := m.Next()
		more = some && next > a.From && len(given) == 0
		return nil
	})
	return given, more, err
}

// watch has a channel signalled whenever there may be more to acquire.
func (p *sharePartition) watch(wake chan<- struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.watchers[wake] = true
}

func (p *sharePartition) unwatch(wake chan<- struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.watchers, wake)
}

func (p *sharePartition) signalLocked() {
	for wake := range p.mu.watchers {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// loaded begins with what was kept.
func (p *sharePartition) loaded(l share.Loaded) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.over == nil {
		p.mu.machine = share.NewPartition(l)
		p.signalLocked()
		p.noteLettersLocked()
	}
}

// noteLettersLocked has dead letters written, if there are any.
func (p *sharePartition) noteLettersLocked() {
	if len(p.mu.machine.Letters(1)) > 0 {
		p.all.broker.letters.note(p)
	}
}

// letters are the dead letters to write next, none if p is over.
func (p *sharePartition) letters(most int64) []share.Letter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.over != nil || p.mu.machine == nil {
		return nil
	}
	return p.mu.machine.Letters(most)
}

func (p *sharePartition) hasLetters() bool { return len(p.letters(1)) > 0 }

// wrote tells that letters are written up to an offset; that is on its way to be kept then.
func (p *sharePartition) wrote(letters []share.Letter, last int64) {
	p.mu.Lock()
	if p.mu.over != nil {
		p.mu.Unlock()
		return
	}
	for _, l := range letters {
		p.mu.machine.Wrote(l.First, min(l.Last, last))
	}
	due := !p.mu.asking && p.mu.machine.Write() != nil
	p.signalLocked() // the start may have moved, and with it how far records are given
	p.mu.Unlock()
	if due {
		p.all.ask(p)
	}
}

// written tells that a write is kept.
func (p *sharePartition) written(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.over != nil {
		return
	}
	p.mu.machine.Written(number)
	kept := p.mu.machine.Kept()
	p.mu.waits = slices.DeleteFunc(p.mu.waits, func(w shareWait) bool {
		if w.number > kept {
			return false
		}
		w.told <- nil
		return true
	})
	p.signalLocked()
	p.noteLettersLocked()
}

// end gives p up. What waits for something to be kept does not hear that it is.
func (p *sharePartition) end(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.over != nil {
		return
	}
	p.mu.over = why
	for _, w := range p.mu.waits {
		w.told <- why
	}
	p.mu.waits = nil
	p.signalLocked()
}

// job is what is to be asked of the coordinator: the state itself, if write is nil, or that a write be kept.
// There is none while one is under way, and none when everything is kept.
func (p *sharePartition) job() (write *share.Write, some bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.over != nil || p.mu.asking {
		return nil, false
	}
	if p.mu.machine != nil {
		if write = p.mu.machine.Write(); write == nil {
			return nil, false
		}
	}
	p.mu.asking = true
	return write, true
}

// asked ends a job, and reports whether there is another one.
func (p *sharePartition) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.asking = false
	return p.mu.over == nil && (p.mu.machine == nil || p.mu.machine.Write() != nil)
}

// rests ends p if nothing is lost with it: another one begins with what is kept.
func (p *sharePartition) rests() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.over != nil || p.mu.machine == nil || !p.mu.machine.Idle() {
		return false
	}
	p.mu.over = errShareLoading
	p.signalLocked()
	return true
}

// sharePartitionIdle is how long a share-partition that nobody asks for is kept in memory.
const sharePartitionIdle = 30_000

// tick gives back what was held for too long. It reports whether p is to go, and whether something is to be
// kept.
func (p *sharePartition) tick(limits share.Limits) (gone, due bool) {
	if !p.leads() {
		p.end(partition.ErrNotLeader)
		return true, false
	}
	now := p.all.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.mu.machine
	idle := now-p.mu.used > sharePartitionIdle
	if p.mu.over == nil && idle && (m == nil || m.Idle()) {
		p.mu.over = errShareLoading
	}
	if p.mu.over != nil || m == nil {
		return p.mu.over != nil, false
	}
	m.SetLimits(limits)
	if m.Wake() <= now {
		m.Tick(now)
		p.signalLocked()
	}
	return false, !p.mu.asking && m.Write() != nil
}
