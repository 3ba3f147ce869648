package lines

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"outrigger/cmd/peers/internal/score"
	"outrigger/cmd/peers/internal/system"
)

func TestKeepingIsChosenByItsName(t *testing.T) {
	for _, c := range []struct{ wanted, want []string }{
		{[]string{Keeping}, KeepingNames},
		{[]string{keepingLine(Tail)}, []string{keepingLine(Tail)}},
		{[]string{keepingLine(Latency)}, []string{keepingLine(Throughput), keepingLine(Latency)}},
		{[]string{Keeping, WAL}, slices.Concat([]string{WAL}, KeepingNames)},
	} {
		if got, err := Select(c.wanted); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v %v, want %v", c.wanted, got, err, c.want)
		}
	}
	if all, err := Select(nil); err != nil || slices.ContainsFunc(all, func(name string) bool { return slices.Contains(KeepingNames, name) }) {
		t.Errorf("without a choice: got %v %v, want nothing of %s", all, err, Keeping)
	}
	if NeedKafka(KeepingNames) || !NeedKafka([]string{keepingLine(Tail), Tail}) {
		t.Errorf("got %v and %v, want Kafka only for a line of its own", NeedKafka(KeepingNames), NeedKafka([]string{Tail}))
	}
}

// Over the pairs each is measured first as often as the other.
func TestKeepingFavoursNoneByItsOrder(t *testing.T) {
	first := map[system.Name]int{}
	for pair := 1; pair <= 6; pair++ {
		order := keepingOrder(pair)
		if first[order[0]]++; len(order) != 2 || order[0] == order[1] {
			t.Errorf("pair %d: got %v, want each once", pair, order)
		}
	}
	if first[system.Bare] != 3 || first[system.Kept] != 3 {
		t.Errorf("got %v first, want each three times", first)
	}
}

// Each figure is held against the same one without, is among what is measured, and what was done stands beside it.
func TestKeepingHoldsEachFigureAgainstTheSameOne(t *testing.T) {
	report := &benchReport{Results: map[string]benchResult{produced: {MBPerSecond: 1}}, Failover: &benchGaps{WorstMillis: 1}}
	for _, name := range KeepingNames {
		line := strings.TrimPrefix(name, keepingPrefix)
		values := score.Values{}
		for _, of := range keepingSystems {
			measured := valuesOf(&system.Cluster{Name: of}, line, report, produced)
			if line == Failover {
				measured = failoverValues(of, report)
			}
			for _, more := range []score.Values{measured, choresBetween(nil, nil).values(of, line)} {
				for key, v := range more {
					values[key] = v
				}
			}
		}
		goals, done := 0, 0
		for _, m := range Metrics([]string{name}) {
			_, ours := values[m.Ours]
			_, theirs := values[m.Theirs]
			if !ours || !theirs || strings.TrimPrefix(m.Ours, "kept/") != strings.TrimPrefix(m.Theirs, "bare/") {
				t.Errorf("%s: %s against %s: want the same figure, that is measured", name, m.Ours, m.Theirs)
			}
			if m.Goal == keepingGoal {
				goals++
			} else if m.Goal == 0 && strings.HasPrefix(m.Name, "meanwhile ") {
				done++
			}
		}
		if goals == 0 || done != len(choreFigures) {
			t.Errorf("%s: got %d goals and %d figures of what was done, want some and %d", name, goals, done, len(choreFigures))
		}
	}
	for _, m := range Metrics([]string{keepingLine(Latency)}) {
		if lower := strings.Contains(m.Name, "open loop"); m.Lower != lower {
			t.Errorf("%s: got lower %v, want %v", m.Name, m.Lower, lower)
		}
	}
}

