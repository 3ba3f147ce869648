package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/wal"
)

// flipGroup flips a bit in the middle one of the good groups with records of a broker's write-ahead
// log, and returns the file.
func (c *cluster) flipGroup(i int) string {
	c.t.Helper()
	dir := c.brokerDir(i) + "/wal"
	type place struct {
		name string
		at   int64
	}
	var groups []place
	_, err := wal.Dump(wal.OS(), dir, func(r wal.DumpRecord) {
		if r.Group != nil && r.Group.Records > 0 {
			groups = append(groups, place{r.Name, r.At.Offset + r.Bytes/2})
		}
	})
	if err != nil || len(groups) < 3 {
		c.t.Fatalf("dump of broker %d: %d groups, %v", i+1, len(groups), err)
	}
	middle := groups[len(groups)/2]
	flipByte(c.t, middle.name, middle.at)
	c.t.Logf("broker %d: flipped a bit of %s at byte %d, in group %d of %d",
		i+1, filepath.Base(middle.name), middle.at, len(groups)/2, len(groups))
	return middle.name
}

func flipByte(t testing.TB, name string, at int64) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << 3
	if _, err := file.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
}

// setAside requires that the file lies in a quarantine of the broker now.
func (c *cluster) setAside(i int, file string) {
	c.t.Helper()
	found, err := filepath.Glob(filepath.Join(c.brokerDir(i), "wal", "quarantine-*", filepath.Base(file)))
	if err != nil || len(found) == 0 {
		c.t.Errorf("broker %d has set %s aside as %v, %v", i+1, filepath.Base(file), found, err)
	}
}

// createAssigned creates a topic of one partition on given brokers, the preferred leader first.
func (f *fleet) createAssigned(name string, brokers ...int) {
	f.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	reqTopic := kmsg.NewCreateTopicsRequestTopic()
	reqTopic.Topic, reqTopic.NumPartitions, reqTopic.ReplicationFactor = name, -1, -1
	assignment := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	for _, broker := range brokers {
		assignment.Replicas = append(assignment.Replicas, int32(broker)+1)
	}
	reqTopic.ReplicaAssignment = append(reqTopic.ReplicaAssignment, assignment)
	req.Topics = append(req.Topics, reqTopic)
	client, err := kgo.NewClient(kgo.SeedBrokers(f.kafka...))
	if err != nil {
		f.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	resp, err := req.RequestWith(ctx, client)
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		f.t.Fatalf("create %s: %v, %+v", name, err, resp)
	}
}

// isrOf is the in-sync set of a partition as broker i shows it, nil if nobody leads.
func (c *cluster) isrOf(i int, topic string) (leader int, isr []int) {
	c.t.Helper()
	s, _ := c.status(i)
	for _, p := range s.Partitions {
		if p.Topic == topic && p.Partition == 0 {
			return int(p.Leader), p.ISR
		}
	}
	return -1, nil
}

// scrubFast lets a broker read its whole log twice a second.
var scrubFast = []string{"log.scrub.interval.ms=500", "log.scrub.bytes.per.second=1073741824"}

