package history

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Kept is what retention may not take, as the configs of the topics say. What lies below a start that was seen was
// older than Age, or beyond Bytes, or is below what DeleteRecords was asked for.
type Kept struct {
	// Age is how old a record must be by its timestamp when a start above it is seen. The time of day is the latest that
	// there was: a broker may have gone by it before a clock was put back. Below 0: nothing goes by its age.
	Age time.Duration `json:"age"`
	// Bytes are left above each record that goes by the size of its log. Below 0: none does. It wants every send to be
	// of an idempotent producer, and to have a size.
	Bytes int64 `json:"bytes"`
	// Slack is how much too young a record may seem: what the clocks of clients and brokers may differ by, and what a
	// clock may have been ahead between two looks at it.
	Slack time.Duration `json:"slack"`
}

// Taken counts the records of which it is known where they were and that they are below a start.
type Taken struct {
	// Old ones were older than Kept.Age; of the others, Deleted ones were deleted by a client, and Beyond ones left
	// Kept.Bytes.
	Old     int `json:"old"`
	Deleted int `json:"deleted"`
	Beyond  int `json:"beyond"`
}

// All is how many were judged, and found to be taken rightly.
func (t Taken) All() int { return t.Old + t.Deleted + t.Beyond }

// sighting is an offset of a partition, and when it was seen there or asked for; wall is the time of day then, or the
// latest before.
type sighting struct {
	partition uint32
	offset    int64
	at        time.Duration
	wall      int64
}

// Began notes the first offset of a partition, right after a broker named it. One who looks often sees soon.
func (h *History) Began(topic string, partition int32, start int64) {
	number := h.number(Partition{Topic: topic, ID: partition})
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.clock()
	h.mu.latest = max(h.mu.latest, h.wall())
	h.mu.starts = rise(h.mu.starts, sighting{number, start, at, h.mu.latest})
}

// Deleting notes that everything below an offset is deleted, right before a client asks for it.
func (h *History) Deleting(topic string, partition int32, before int64) {
	number := h.number(Partition{Topic: topic, ID: partition})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.deletions = rise(h.mu.deletions, sighting{number, before, h.clock(), h.wall()})
}

// rise adds what is higher than what the partition had: only the first to see an offset tells anything.
func rise(all []sighting, s sighting) []sighting {
	for _, known := range slices.Backward(all) {
		if known.partition == s.partition {
			if known.offset >= s.offset {
				return all
			}
			break
		}
	}
	return append(all, s)
}

// retention is what is known of how one partition's start moved.
type retention struct {
	// starts and deletions rise, in time and in offset.
	starts, deletions []sighting
	// sent and placed are the sizes of all that may have been written, by time and by offset.
	sent, placed sizes
}

// sizes sums bytes up to a point.
type sizes struct {
	at  []int64
	sum []int64
}

func (s *sizes) below(point int64) int64 {
	n := sort.Search(len(s.at), func(i int) bool { return s.at[i] >= point })
	if n == 0 {
		return 0
	}
	return s.sum[n-1]
}

// passing is the first of rising sightings that lies above an offset.
func passing(all []sighting, offset int64) (sighting, bool) {
	n := sort.Search(len(all), func(i int) bool { return all[i].offset > offset })
	if n == len(all) {
		return sighting{}, false
	}
	return all[n], true
}

// judgeRetention looks at each record that is known to be below a start.
func (c *checker) judgeRetention() {
	kept := c.history.rules.Kept
	if kept == nil {
		return
	}
	logs := c.retentions(kept)
	for i := range c.sends {
		c.judgeTaken(uint32(i), &logs[c.fates[i].partition], kept)
	}
}

func (c *checker) judgeTaken(i uint32, of *retention, kept *Kept) {
	place := c.place(i)
	seen, below := passing(of.starts, place)
	if place == NoOffset || !below {
		return
	}
	taken, sent := &c.verdict.Taken, c.sends[i]
	age := time.Duration(seen.wall-sent.stored.Stamp) * time.Millisecond
	asked, deleted := passing(of.deletions, place)
	// It may have gone for the size of the log, and what comes behind it later for its age.
	switch left := of.sent.below(int64(seen.at)) - of.placed.below(place+1); {
	case kept.Age >= 0 && age >= kept.Age-kept.Slack:
		taken.Old++
	case deleted && asked.at <= seen.at:
		taken.Deleted++
	case kept.Bytes >= 0 && left >= kept.Bytes:
		taken.Beyond++
	default:
		c.report(TakenEarly, seen.partition, func(a *Anomaly) {
			a.Offsets, a.Values = []int64{place, seen.offset}, []Value{sent.value}
			a.Ops = []string{c.sendOp(i), fmt.Sprintf("the start seen at %s: %d, and the record is %s old", seen.at, seen.offset, age)}
		})
	}
}

// retentions sorts what is known by partition.
func (c *checker) retentions(kept *Kept) []retention {
	logs := make([]retention, len(c.partitions))
	starts := append(slices.Clone(c.history.mu.starts), c.passedOver...)
	slices.SortStableFunc(starts, func(a, b sighting) int { return cmp.Compare(a.at, b.at) })
	for _, s := range c.latest(starts) {
		logs[s.partition].starts = rise(logs[s.partition].starts, s)
	}
	for _, s := range c.history.mu.deletions {
		logs[s.partition].deletions = append(logs[s.partition].deletions, s)
	}
	if kept.Bytes >= 0 {
		c.weigh(logs)
	}
	return logs
}

// latest gives sightings, which come in their order, the latest time of day that was there before.
func (c *checker) latest(all []sighting) []sighting {
	looks := slices.Clone(all)
	for _, r := range c.history.mu.consumers {
		for i := range r.mu.polls.len() {
			if p := r.mu.polls.at(i); p.ended != never {
				looks = append(looks, sighting{at: p.ended, wall: p.wall})
			}
		}
	}
	slices.SortFunc(looks, func(a, b sighting) int { return cmp.Compare(a.at, b.at) })
	wall := int64(0)
	for i := range all {
		for ; len(looks) > 0 && looks[0].at <= all[i].at; looks = looks[1:] {
			wall = max(wall, looks[0].wall)
		}
		all[i].wall = wall
	}
	return all
}

// weigh sums what every partition may have held. What may be there more often than once, or in any partition, has no
// weight that is sure.
func (c *checker) weigh(logs []retention) {
	type weight struct{ at, bytes int64 }
	sent, placed := make([][]weight, len(logs)), make([][]weight, len(logs))
	for i, s := range c.sends {
		place, f := c.place(uint32(i)), &c.fates[i]
		if s.outcome == failed && place == NoOffset {
			continue
		}
		if s.stored.Bytes == 0 || f.any && f.at == NoOffset || !c.producerOf(uint32(i)).config.Idempotent {
			c.incomplete("retention by size cannot be judged: %s has no size that is sure", c.sendOp(uint32(i)))
			return
		}
		sent[f.partition] = append(sent[f.partition], weight{int64(s.invoked), int64(s.stored.Bytes)})
		if place != NoOffset {
			placed[f.partition] = append(placed[f.partition], weight{place, int64(s.stored.Bytes)})
		}
	}
	sum := func(all []weight) (summed sizes) {
		slices.SortFunc(all, func(a, b weight) int { return cmp.Compare(a.at, b.at) })
		total := int64(0)
		for _, w := range all {
			total += w.bytes
			summed.at, summed.sum = append(summed.at, w.at), append(summed.sum, total)
		}
		return summed
	}
	for n := range logs {
		logs[n].sent, logs[n].placed = sum(sent[n]), sum(placed[n])
	}
}
