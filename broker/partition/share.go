package partition

import "time"

// To copy what is needed of packs and to compact logs gives space back, and takes the disk and the CPU from those
// who append. How much of the time each of the two jobs may have is decided here, for both in the same way:
//
//	the disk is quiet      all of the time
//	otherwise              an eighth of the time; if what a job could free is more than what would stay, beyond a
//	                       few files, more: all of the time once it is three times that
//
// So under load that lasts the space in use is bounded by what is needed, as long as a job that has all of the
// time frees more than comes in. Appends pay for it, the more the further they are ahead.
const (
	shareLeast = 1.0 / 8
	// crowdedLeast and crowdedAll are between which crowding the share grows.
	crowdedLeast, crowdedAll = 1.0, 3.0
	// shareSlackFiles is how many files of the WAL may be dead before that counts.
	shareSlackFiles = 4
	// creditMax is how much of its share a job may save up: it is how long it keeps others waiting at once.
	creditMax = time.Second / 2
)

// crowding is how many times what stays could be freed.
func crowding(freed, stays, slack int64) float64 {
	return float64(max(0, freed-slack)) / float64(max(1, stays))
}

// shareOf is the part of the time that a job may have.
func shareOf(quiet bool, crowding float64) float64 {
	if quiet || crowding >= crowdedAll {
		return 1
	}
	grown := max(0, crowding-crowdedLeast) / (crowdedAll - crowdedLeast)
	return shareLeast + (1-shareLeast)*grown
}

// allowance is the time that a job may still spend. It is in debt after work that took longer, and then waits.
type allowance struct {
	share  float64
	credit time.Duration
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

// may reports whether the job may go on.
func (a *allowance) may() bool { return a.credit >= 0 }

// due is when the job may go on.
func (a *allowance) due() time.Duration {
	return a.at + time.Duration(float64(max(0, -a.credit))/a.share)
}
