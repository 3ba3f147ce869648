package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/broker/wal"
)

// raftElectionTimeout is the default of raft.election.timeout.ms.
const raftElectionTimeout = 1200 * time.Millisecond

// failure mode 40: a majority of the voters comes back without memory, and the one that remembers is
// late. The two are a majority of the voters that they are configured with, and must not act as one.
func TestTwoWipedVotersNeverFoundASecondCluster(t *testing.T) {
	t.Parallel() // it mostly waits
	const partitions = 3
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, "kept", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, f.kafka, "kept", partitions, ledger)
	resumed(t, ledger, partitions)
	load.stop()
	f.stopAll()
	before := storedLogs(t, f.copied(2))
	leaders := f.log.count("role changed to leader")
	f.wipe(0)
	f.wipe(1)
	if got := f.log.count("cluster founded"); got != 1 {
		t.Fatalf("the log speaks of %d foundings, want one", got)
	}

	f.start(0)
	f.start(1)
	waits := `founding waits, term 0: node 3 does not answer"`
	f.eventually(20*time.Second, "both say for whom they wait", func() error {
		for _, node := range []int{1, 2} {
			if !f.log.lineWith(fmt.Sprintf(`"node":%d,`, node), waits) {
				return fmt.Errorf("broker %d does not", node)
			}
		}
		return nil
	})
	nobodyServes := func() error {
		for i, p := range f.processes {
			if p != nil && f.ready(i) {
				return fmt.Errorf("broker %d serves", i+1)
			}
		}
		if got := f.log.count("cluster founded"); got != 1 {
			return errors.New("a second cluster was founded")
		}
		if f.log.count("role changed to leader") != leaders {
			return errors.New("somebody leads the Raft")
		}
		return nil
	}
	throughout(t, 4*raftElectionTimeout, "two wiped voters", nobodyServes)

	// The third remembers, but the disks that it knows as voters are gone: it may not decide alone,
	// and lets nobody found over it.
	f.start(2)
	f.eventually(20*time.Second, "the wiped hear of the cluster", func() error {
		for _, node := range []int{1, 2} {
			if !f.log.lineWith(fmt.Sprintf(`"node":%d,`, node), "node 3 belongs to a cluster already") {
				return fmt.Errorf("broker %d does not", node)
			}
		}
		return nil
	})
	throughout(t, 4*raftElectionTimeout, "two wiped voters and one that remembers", nobodyServes)
	f.stopAll()
	after := storedLogs(t, f.brokerDir(2))
	for p, want := range before {
		if diff := difference(want, after[p]); diff != "" {
			t.Errorf("partition %s of the broker that remembers changed: %s", p, diff)
		}
	}
	if len(before) != partitions {
		t.Errorf("got %d partitions, want %d", len(before), partitions)
	}
}

// A broker that lost its disk comes back as a stranger with a familiar number: a learner first, then
// a voter again, with all data from the others.
func TestWipedBrokerIsAdmittedAgainWithItsData(t *testing.T) {
	const partitions = 6
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, "wiped", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, f.kafka, "wiped", partitions, ledger)
	startTail(t, f.kafka, "wiped", partitions, ledger)
	resumed(t, ledger, partitions)
	for _, victim := range []int{f.controller(), (f.controller() + 1) % 3} {
		f.kill(victim)
		f.wipe(victim)
		resumed(t, ledger, partitions)
		from := f.log.size()
		f.start(victim)
		began := time.Now()
		f.serves(victim)
		f.healthy(60 * time.Second)
		t.Logf("wiped broker %d is in every in-sync set after %s", victim+1, time.Since(began).Round(time.Millisecond))
		node := strconv.Itoa(victim + 1)
		f.eventually(20*time.Second, "broker "+node+" is a learner, then a voter", func() error {
			said := f.log.from(from)
			learner := strings.Index(said, "learners 1 ["+node+"@")
			if learner < 0 || !strings.Contains(said[learner:], "learners 0 []") {
				return fmt.Errorf("the log shows no such changes of membership")
			}
			return nil
		})
		resumed(t, ledger, partitions)
	}
	// Each of the two readmitted is needed for a majority once the third is gone.
	third := 3
	for i := range f.processes {
		if f.log.count("learners 1 ["+strconv.Itoa(i+1)+"@") == 0 {
			third = i
		}
	}
	if third == 3 {
		t.Fatal("every broker was wiped")
	}
	f.kill(third)
	resumed(t, ledger, partitions)
	f.createTopic((third+1)%3, "decided-by-the-readmitted", 1, 2)
	f.start(third)
	f.healthy(60 * time.Second)
	load.stop()
	t.Log(ledger.summary())
	ledger.check(t, f.kafka, "wiped", partitions)
	f.stopAll()
	f.sameLogs("wiped")
}

