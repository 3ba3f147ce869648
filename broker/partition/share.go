package partition

import (
	"context"
	"errors"
	"time"
)

// To drain, to copy what is needed of packs, to compact logs and to remove files gives space back, and takes the disk and the CPU
// from those who append. How much of the time such a job may have is decided here, for all in the same way; while one stops, so
// do the others, which take turns:
//
//	the store is idle      all of the time
//	anything is appended   a 128th of the processors, in small pieces; if what a job could free is more than what would
//	                       stay, beyond a few files, more: all of the time once it is three times that
//	much waits             the same, whatever the job is: more once twice as much waits to be drained as may, all of the
//	                       time at four times
//
// So under load that lasts the space in use is bounded by what is needed, as long as a job that has all of the
// time frees more than comes in. Appends pay for it, the more the further they are ahead.
const (
	// shareOfProcessors is little, since brokers that share a machine have it each. Three of them on two processors made the
	// slowest percent of requests half as long again with a sixteenth of the time each while the processors were busy for
	// four fifths of it, and a quarter longer with 1,000 requests per second.
	shareOfProcessors = 1.0 / 128
	// shareLeast bounds it, and is for what takes no processor, or must be done today.
	shareLeast = 1.0 / 16
	// crowdedLeast and crowdedAll are between which crowding the share grows.
	crowdedLeast, crowdedAll = 1.0, 3.0
	// shareSlackFiles is how many files of the WAL may be dead before that counts.
	shareSlackFiles = 4
	// piledMay is how many times what may wait to be drained waits before jobs have more of the time, for that or to be
	// out of its way.
	piledMay = 2.0
	// creditMax is how much of its share a job may save up that is not stopped in its midst.
	creditMax = time.Second / 2
	// debtMin is for how much a job is stopped at all, debtMax for how much at most, and owesMax for how long it is stopped
	// for that: the rest of a piece that took longer was the disk's fault, or that of whoever stopped the process. stopMax
	// is for how long at once.
	debtMin, debtMax, owesMax, stopMax = time.Millisecond, 250 * time.Millisecond, 4 * time.Second, 50 * time.Millisecond
	// pieceBytes is how much is read and written in between, and pieceLeast how much is read while others want the disk:
	// what they write waits for a read on the device. Reads of 512 KiB, 40 MB/s of them, made the slowest percent of synced
	// writes twice as long, and such of 64 KiB come to half of the throughput.
	pieceBytes, pieceLeast = 256 << 10, 64 << 10
)

// crowding is how many times what stays could be freed.
func crowding(freed, stays, slack int64) float64 {
	return float64(max(0, freed-slack)) / float64(max(1, stays))
}

// leastOf is the part of the time that a job may have beside others however little waits, on so many processors.
func leastOf(processors int) float64 {
	return min(shareLeast, shareOfProcessors*float64(processors))
}

// shareOf is the part of the time that a job may have.
func shareOf(asked demand, crowding, least float64) float64 {
	if asked == idle || crowding >= crowdedAll {
		return 1
	}
	grown := max(0, crowding-crowdedLeast) / (crowdedAll - crowdedLeast)
	return least + (1-least)*grown
}

// allowance is the time that a job may still spend. It is in debt after work that took longer, and then waits.
type allowance struct {
	// crowding is what the share depends on beside the demand.
	crowding, share float64
	// spares: the job takes no processor to speak of, only the disk. bounded: it takes no more than what is appended makes,
	// and what is not done today is to be done tomorrow.
	spares, bounded bool
	credit          time.Duration
	// at is when the credit was counted.
	at time.Duration
}

// pass gives the job its share of the time since it was counted last.
func (a *allowance) pass(now time.Duration, share float64) {
	earned := time.Duration(float64(now-a.at) * share)
	a.share, a.credit, a.at = share, min(a.credit+earned, creditMax), now
}

// spend counts what has passed since pass as spent. The job earns its share of that time as well.
func (a *allowance) spend(now time.Duration) {
	a.credit -= now - a.at
	a.pass(now, a.share)
}

// may reports whether the job may begin with something.
func (a *allowance) may() bool { return a.credit >= 0 }

// owes reports whether the job has had so much that it is stopped in its midst.
func (a *allowance) owes() bool { return a.credit <= -debtMin }

// due is when the job may go on.
func (a *allowance) due() time.Duration {
	return a.at + time.Duration(float64(max(0, -a.credit))/a.share)
}

