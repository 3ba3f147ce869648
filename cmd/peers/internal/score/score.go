package score

import (
	"math"
	"slices"
)

// Values are the figures of one pair by key, such as "kafka/small.mbps". A figure that could not be
// taken is missing.
type Values map[string]float64

// Means are those of each figure, of the samples that have it.
func Means(samples []Values) Values {
	sums, counts := Values{}, Values{}
	for _, values := range samples {
		for key, v := range values {
			sums[key] += v
			counts[key]++
		}
	}
	for key := range sums {
		sums[key] /= counts[key]
	}
	return sums
}

// Metric is one comparison, and what it has to reach.
type Metric struct {
	Line string `json:"line"`
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Ours and Theirs are keys of Values.
	Ours   string `json:"ours_key"`
	Theirs string `json:"theirs_key"`
	// Peer names who Theirs is of, for people.
	Peer string `json:"against"`
	// Lower says that less is better.
	Lower bool `json:"lower_is_better"`
	// Goal is how many times better ours has to be; 0 is no goal.
	Goal float64 `json:"goal_ratio"`
	// AtMost bounds our median, in Unit; 0 is no bound.
	AtMost float64 `json:"goal_at_most,omitempty"`
}

// ratio is how many times better ours is: above 1 we are ahead, whatever the direction. It is not ok
// where a figure is 0 or below, of which nobody can say how many times another is better.
func (m Metric) ratio(ours, theirs float64) (times float64, ok bool) {
	if !(ours > 0) || !(theirs > 0) || math.IsInf(ours, 0) || math.IsInf(theirs, 0) {
		return 0, false
	}
	if m.Lower {
		return theirs / ours, true
	}
	return ours / theirs, true
}

// Spread is a median with the least and the greatest of N figures; all 0 without any.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// SpreadOf sorts a copy. The median of an even number is the mean of the two in the middle.
func SpreadOf(figures []float64) Spread {
	if len(figures) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1], N: n}
}

// Verdict is what became of a goal.
type Verdict string

// The verdicts. Unknown is a metric with a goal and without figures, or with fewer than were asked
// for: a pair that failed must not pass for one that was won.
const (
	Met     Verdict = "yes"
	Missed  Verdict = "no"
	Unknown Verdict = "unknown"
	NoGoal  Verdict = "-"
)

// Result is a metric with its figures.
type Result struct {
	Metric
	OursSpread   Spread  `json:"ours"`
	TheirsSpread Spread  `json:"theirs"`
	Ratio        Spread  `json:"ratio"`
	Verdict      Verdict `json:"met"`
}

// Collect holds the pairs against the metrics, in their order.
func Collect(metrics []Metric, pairs []Values) []Result {
	var results []Result
	for _, m := range metrics {
		results = append(results, m.collect(pairs))
	}
	return results
}

func (m Metric) collect(pairs []Values) Result {
	var ours, theirs, ratios []float64
	for _, values := range pairs {
		a, haveOurs := values[m.Ours]
		b, haveTheirs := values[m.Theirs]
		if haveOurs {
			ours = append(ours, a)
		}
		if haveTheirs {
			theirs = append(theirs, b)
		}
		if times, ok := m.ratio(a, b); ok && haveOurs && haveTheirs {
			ratios = append(ratios, times)
		}
	}
	r := Result{Metric: m, OursSpread: SpreadOf(ours), TheirsSpread: SpreadOf(theirs), Ratio: SpreadOf(ratios)}
	r.Verdict = r.judge(len(pairs))
	return r
}

func (r Result) judge(pairs int) Verdict {
	switch {
	case r.Goal == 0 && r.AtMost == 0:
		return NoGoal
	case r.Ratio.N < pairs || pairs == 0:
		return Unknown
	case r.Ratio.Median < r.Goal, r.AtMost > 0 && r.OursSpread.Median > r.AtMost:
		return Missed
	}
	return Met
}
