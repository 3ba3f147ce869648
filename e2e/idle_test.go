package e2e

import (
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

const (
	// idleCoreMax is what all brokers of an idle cluster may use together, as a part of one core.
	idleCoreMax = 0.02
	// idleResidentMax is in MiB, for one broker.
	idleResidentMax = 100
	// busyMachine is the use by others, in cores, from which on our own figures are not ours alone:
	// caches are cold and every wake-up costs more.
	busyMachine = 0.25
)

// failure modes 8 and 17: a cluster without traffic elects nobody and costs nothing. CI watches for a
// minute, with no other test beside it; `task idle` for ten.
func TestIdleClusterElectsNobody(t *testing.T) {
	window := 10 * time.Second
	if text := os.Getenv("OUTRIGGER_IDLE"); text != "" {
		var err error
		if window, err = time.ParseDuration(text); err != nil {
			t.Fatalf("OUTRIGGER_IDLE: %v", err)
		}
	}
	c := start(t, options{})
	c.createTopic(0, "idle", 12, 3)
	c.healthy(20 * time.Second)
	awaitQuietMachine(t)
	before := c.electionCounts()
	use := c.watchIdle(window)
	if after := c.electionCounts(); !maps.Equal(before, after) {
		t.Errorf("counters after %s without traffic: got %v, want %v", window, after, before)
	}
	c.healthy(10 * time.Second)
	for i, pid := range c.pids {
		mib := resident(t, pid)
		t.Logf("broker %d: %.2f %% of a core, %.0f MiB resident", i+1, 100*use.broker[i], mib)
		if mib > idleResidentMax {
			t.Errorf("broker %d: %.0f MiB resident, want at most %d", i+1, mib, idleResidentMax)
		}
	}
	t.Logf("all brokers, %s: %.2f %% of a core; median part %.2f %%, quietest %.2f %%; the rest of the machine used %.2f cores",
		window, 100*use.total, 100*use.median, 100*use.quietest, use.others)
	// Noise only adds: up to a minute is judged by its quietest part, the ten minutes of `task idle` by
	// the median.
	judged := use.quietest
	if window > time.Minute {
		judged = use.median
	}
	if judged > idleCoreMax {
		t.Errorf("all brokers together: %.2f %% of a core, want at most %.0f %%", 100*judged, 100*idleCoreMax)
	}
}

// awaitQuietMachine gives other packages' tests a moment to end: `go test ./...` runs them beside this
// one.
func awaitQuietMachine(t *testing.T) {
	t.Helper()
	const look = 2 * time.Second
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		before := machineTime(t)
		<-ticker.C
		if cores(machineTime(t)-before, look) < busyMachine {
			return
		}
	}
}

// idleUse is the use of processors, in cores.
type idleUse struct {
	broker []float64
	// total is over the whole window, median and quietest are of its six parts.
	total, median, quietest float64
	// others is what was not the brokers.
	others float64
}

// watchIdle measures the brokers over the window, in six parts.
func (c *cluster) watchIdle(window time.Duration) idleUse {
	c.t.Helper()
	const parts = 6
	began, machine := time.Now(), machineTime(c.t)
	first := c.processorTimes()
	last, lastAt := first, began
	var use idleUse
	var shares []float64
	ticker := time.NewTicker(window / parts)
	defer ticker.Stop()
	for range parts {
		<-ticker.C
		now, at := c.processorTimes(), time.Now()
		shares = append(shares, cores(sum(now)-sum(last), at.Sub(lastAt)))
		last, lastAt = now, at
	}
	slices.Sort(shares)
	use.quietest, use.median = shares[0], (shares[2]+shares[3])/2
	took := lastAt.Sub(began)
	use.total = cores(sum(last)-sum(first), took)
	use.others = cores(machineTime(c.t)-machine, took) - use.total
	for i := range last {
		use.broker = append(use.broker, cores(last[i]-first[i], took))
	}
	return use
}

func (c *cluster) processorTimes() []time.Duration {
	c.t.Helper()
	times := make([]time.Duration, len(c.pids))
	for i, pid := range c.pids {
		times[i] = processorTime(c.t, pid)
	}
	return times
}

func sum(times []time.Duration) time.Duration {
	total := time.Duration(0)
	for d := range slices.Values(times) {
		total += d
	}
	return total
}

func cores(used, took time.Duration) float64 { return used.Seconds() / took.Seconds() }