// The leader ships, dies before its own sync, and is back before anybody missed it. Its new session
// must not write other records under the epoch of the old one.
func TestKilledAndBackWithinEveryTimeoutNeverWritesUnderItsOldEpoch(t *testing.T) {
	t.Parallel() // it times nothing
	const partitions, kills = 3, 9
	c := start(t, options{restart: true, args: []string{
		"--set", "replica.leader.timeout.ms=30000", "--set", "replica.heartbeat.interval.ms=1000",
	}})
	c.createTopic(0, "quick", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "quick", partitions, ledger)
	startTail(t, c.kafka, "quick", partitions, ledger)
	var longest time.Duration
	for i := range kills {
		resumed(t, ledger, partitions)
		victim := leaderOf(t, c.kafka, "quick", int32(i%partitions))
		if victim < 0 {
			t.Fatal("nobody leads")
		}
		old, err := c.health(victim)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(old.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		c.eventually(20*time.Second, "the killed broker is back", func() error {
			if now, err := c.health(victim); err != nil || now.Session == old.Session || !c.ready(victim) {
				return fmt.Errorf("session %q, %v", now.Session, err)
			}
			return nil
		})
		longest = max(longest, time.Since(killed))
	}
	resumed(t, ledger, partitions)
	load.stop()
	t.Logf("%d kills, back within %s; %s", kills, longest.Round(time.Millisecond), ledger.summary())
	ledger.check(t, c.kafka, "quick", partitions)
	c.healthy(30 * time.Second)
	c.stop()
	c.checkEpochs()
	c.sameLogs("quick")
}

// place is one offset under one epoch: what may hold one record only, for ever, on any disk.
type place struct {
	partition topic.Partition
	epoch     topic.Epoch
	offset    topic.Offset
}

// checkEpochs looks at everything that was ever written on any broker, what was cut off again too.
func (c *cluster) checkEpochs() {
	c.t.Helper()
	written := map[place]storedBatch{}
	batches, wrong := 0, 0
	for i := range c.opts.brokers {
		last := map[topic.Partition]topic.Epoch{}
		damage, err := wal.Dump(wal.OS(), c.brokerDir(i)+"/wal", func(r wal.DumpRecord) {
			if r.Record == nil || r.Record.Kind != wal.Data {
				return
			}
			b, err := describe(r.Record.Payload)
			if err != nil {
				c.t.Fatalf("broker %d, %s at %s: %v", i+1, r.Record.Partition, r.At, err)
			}
			if b.epoch != r.Record.Epoch || b.base != r.Record.Base {
				c.t.Errorf("broker %d: batch %+v lies in a record of epoch %d at %d", i+1, b, r.Record.Epoch, r.Record.Base)
			}
			if b.epoch < last[r.Record.Partition] {
				c.t.Errorf("broker %d: partition %s has epoch %d after %d", i+1, r.Record.Partition, b.epoch, last[r.Record.Partition])
			}
			last[r.Record.Partition] = b.epoch
			batches++
			for at := b.base; at < b.base+topic.Offset(b.count); at++ {
				p := place{r.Record.Partition, b.epoch, at}
				if other, ok := written[p]; ok && other != b {
					if wrong++; wrong <= 10 {
						c.t.Errorf("%+v holds %+v on one broker and %+v on broker %d", p, other, b, i+1)
					}
				}
				written[p] = b
			}
		})
		if err != nil {
			c.t.Fatalf("dump the log of broker %d: %v", i+1, err)
		}
		for _, d := range damage {
			c.t.Errorf("broker %d: %+v", i+1, d)
		}
	}
	c.t.Logf("%d batches on %d brokers agree about %d places", batches, c.opts.brokers, len(written))
}