// failure mode 35: bits flip in the log of a running leader. It finds them, hands its partition over,
// is filled again, and is then as good as before: it serves everything alone.
func TestDamageFoundWhileRunningIsRepaired(t *testing.T) {
	const bystander, victim, other = 0, 1, 2
	// One in sync is enough, or the repaired replica, once it is alone, could not say that the last records are
	// committed, unless it was told so before the kill.
	f := newFleet(t, 3, append(slices.Clone(scrubFast), "min.insync.replicas=1")...)
	f.startAll()
	f.createAssigned("scrubbed", victim, other)
	ledger := newLedger()
	write := func() {
		load := startLoad(t, f.kafka, "scrubbed", 1, ledger)
		resumed(t, ledger, 1)
		resumed(t, ledger, 1)
		load.stop()
	}
	write()
	for i, hit := range []int{victim, other, victim} { // the leader, the next leader, a follower
		found := f.metric(hit, "outrigger_scrub_damage_total")
		f.flipGroup(hit)
		began := time.Now()
		f.eventually(20*time.Second, "the damage found and repaired", func() error {
			if now := f.metric(hit, "outrigger_scrub_damage_total"); now != found+1 {
				return fmt.Errorf("%v damaged places are found, want %v", now, found+1)
			}
			if n := f.metric(hit, "outrigger_damaged_replicas"); n != 0 {
				return fmt.Errorf("%v replicas are damaged", n)
			}
			if leader, isr := f.isrOf(bystander, "scrubbed"); leader < 1 || len(isr) != 2 {
				return fmt.Errorf("leader %d, in sync %v", leader, isr)
			}
			return nil
		})
		t.Logf("damage %d on broker %d is repaired after %s", i+1, hit+1, time.Since(began).Round(time.Millisecond))
		f.healthy(20 * time.Second)
		write()
	}
	if !f.log.lineWith(`"level":"ERROR"`, fmt.Sprintf(`"node":%d,`, victim+1), "write-ahead log is damaged, batches are lost here") ||
		!f.log.lineWith("damaged replica leaves its sets and is filled again") {
		t.Error("the log does not tell of the repair")
	}
	f.kill(other)
	f.eventually(20*time.Second, "the repaired replica leads", func() error {
		if leader, isr := f.isrOf(bystander, "scrubbed"); leader != victim+1 {
			return fmt.Errorf("leader %d, in sync %v", leader, isr)
		}
		return nil
	})
	t.Log(ledger.summary())
	ledger.check(t, f.kafka[:other], "scrubbed", 1)
	f.start(other)
	f.healthy(60 * time.Second)
	// The damaged blocks are still where they were: each broker's next start sets them aside. One after
	// the other, or nobody would be left to fill the log from.
	f.kill(victim)
	f.start(victim)
	f.healthy(60 * time.Second)
	f.stopAll()
	first, second := storedLogs(t, f.brokerDir(victim)), storedLogs(t, f.brokerDir(other))
	for p, want := range first {
		if diff := difference(want, second[p]); diff != "" {
			t.Errorf("partition %s differs between the two replicas: %s", p, diff)
		}
	}
}

// There is nobody to repair from: the broker goes on with what it has, and says so until somebody acts.
func TestDamageInTheOnlyReplicaIsToldAndServedAround(t *testing.T) {
	f := newFleet(t, 1, scrubFast...)
	f.startAll()
	f.createTopic(0, "alone", 1, 1)
	ledger := newLedger()
	load := startLoad(t, f.kafka, "alone", 1, ledger)
	resumed(t, ledger, 1)
	resumed(t, ledger, 1)
	load.stop()
	f.flipGroup(0)
	f.eventually(20*time.Second, "the damage told", func() error {
		if s, code := f.status(0); code != 1 || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "has a damaged batch of partition alone-0") {
			return fmt.Errorf("status exits with %d and %q", code, s.Problems)
		}
		if !f.log.lineWith(`"level":"ERROR"`, "damaged replica is the only one that could lead") {
			return errors.New("the log does not tell")
		}
		return nil
	})
	load = startLoad(t, f.kafka, "alone", 1, ledger)
	resumed(t, ledger, 1)
	load.stop()
}

// failure modes 34 and 36: a bit flips in the middle of a stopped broker's log. It starts, counts for
// nothing until it has caught up, and is filled again from its leaders; what it had is still there.
func TestDamagedLogIsSetAsideAndFilledFromTheLeaders(t *testing.T) {
	const partitions, victim = 6, 1
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, "damaged", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, f.kafka, "damaged", partitions, ledger)
	resumed(t, ledger, partitions)
	for range 2 { // the second time, the log has been mended once
		f.kill(victim)
		resumed(t, ledger, partitions)
		file := f.flipGroup(victim)
		from := f.log.size()
		f.start(victim)
		began := time.Now()
		f.serves(victim)
		f.healthy(60 * time.Second)
		t.Logf("damaged broker %d is in every in-sync set after %s", victim+1, time.Since(began).Round(time.Millisecond))
		said := &lineLog{text: []byte(f.log.from(from))}
		if !said.lineWith(`"level":"ERROR"`, "write-ahead log is damaged", file) ||
			!said.lineWith(`"level":"ERROR"`, "the log ends before its damage now") {
			t.Errorf("the log does not tell of the damage")
		}
		f.setAside(victim, file)
		resumed(t, ledger, partitions)
	}
	// The mended log counts again: with another broker gone it is needed for every acknowledgement.
	f.kill(2)
	resumed(t, ledger, partitions)
	f.start(2)
	f.healthy(60 * time.Second)
	load.stop()
	t.Log(ledger.summary())
	ledger.check(t, f.kafka, "damaged", partitions)
	f.stopAll()
	f.sameLogs("damaged")
}

