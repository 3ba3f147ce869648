package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// resumeWithin is what a client with back-off and metadata age of 100 ms may wait for acknowledged
// writes on a partition whose leader was killed.
const resumeWithin = 3 * time.Second

// movedWithin is how long the partitions of a paused leader may stay without another.
const movedWithin = 2500 * time.Millisecond

// ledByOthers waits until no partition of the topic is led by the victim, as the others see it.
func (c *cluster) ledByOthers(victim int, topic string) {
	c.t.Helper()
	c.eventually(20*time.Second, "other leaders", func() error {
		s, _ := c.status((victim + 1) % c.opts.brokers)
		led := 0
		for _, p := range s.Partitions {
			if p.Topic != topic {
				continue
			}
			if p.Leader == int32(victim+1) || p.Leader < 0 {
				return fmt.Errorf("partition %d is led by %d", p.Partition, p.Leader)
			}
			led++
		}
		if led < 3 {
			return fmt.Errorf("%d partitions have a leader that answers", led)
		}
		return nil
	})
}

// resumed waits until every partition has acknowledged something that was not acknowledged before.
func resumed(t testing.TB, l *ledger, partitions int) {
	t.Helper()
	before := l.acks()
	eventually(t, 30*time.Second, "writes on every partition", func() error {
		now := l.acks()
		for p := range int32(partitions) {
			if now[p] <= before[p] {
				return fmt.Errorf("partition %d has %d acknowledged records, as before", p, now[p])
			}
		}
		return nil
	})
}

// failure mode 18: the leader is killed, and everything acknowledged is read back.
func TestKilledLeadersLoseNothingAcknowledged(t *testing.T) {
	const partitions, kills = 6, 10
	c := start(t, options{restart: true})
	c.createTopic(0, "kill", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "kill", partitions, ledger)
	startTail(t, c.kafka, "kill", partitions, ledger)
	resumed(t, ledger, partitions)
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	var worst []time.Duration
	for i := range kills {
		victim := leaderOf(t, c.kafka, "kill", int32(r.IntN(partitions)))
		kind := "a partition leader"
		switch i {
		case 3:
			victim, kind = c.controller(), "the Raft leader"
		case 7:
			victim, kind = c.controller(), "the Raft leader again"
		}
		if victim < 0 {
			t.Fatal("nobody leads")
		}
		ledger.takeLongest()
		c.signal(victim, syscall.SIGKILL)
		resumed(t, ledger, partitions)
		resumed(t, ledger, partitions)
		gap, p := ledger.takeLongest()
		worst = append(worst, gap)
		t.Logf("kill %d of %s (broker %d): longest gap %s on partition %d", i+1, kind, victim+1, gap.Round(time.Millisecond), p)
		if gap > resumeWithin {
			t.Errorf("kill %d: partition %d had no acknowledged write for %s, want at most %s", i+1, p, gap, resumeWithin)
		}
		c.healthy(30 * time.Second)
	}
	load.stop()
	slices.Sort(worst)
	t.Logf("longest gaps over %d kills: median %s, worst %s; %s", kills, worst[len(worst)/2], worst[len(worst)-1], ledger.summary())
	ledger.check(t, c.kafka, "kill", partitions)
	c.healthy(30 * time.Second)
	c.stop()
	c.sameLogs("kill")
}