// grant gives a job its share of the time since it was counted last, as things are now.
func (d *drainer) grant(a *allowance, now time.Duration, crowding float64) {
	a.crowding = crowding
	a.pass(now, d.shareOf(a))
}

// shareOf is the part of the time that a job may have now.
func (d *drainer) shareOf(a *allowance) float64 {
	asked, least := d.store.demand(), shareLeast
	if !a.spares && !a.bounded {
		least = leastOf(d.store.cfg.Processors)
	}
	crowding := a.crowding
	if !a.spares {
		crowding = max(crowding, d.store.piles())
	}
	return shareOf(asked, crowding, least)
}

// piles is the crowding by what waits to be drained, if it is drained now.
func (s *Store) piles() float64 {
	if s.demand() == busy && !s.adopts() || s.drained.stuck.Load() > 0 {
		return 0
	}
	return s.piled() - piledMay + crowdedLeast
}

// errEnding ends a copy in its midst, since the store ends: it is given up and begun anew by the next run, so that a
// clean stop waits neither for the rest of a large file nor for what it has to pause for.
var errEnding = errors.New("the store ends")

// ends is errEnding once the store ends.
func (d *drainer) ends() error {
	if d.ending != nil && d.ending() {
		return errEnding
	}
	return nil
}

// breathe stops a job that has had more than its share until it may go on: after each piece of its work, so that
// nobody waits for longer than one takes. An error is errEnding.
func (d *drainer) breathe(a *allowance) error {
	d.relent(a, d.store.urges)
	return d.ends()
}

// relent is breathe for what must not end in its midst. While the job's end is urgent it goes on, and owes that.
func (d *drainer) relent(a *allowance, urgent func() bool) {
	_ = d.rest(a, urgent, func() error { return nil })
}

// rest is relent that does something else while it stops, whose error ends it.
func (d *drainer) rest(a *allowance, urgent func() bool, meanwhile func() error) error {
	if a.spend(d.store.cfg.Now()); d.pause == nil {
		return nil
	}
	if a.credit = min(a.credit, 0); !a.owes() {
		return nil
	}
	a.share = d.shareOf(a)
	a.credit = max(a.credit, -min(debtMax, time.Duration(float64(owesMax)*a.share)))
	for left := a.due() - a.at; left > 0; left = min(left-stopMax, a.due()-d.store.cfg.Now()) {
		if d.store.demand() == idle {
			a.credit = 0
			break
		}
		if err := meanwhile(); err != nil {
			return err
		}
		if urgent() || !d.pause(min(left, stopMax)) {
			return nil
		}
	}
	a.pass(d.store.cfg.Now(), a.share)
	return nil
}

// piece is how much a job may read at once.
func (d *drainer) piece(a *allowance) int64 {
	if a.share < 1 && !d.store.urges() {
		return pieceLeast
	}
	return pieceBytes
}

// pay counts bytes that a compaction has moved against the rate that it may have.
func (d *drainer) pay(bytes int64) {
	if rate := d.store.cfg.CompactBytesPerSecond; rate > 0 {
		d.moving.credit -= time.Duration(float64(bytes) / rate * float64(time.Second))
	}
}

// throttle stops a compaction that has moved more than its rate allows, until it may go on or there is something else
// to do. Unlike breathe it knows nothing that is urgent: the rate is the operator's word.
func (d *drainer) throttle(until func() bool) {
	for d.pause != nil && !until() {
		d.moving.pass(d.store.cfg.Now(), 1)
		if d.moving.may() || !d.pause(min(d.moving.due()-d.moving.at, stopMax)) {
			return
		}
	}
}

// urges reports whether others wait for the end of what is copied: producers, or space that could be given back.
func (s *Store) urges() bool {
	return s.pressed() || s.starves() || s.adopts() && s.overdue()
}

// waits reports whether something else is to be done, which a job that could go on later does not hold up.
func (s *Store) waits() bool { return s.pressed() || s.starves() || s.adopts() }

// hurries is urges for an adoption, which others do not wait for as long as little waits beside it.
func (s *Store) hurries() bool { return s.pressed() || s.digests.burdens() || s.starves() }

// starves reports whether space is scarce that could be given back.
func (s *Store) starves() bool {
	return s.scarce() && (s.doomed.Load() || s.dropped.Load() != s.swept.Load() || s.walLog.Waste() > 0)
}

// pause lets so much time pass, unless ctx ends.
func pause(ctx context.Context, d time.Duration) (passed bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