// The damaged broker is the only replica that is there. It must wait for the one that has everything;
// without the damage, in the same schedule, it leads.
func TestDamagedReplicaDoesNotLeadWhileTheWholeOneIsAway(t *testing.T) {
	const bystander, victim, whole = 0, 1, 2
	for _, damaged := range []bool{false, true} {
		t.Run(fmt.Sprintf("damaged=%t", damaged), func(t *testing.T) {
			f := newFleet(t, 3)
			f.startAll()
			f.createAssigned("lead", victim, whole)
			ledger := newLedger()
			load := startLoad(t, f.kafka, "lead", 1, ledger)
			resumed(t, ledger, 1)
			resumed(t, ledger, 1)
			load.stop()
			f.kill(victim)
			f.eventually(20*time.Second, "the victim out of the in-sync set", func() error {
				if leader, isr := f.isrOf(bystander, "lead"); leader != whole+1 || len(isr) != 1 {
					return fmt.Errorf("leader %d, in sync %v", leader, isr)
				}
				return nil
			})
			f.kill(whole)
			if damaged {
				f.flipGroup(victim)
			}
			f.start(victim)
			f.serves(victim)
			if !damaged {
				f.eventually(20*time.Second, "the eligible replica leads", func() error {
					if leader, isr := f.isrOf(bystander, "lead"); leader != victim+1 {
						return fmt.Errorf("leader %d, in sync %v", leader, isr)
					}
					return nil
				})
			} else {
				throughout(t, 5*time.Second, "a damaged replica alone", func() error {
					if leader, isr := f.isrOf(bystander, "lead"); leader > 0 {
						return fmt.Errorf("broker %d leads, in sync %v", leader, isr)
					}
					return nil
				})
			}
			f.start(whole)
			f.serves(whole)
			f.healthy(60 * time.Second)
			ledger.check(t, f.kafka, "lead", 1)
			f.stopAll()
			if len(ledger.acks()) == 0 {
				t.Error("nothing was acknowledged")
			}
		})
	}
}

// Nobody else has the records: the partition must not come back without them as if nothing had been.
// An operator sees it, and has the last word.
func TestDamagedOnlyReplicaWaitsForAnOperator(t *testing.T) {
	const victim = 0
	f := newFleet(t, 1)
	f.startAll()
	f.createTopic(0, "alone", 1, 1)
	ledger := newLedger()
	load := startLoad(t, f.kafka, "alone", 1, ledger)
	resumed(t, ledger, 1)
	resumed(t, ledger, 1)
	load.stop()
	ledger.check(t, f.kafka, "alone", 1)
	before := readAll(t, f.kafka, "alone", 1)[0]
	f.stopAll()
	file := f.flipGroup(victim)
	f.start(victim)
	f.serves(victim)
	leaderless := func() error {
		s, code := f.status(victim)
		if code != 1 || len(s.Partitions) != 1 || s.Partitions[0].Leader != -1 {
			return fmt.Errorf("status exits with %d and %+v", code, s.Partitions)
		}
		return nil
	}
	f.eventually(20*time.Second, "a partition without a leader in status", leaderless)
	throughout(t, 3*time.Second, "a log that lost records", leaderless)
	f.setAside(victim, file)
	f.stopAll()

	f.sets = append(f.sets, "unclean.leader.election.enable=true")
	f.start(victim)
	f.serves(victim)
	f.healthy(20 * time.Second)
	after := readAll(t, f.kafka, "alone", 1)[0]
	if len(after) == 0 || len(after) >= len(before) {
		t.Errorf("got %d records back of %d, want a part", len(after), len(before))
	}
	for offset, value := range after {
		if before[offset] != value {
			t.Errorf("offset %d changed", offset)
		}
	}
	t.Logf("%d of %d records are left", len(after), len(before))
	ledger.sawVanish(t, f.kafka, "alone", 1, len(before)-len(after))
	load = startLoad(t, f.kafka, "alone", 1, newLedger())
	resumed(t, load.ledger, 1)
	load.stop()
}