// failure mode 25: a leader that was paused for three times the timeout wakes as a stranger.
func TestPausedLeaderIsFencedAndLosesNothing(t *testing.T) {
	const partitions = 3
	c := start(t, options{restart: true})
	c.createTopic(0, "pause", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "pause", partitions, ledger)
	startTail(t, c.kafka, "pause", partitions, ledger)
	resumed(t, ledger, partitions)
	for i := range 2 {
		victim := leaderOf(t, c.kafka, "pause", 0)
		if i == 1 {
			victim = c.controller()
		}
		ledger.takeLongest()
		pid := c.pid(victim)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		paused := time.Now()
		c.ledByOthers(victim, "pause")
		took := time.Since(paused)
		resumed(t, ledger, partitions)
		resumed(t, ledger, partitions)
		gap, p := ledger.takeLongest()
		t.Logf("pause %d of broker %d: everything led by others after %s, longest gap %s on partition %d", i+1, victim+1,
			took.Round(time.Millisecond), gap.Round(time.Millisecond), p)
		if took > movedWithin {
			t.Errorf("pause %d: partitions were led by others after %s, want at most %s", i+1, took, movedWithin)
		}
		if gap > resumeWithin {
			t.Errorf("pause %d: partition %d had no acknowledged write for %s, want at most %s", i+1, p, gap, resumeWithin)
		}
		<-time.After(time.Until(paused.Add(3 * leaderTimeout)))
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		c.healthy(30 * time.Second)
	}
	load.stop()
	t.Log(ledger.summary())
	ledger.check(t, c.kafka, "pause", partitions)
	c.stop()
	c.sameLogs("pause")
}

// TestKillUnderRace is the one run on brokers with the race detector, without time limits.
func TestKillUnderRace(t *testing.T) {
	if os.Getenv("OUTRIGGER_E2E_RACE") == "" {
		t.Skip("builds a race binary, which takes minutes: OUTRIGGER_E2E_RACE=1 runs it")
	}
	const partitions = 3
	c := start(t, options{restart: true, race: true, args: []string{
		"--set", "replica.leader.timeout.ms=6000", "--set", "replica.heartbeat.interval.ms=500",
	}})
	c.createTopic(0, "race", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "race", partitions, ledger)
	startTail(t, c.kafka, "race", partitions, ledger)
	for range 2 {
		resumed(t, ledger, partitions)
		c.signal(leaderOf(t, c.kafka, "race", 0), syscall.SIGKILL)
		resumed(t, ledger, partitions)
		c.healthy(60 * time.Second)
	}
	load.stop()
	ledger.check(t, c.kafka, "race", partitions)
}

// All brokers die at once, and come back in any order.
func TestPowerLossOfAllLosesNothingAcknowledged(t *testing.T) {
	const partitions = 6
	data := t.TempDir()
	ledger := newLedger()
	for round := range 3 {
		c := start(t, options{data: data})
		if round == 0 {
			c.createTopic(0, "power", partitions, 3)
		}
		load := startLoad(t, c.kafka, "power", partitions, ledger)
		resumed(t, ledger, partitions)
		resumed(t, ledger, partitions)
		c.kill9()
		load.gone()
	}
	c := start(t, options{data: data})
	t.Log(ledger.summary())
	ledger.check(t, c.kafka, "power", partitions)
	c.healthy(30 * time.Second)
	c.stop()
	c.sameLogs("power")
}

// Under log.flush.policy=interval no log is known to be whole after a crash, so nobody clean is left when all
// processes are killed. They say what they hold, the longest log leads, and since only processes died and no
// machine, nothing acknowledged is missing.
func TestAllKilledUnderIntervalLoseNothingAcknowledged(t *testing.T) {
	const partitions = 3
	data := t.TempDir()
	ledger := newLedger()
	for round := range 3 {
		c := start(t, options{data: data, args: []string{"--set", "log.flush.policy=interval"}})
		if round == 0 {
			c.createTopic(0, "interval", partitions, 3)
		} else {
			c.healthy(30 * time.Second)
		}
		load := startLoad(t, c.kafka, "interval", partitions, ledger)
		resumed(t, ledger, partitions)
		resumed(t, ledger, partitions)
		c.kill9()
		load.gone()
	}
	c := start(t, options{data: data, args: []string{"--set", "log.flush.policy=interval"}})
	c.healthy(30 * time.Second)
	told := 0.0
	for i := range c.kafka {
		told += c.metric(i, "outrigger_unclean_elections_total")
	}
	if told < partitions {
		t.Errorf("possible loss was reported of %g partitions, want at least %d", told, partitions)
	}
	t.Log(ledger.summary())
	ledger.check(t, c.kafka, "interval", partitions)
	c.stop()
	c.sameLogs("interval")
}

// brokerDir is where dev keeps a broker's data.
func (c *cluster) brokerDir(i int) string { return c.data + "/broker-" + strconv.Itoa(i+1) }
