package status

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar"
)

func answer(t *testing.T, s sidecar.Status) []byte {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// answers are three brokers, the first of them the controller, with one partition of broker 2.
func answers(t *testing.T, change func(all []sidecar.Status)) [][]byte {
	t.Helper()
	all := make([]sidecar.Status, 3)
	for i := range all {
		all[i] = sidecar.Status{Node: topic.NodeID(i + 1), Session: "s", Role: "follower", Term: 4, Commit: 9,
			Applied: 8, Version: "0.1.0", Brokers: []topic.NodeID{1, 2, 3}, RaftElections: 1, Gaps: 2}
	}
	all[0].Role = "leader"
	all[1].Partitions = []sidecar.PartitionStatus{{Topic: "a..b", Partition: 0, Leader: 2, Epoch: 5,
		Replicas: []topic.NodeID{2, 3, 1}, ISR: []topic.NodeID{2, 3, 1}, LogEnd: 100, HighWatermark: 99,
		Followers: []sidecar.FollowerStatus{{Node: 3, Lag: 1, Mode: "stream"}, {Node: 1, Lag: -1, Mode: "probe"}}}}
	if change != nil {
		change(all)
	}
	var out [][]byte
	for _, s := range all {
		if s.Node != topic.NoNode {
			out = append(out, answer(t, s))
		}
	}
	return out
}

func join(t *testing.T, answers [][]byte) Report {
	t.Helper()
	r, err := Join(answers)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReportIsOneFlatObject(t *testing.T) {
	all := answers(t, nil)
	r := join(t, [][]byte{all[2], all[0], all[1]})
	var out strings.Builder
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	want := `{"brokers":[` +
		`{"node":1,"session":"s","role":"leader","term":4,"commit":9,"applied":8,"version":"0.1.0"},` +
		`{"node":2,"session":"s","role":"follower","term":4,"commit":9,"applied":8,"version":"0.1.0"},` +
		`{"node":3,"session":"s","role":"follower","term":4,"commit":9,"applied":8,"version":"0.1.0"}],` +
		`"partitions":[{"topic":"a..b","partition":0,"leader":2,"epoch":5,"replicas":[2,3,1],"isr":[2,3,1],` +
		`"log_end":100,"high_watermark":99,"followers":[{"node":3,"lag":1,"mode":"stream"},{"node":1,"lag":-1,"mode":"probe"}]}],` +
		`"raft_elections":3,"partition_elections":0,"watcher_triggers":0,"isr_shrinks":0,"gaps":6,"faults":0,"scrub_damage":0,"compacting":[],"problems":[],"notes":[]}` + "\n"
	if out.String() != want {
		t.Errorf("got\n%s, want\n%s", out.String(), want)
	}
	if !r.Healthy() {
		t.Errorf("got problems %v", r.Problems)
	}
}

func TestTableShowsEverything(t *testing.T) {
	r := join(t, answers(t, nil))
	var out strings.Builder
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	want := `BROKER  SESSION  ROLE      TERM  COMMIT  APPLIED  VERSION
1       s        leader    4     9       8        0.1.0
2       s        follower  4     9       8        0.1.0
3       s        follower  4     9       8        0.1.0

PARTITION  LEADER  EPOCH  REPLICAS  ISR    LOG END  HIGH WATERMARK  FOLLOWER LAG
a..b-0     2       5      2,3,1     2,3,1  100      99              3:1 1:? (probe)

3 brokers, 1 partitions, 3 Raft elections, 0 partition elections, 0 watcher triggers, 0 ISR shrinks, 6 gaps, 0 faults
`
	if out.String() != want {
		t.Errorf("got\n%s, want\n%s", out.String(), want)
	}
}

func TestLogsThatAreCompactedAreNamed(t *testing.T) {
	r := join(t, answers(t, func(all []sidecar.Status) {
		all[2].Compacting = &sidecar.CompactingStatus{Topic: "keys", Partition: 4, Progress: 0.256, Bytes: 1000, Waiting: 2}
	}))
	var table, object strings.Builder
	if err := errors.Join(r.WriteTable(&table), r.WriteJSON(&object)); err != nil {
		t.Fatal(err)
	}
	if want := "\nbroker 3 compacts keys-4: 26 % of 1000 bytes, 2 logs come after it\n"; !strings.Contains(table.String(), want) {
		t.Errorf("got\n%s, want %q in it", table.String(), want)
	}
	want := `"compacting":[{"node":3,"topic":"keys","partition":4,"progress":0.256,"bytes":1000,"waiting":2}]`
	if !strings.Contains(object.String(), want) || !r.Healthy() {
		t.Errorf("got %s, healthy %v, want %s in it, and healthy", object.String(), r.Healthy(), want)
	}
}

// A broker that drains is nothing to worry about, be it down: the answer that has applied the most tells.
func TestDrainingBrokersAreNoted(t *testing.T) {
	r := join(t, answers(t, func(all []sidecar.Status) {
		all[0].Draining = []topic.NodeID{1}
		all[1].Applied, all[1].Draining = 9, []topic.NodeID{3, 7}
	}))
	var table strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if want := " faults\nbroker 3 is draining\nbroker 7 is draining, and is fenced\n"; !strings.HasSuffix(table.String(), want) || !r.Healthy() {
		t.Errorf("got\n%s, healthy %v, want %q at its end, and healthy", table.String(), r.Healthy(), want)
	}
}

func TestWhatIsNotHealthy(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func([]sidecar.Status)
		want   string
	}{
		{"under-replicated", func(all []sidecar.Status) { all[1].Partitions[0].ISR = all[1].Partitions[0].ISR[:2] },
			"partition a..b-0 is under-replicated: 2 of 3 replicas are in sync"},
		{"damaged", func(all []sidecar.Status) {
			all[2].Damaged, all[2].ScrubDamage = []sidecar.DamagedStatus{{Topic: "a..b", Offset: 7}}, 1
		}, "broker 3 has a damaged batch of partition a..b-0 at offset 7"},
		{"damaged and repaired", func(all []sidecar.Status) { all[2].ScrubDamage = 1 }, ""},
		{"leaderless", func(all []sidecar.Status) {
			all[0].Partitions = []sidecar.PartitionStatus{{Topic: "a..b", Leader: topic.NoNode, Epoch: 6, Replicas: []topic.NodeID{1}}}
		}, "partition a..b-0 has no leader"},
		{"silent member", func(all []sidecar.Status) { all[2].Node = topic.NoNode },
			"broker 3 is a live member and does not answer"},
		{"no controller", func(all []sidecar.Status) { all[0].Role = "candidate" },
			"no broker that answered is the controller, so partitions without a leader are not known"},
		{"the old leader's word does not count", func(all []sidecar.Status) {
			old := all[1].Partitions[0]
			old.Leader, old.Epoch, old.ISR = 3, 4, nil
			all[2].Partitions = []sidecar.PartitionStatus{old}
		}, ""},
		{"a leader was found in the meantime", func(all []sidecar.Status) {
			all[0].Partitions = []sidecar.PartitionStatus{{Topic: "a..b", Leader: topic.NoNode, Epoch: 5, Replicas: []topic.NodeID{1}}}
		}, ""},
		{"a dead broker without partitions", func(all []sidecar.Status) {
			for i := range all {
				all[i].Brokers = []topic.NodeID{1, 2}
			}
			all[2].Node = topic.NoNode
		}, ""},
	} {
		r := join(t, answers(t, c.change))
		if got := strings.Join(r.Problems, "; "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRepairedDamageIsNoted(t *testing.T) {
	r := join(t, answers(t, func(all []sidecar.Status) { all[2].ScrubDamage = 2 }))
	want := "broker 3 found 2 damaged places in its log: its next start sets its write-ahead log aside from there on, " +
		"and leaders send again what lay in packs"
	if !r.Healthy() || len(r.Notes) != 1 || r.Notes[0] != want {
		t.Errorf("got healthy %t, %q", r.Healthy(), r.Notes)
	}
	var out strings.Builder
	if err := r.WriteTable(&out); err != nil || !strings.Contains(out.String(), want) {
		t.Errorf("got %v and\n%s", err, out.String())
	}
}

func TestAnswerOfSomebodyElse(t *testing.T) {
	if _, err := Join([][]byte{[]byte("hello")}); err == nil {
		t.Error("an answer that is no status was taken")
	}
	if got := Expected(answers(t, nil)[0]); got != 3 {
		t.Errorf("got %d answers expected, want 3", got)
	}
	if got := Expected([]byte("hello")); got != 1 {
		t.Errorf("got %d answers expected, want 1", got)
	}
}

func FuzzAnswersNeverPanic(f *testing.F) {
	f.Add([]byte(`{"node":1,"role":"leader","partitions":[{"topic":"t","leader":-1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Join([][]byte{data, data})
		if err == nil {
			_ = r.WriteTable(&strings.Builder{})
		}
	})
}
