package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clusterBroker is a broker as `outrigger cluster status --json` shows it.
type clusterBroker struct {
	Broker   int    `json:"broker"`
	Live     bool   `json:"live"`
	Draining bool   `json:"draining"`
	Quorum   string `json:"quorum"`
	Leaders  int    `json:"leaders"`
	Replicas int    `json:"replicas"`
}

func (f *fleet) members(via int) map[int]clusterBroker {
	f.t.Helper()
	var view struct{ Brokers []clusterBroker }
	if err := json.Unmarshal([]byte(f.run("cluster", "status", "--json", "--bootstrap-server", f.kafka[via])), &view); err != nil {
		f.t.Fatal(err)
	}
	members := map[int]clusterBroker{}
	for _, b := range view.Brokers {
		members[b.Broker] = b
	}
	return members
}

// A fourth broker joins a cluster under load, gets its share and a vote; the first one is drained, loses
// its vote, is stopped and taken out. Nothing acknowledged is lost, and no produce fails.
func TestBrokerIsAddedAndAnotherDrainedAndRemovedUnderLoad(t *testing.T) {
	t.Parallel() // it mostly waits
	const partitions = 6
	f := newFleet(t, 4)
	f.voters = 3
	for i := range 3 {
		f.start(i)
	}
	for i := range 3 {
		f.serves(i)
	}
	f.createTopic(0, "moved", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, f.kafka[1:3], "moved", partitions, ledger)
	startTail(t, f.kafka[1:3], "moved", partitions, ledger)
	resumed(t, ledger, partitions)

	f.start(3)
	f.serves(3)
	via := "--bootstrap-server=" + f.kafka[1]
	planned := f.run("cluster", "rebalance", "--dry-run", via)
	if !strings.Contains(planned, "replicas are copied") {
		t.Errorf("dry run: got %q, want a plan", planned)
	}
	if got := f.members(1)[4]; got.Replicas != 0 || got.Quorum != "learner" {
		t.Errorf("after a dry run: got %+v, want a learner without replicas", got)
	}
	began := time.Now()
	f.run("cluster", "add", "4", "--voter", "--throttle", "100000000", via)
	t.Logf("broker 4 added and the cluster rebalanced in %s", time.Since(began).Round(time.Millisecond))
	share := partitions * 3 / 4
	for id, b := range f.members(1) {
		if b.Replicas < share || b.Replicas > share+1 {
			t.Errorf("broker %d holds %d replicas after the rebalance, want %d or one more", id, b.Replicas, share)
		}
	}
	f.eventually(10*time.Second, "broker 4 votes", func() error {
		if got := f.members(1)[4].Quorum; got != "voter" {
			return fmt.Errorf("it is a %s", got)
		}
		return nil
	})
	resumed(t, ledger, partitions)

	began = time.Now()
	f.run("cluster", "drain", "1", via)
	t.Logf("broker 1 drained in %s", time.Since(began).Round(time.Millisecond))
	if got := f.members(1)[1]; got.Replicas != 0 || got.Leaders != 0 || !got.Draining {
		t.Errorf("drained broker: got %+v, want nothing on it", got)
	}
	resumed(t, ledger, partitions)
	f.stopOne(0)
	f.run("cluster", "remove", "1", via)
	if _, there := f.members(1)[1]; there {
		t.Error("broker 1 is still registered")
	}
	f.eventually(10*time.Second, "brokers 2, 3 and 4 vote", func() error {
		var voters []string
		for id, b := range f.members(1) {
			if b.Quorum == "voter" {
				voters = append(voters, strconv.Itoa(id))
			}
		}
		slices.Sort(voters)
		if got := strings.Join(voters, " "); got != "2 3 4" {
			return fmt.Errorf("voters are %s", got)
		}
		return nil
	})
	resumed(t, ledger, partitions)
	load.stop()
	if len(ledger.errors) > 0 {
		t.Errorf("produce failed: %v", ledger.errors)
	}
	gap, partition := ledger.takeLongest()
	t.Logf("%s; longest gap %s on partition %d", ledger.summary(), gap.Round(time.Millisecond), partition)
	ledger.check(t, f.kafka[1:], "moved", partitions)
	if got := storedLogs(t, f.brokerDir(0)); len(got) > 0 {
		t.Errorf("the drained broker keeps logs of %d partitions", len(got))
	}
}

// stopOne ends broker i cleanly.
func (f *fleet) stopOne(i int) {
	f.t.Helper()
	p := f.processes[i]
	f.send(i, syscall.SIGTERM)
	<-p.done
	if p.err != nil {
		f.t.Errorf("broker %d ended with %v after SIGTERM", i+1, p.err)
	}
	f.processes[i] = nil
}

// A broker that died and will not come back is drained and removed like any other.
func TestDeadBrokerIsDrainedAndRemoved(t *testing.T) {
	t.Parallel() // it mostly waits
	const partitions = 6
	f := newFleet(t, 4)
	f.voters = 3
	f.startAll()
	f.createTopic(0, "left", partitions, 3)
	via := "--bootstrap-server=" + f.kafka[1]
	if got := f.members(1)[4]; got.Replicas == 0 {
		t.Fatalf("broker 4 holds nothing: %+v", got)
	}
	f.kill(3)
	f.eventually(10*time.Second, "broker 4 is known to be dead", func() error {
		if f.members(1)[4].Live {
			return errors.New("it is live")
		}
		return nil
	})
	f.run("cluster", "drain", "4", via)
	if got := f.members(1)[4]; got.Live || !got.Draining || got.Replicas != 0 {
		t.Errorf("the dead broker: got %+v, want nothing on it, and that it drains", got)
	}
	if got := f.run("cluster", "status", via); !strings.Contains(got, "fenced, draining") {
		t.Errorf("the cluster's status does not say that the dead broker drains:\n%s", got)
	}
	f.eventually(10*time.Second, "status tells that the dead broker drains", func() error {
		if got := f.run("status", "--nats", f.nats[1]); !strings.Contains(got, "broker 4 is draining, and is fenced\n") {
			return errors.New(got)
		}
		return nil
	})
	f.run("cluster", "remove", "4", via)
	if _, there := f.members(1)[4]; there {
		t.Error("broker 4 is still registered")
	}
	for id, b := range f.members(1) {
		if b.Replicas != partitions {
			t.Errorf("broker %d holds %d replicas, want all %d", id, b.Replicas, partitions)
		}
	}
}
