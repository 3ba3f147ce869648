package lines

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

// choreFigures are the counters that tell what was done beside a line. The leaders of partitions delete, all
// replicas compact and drain.
var choreFigures = []struct {
	counter, figure, name, unit string
	// per is how many of what the counter counts make one of the unit.
	per float64
}{
	{"outrigger_broker_retention_deleted_bytes_total", "deleted", "meanwhile deleted by retention", "MB", 1e6},
	{"outrigger_compaction_read_bytes_total", "compacted", "meanwhile read by compaction, 3 replicas", "MB", 1e6},
	{"outrigger_compaction_saved_bytes_total", "freed", "meanwhile freed by compaction, 3 replicas", "MB", 1e6},
	{"outrigger_drained_files_total", "drained", "meanwhile drained, 3 replicas", "files", 1},
}

func choreCounters() []string {
	var names []string
	for _, f := range choreFigures {
		names = append(names, f.counter)
	}
	return names
}

// chores are what a cluster did in a window, by the figures of choreFigures.
type chores map[string]float64

func choresBetween(before, after map[string]float64) chores {
	done := chores{}
	for _, f := range choreFigures {
		done[f.figure] = (after[f.counter] - before[f.counter]) / f.per
	}
	return done
}

// values names them as figures of a line.
func (c chores) values(name system.Name, line string) score.Values {
	values := score.Values{}
	for figure, v := range c {
		values[string(name)+"/"+line+"."+figure] = v
	}
	return values
}

// doubts is why a sample says nothing of what retention and compaction cost.
func (c chores) doubts(name system.Name, line string) error {
	var errs []error
	for _, f := range choreFigures {
		done := c[f.figure]
		switch {
		case done < 0:
			errs = append(errs, fmt.Errorf("%s: went back by %g %s, a broker began anew", f.name, -done, f.unit))
		case name == system.Kept && done == 0 && demanded(f.figure, line):
			errs = append(errs, fmt.Errorf("%s: nothing", f.name))
		case name == system.Bare && f.figure != "drained" && done > 0:
			errs = append(errs, fmt.Errorf("%s: %g %s where there was to be none", f.name, done, f.unit))
		}
	}
	return errors.Join(errs...)
}

// demanded reports whether something must have been done. Who only reads fills no files that could be drained, nor do
// 1,000 records a second, and drains stop while somebody reads much. A compaction frees space at its end, which may lie
// outside of a window in which it was at work all the time.
func demanded(figure, line string) bool {
	switch figure {
	case "drained":
		return slices.Contains([]string{Throughput, Small, Single, Latency}, line)
	case "freed":
		return false
	}
	return true
}

// window is a part of the time since a sample was begun.
type window struct {
	from, to time.Duration
	// open: it lasts until the sample is over, whenever that is; to is a guess.
	open bool
}

// moment is when something is to be done: the counters are read, or one more topic is compacted.
type moment struct {
	at    time.Duration
	read  bool
	topic int
}

// moments spread the compactions of so many topics over the time up to the end of the window, and read the counters
// at its ends, but for an open one's.
func (w window) moments(topics int) []moment {
	all := []moment{{at: w.from, read: true}}
	for i := range topics {
		all = append(all, moment{at: w.to * time.Duration(i) / time.Duration(topics), topic: i})
	}
	if !w.open {
		all = append(all, moment{at: w.to, read: true})
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return all
}