func TestSampleWithoutChoresHasFailed(t *testing.T) {
	all := chores{"deleted": 10, "compacted": 5, "freed": 3, "drained": 2}
	but := func(figure string, v float64) chores {
		c := maps.Clone(all)
		c[figure] = v
		return c
	}
	for name, c := range map[string]struct {
		done chores
		of   system.Name
		line string
		want string
	}{
		"all was done":                       {all, system.Kept, Throughput, ""},
		"nothing deleted":                    {but("deleted", 0), system.Kept, Tail, "retention: nothing"},
		"nothing compacted":                  {but("compacted", 0), system.Kept, EndToEnd, "read by compaction, 3 replicas: nothing"},
		"a compaction that has not ended":    {but("freed", 0), system.Kept, EndToEnd, ""},
		"nothing drained of much":            {but("drained", 0), system.Kept, Small, "drained, 3 replicas: nothing"},
		"nothing drained while one reads":    {but("drained", 0), system.Kept, Cold, ""},
		"began anew":                         {but("freed", -1), system.Kept, Cold, "went back"},
		"nothing without":                    {chores{"drained": 5}, system.Bare, Throughput, ""},
		"without, and something was deleted": {chores{"deleted": 1}, system.Bare, Throughput, "there was to be none"},
		"without, and it was compacted":      {chores{"compacted": 1}, system.Bare, Cold, "there was to be none"},
	} {
		err := c.done.doubts(c.of, c.line)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestChoresAreWhatTheCountersGrewBy(t *testing.T) {
	before := map[string]float64{choreFigures[0].counter: 1e6, choreFigures[3].counter: 4}
	after := map[string]float64{choreFigures[0].counter: 3.5e6, choreFigures[1].counter: 7e6, choreFigures[3].counter: 6}
	values := choresBetween(before, after).values(system.Kept, Small)
	for key, want := range map[string]float64{"kept/small.deleted": 2.5, "kept/small.compacted": 7, "kept/small.freed": 0, "kept/small.drained": 2} {
		if got, ok := values[key]; !ok || got != want {
			t.Errorf("%s: got %v %v, want %v", key, got, ok, want)
		}
	}
}

// Compaction is at work from the first moment to the last, and what is counted is of the window.
func TestMomentsSpreadOverTheWindow(t *testing.T) {
	text := func(w window) string {
		var all []string
		for _, m := range w.moments(2) {
			what := "read"
			if !m.read {
				what = string(rune('a' + m.topic))
			}
			all = append(all, what+" "+m.at.String())
		}
		return strings.Join(all, ", ")
	}
	if got, want := text(window{from: time.Second, to: 10 * time.Second}), "a 0s, read 1s, b 5s, read 10s"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := text(window{to: time.Second, open: true}), "read 0s, a 0s, b 500ms"; got != want {
		t.Errorf("an open window: got %s, want %s", got, want)
	}
}

func TestUpkeepOverwritesKeysAndExpiresInOrder(t *testing.T) {
	u := &upkeep{expiring: "e", lasts: time.Minute}
	for i := range overwrittenTopics {
		u.overwritten = append(u.overwritten, string(rune('a'+i)))
	}
	const n = overwrittenTopics * 1000
	times := map[string]int{}
	for i := range n {
		r := u.overwriting(i, n)
		times[r.Topic+string(r.Key)]++
	}
	if len(times) != n/overwrittenRounds || times["a0"] != overwrittenRounds {
		t.Errorf("got %d keys, one %d times, want %d and %d", len(times), times["a0"], n/overwrittenRounds, overwrittenRounds)
	}
	first := time.Unix(1000, 0)
	if got := u.expires(first, 0, n).Timestamp; !got.Equal(first) {
		t.Errorf("the first: got %v, want %v", got, first)
	}
	if got := u.expires(first, n/2, n).Timestamp; !got.Equal(first.Add(u.lasts / 2)) {
		t.Errorf("the middle: got %v, want half a minute later", got)
	}
}

// A load that both can take: of a maximum that was measured in the same pair.
func TestHalfLoadIsOfTheSlowerOne(t *testing.T) {
	r := New(Config{})
	r.values = score.Values{"kafka/throughput.records": 100}
	if got, err := r.halfLoad(system.Outrigger); err != nil || got != 50 {
		t.Errorf("beside Kafka: got %v %v, want 50", got, err)
	}
	if got, err := r.halfLoad(system.Kept); err == nil || !strings.Contains(err.Error(), "bare") {
		t.Errorf("nothing known: got %v %v, want an error that says whose", got, err)
	}
	r.values["bare/throughput.records"] = 400
	if got, err := r.halfLoad(system.Kept); err != nil || got != 100 {
		t.Errorf("beside itself: got %v %v, want 100", got, err)
	}
}

func TestWindowLastsUntilAllIsRead(t *testing.T) {
	r := New(Config{Seconds: 2, Warmup: 1, TailBytes: 5e8, ColdBytes: 1e9})
	if got, want := r.window(Small, system.Kept), (window{from: time.Second, to: 3 * time.Second}); got != want {
		t.Errorf("of a line that writes: got %+v, want %+v", got, want)
	}
	if got, want := r.window(Cold, system.Kept), (window{to: 2 * time.Second, open: true}); got != want {
		t.Errorf("nothing known: got %+v, want %+v", got, want)
	}
	r.rates["kept/cold.mbps"], r.rates["kept/tail.mbps"], r.rates["bare/tail.mbps"] = 100, 1000, 1
	if got, want := r.window(Cold, system.Kept), (window{to: 10 * time.Second, open: true}); got != want {
		t.Errorf("1 GB at 100 MB/s: got %+v, want %+v", got, want)
	}
	if got, want := r.window(Tail, system.Kept), (window{to: 2 * time.Second, open: true}); got != want {
		t.Errorf("half a second: got %+v, want %+v", got, want)
	}
}

// Reading goes on for a window, and what it found are the means.
func TestReadsAreRepeatedForAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Seconds: 2})
		n := 0.0
		got, err := r.again(func() (score.Values, error) {
			system.Pause(t.Context(), 900*time.Millisecond)
			n++
			return score.Values{"x": n}, nil
		})()
		if err != nil || n != 3 || got["x"] != 2 {
			t.Errorf("got %v %v after %v times, want the mean of 3", got, err, n)
		}
		gone := errors.New("gone")
		if got, err := r.again(func() (score.Values, error) { return score.Values{"x": 1}, gone })(); !errors.Is(err, gone) || got != nil {
			t.Errorf("got %v %v, want no figures and the error", got, err)
		}
	})
}
