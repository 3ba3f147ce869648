package nemesis

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/cmd/outrigger/internal/status"
	"outrigger/e2e/history"
	"outrigger/sidecar"
)

func TestAvailabilityKnowsTheLongestSilences(t *testing.T) {
	a := newAvailability(2)
	a.begin(10 * time.Second)
	a.acked(0, 11*time.Second)
	a.acked(1, 12*time.Second)
	a.acked(0, 13*time.Second)
	if got := a.silent(12 * time.Second); len(got) != 1 || got[0] != 1 {
		t.Errorf("since 12 s partitions %v are silent, want 1", got)
	}
	a.end(20 * time.Second)
	u := a.summary()
	if u.ClusterMillis != 7000 || u.Worst != 1 || u.WorstMillis != 8000 || u.WorstAtMillis != 12000 {
		t.Errorf("got %+v, want the cluster silent for 7 s, and partition 1 for 8 s from 12 s on", u)
	}
	if u.PartitionMillis[0] != 7000 || a.total() != 3 {
		t.Errorf("got %+v of %d, want 7 s for partition 0 of 3", u, a.total())
	}
}

func TestQuantiles(t *testing.T) {
	all := []time.Duration{5, 1, 3, 2, 4}
	for q, want := range map[float64]time.Duration{0.5: 3, 0.9: 5, 1: 5} {
		if got := quantile(all, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("nothing has a median")
	}
}

func TestScanFindsWhatNoLogMaySay(t *testing.T) {
	log := strings.Join([]string{
		`{"level":"INFO","msg":"broker started"}`,
		`{"level":"ERROR","msg":"write-ahead log is damaged","file":"1.wal"}`,
		`{"level":"ERROR","msg":"replication","event":"logs contradict each other"}`,
		`WARNING: DATA RACE`, `panic: runtime error`, `fatal error: concurrent map writes`,
		strings.Repeat("x", 100_000), `panic: unfinished line`,
	}, "\n")
	f, err := scanLog(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.alarms) != 5 || f.errors != 2 || f.damaged != 1 {
		t.Errorf("got %d alarms %q, %d errors, %d damaged; want 5, 2, 1", len(f.alarms), f.alarms, f.errors, f.damaged)
	}
	if f, err := scanLog(strings.NewReader(`{"level":"INFO"}`)); err != nil || len(f.alarms) > 0 {
		t.Errorf("a quiet log: got %v, %v", f, err)
	}
}

func TestPayloadsTellTheirValue(t *testing.T) {
	var v values
	for range 3 * largeEvery {
		value, payload := v.next()
		if got := valueOf([]byte(payload)); got != value {
			t.Fatalf("payload %.20q is value %d, want %d", payload, got, value)
		}
		changed := []byte(payload)
		changed[len(changed)-1] ^= 1
		if got := valueOf(changed); got == value {
			t.Fatalf("a changed payload still is value %d", got)
		}
		if got := valueOf([]byte(payload[:len(payload)-1])); got == value {
			t.Fatalf("a cut payload still is value %d", got)
		}
	}
}

func TestComparisonNamesTheReplicaThatDiffers(t *testing.T) {
	p := topic.Partition{Topic: topic.ID{1}}
	log := func(crcs ...uint32) map[topic.Partition][]storedBatch {
		var all []storedBatch
		for i, crc := range crcs {
			all = append(all, storedBatch{Base: topic.Offset(2 * i), Count: 2, CRC: crc})
		}
		return map[topic.Partition][]storedBatch{p: all}
	}
	bounds := map[int32]history.Range{0: {End: 4}}
	same, wrong := compareLogs([]map[topic.Partition][]storedBatch{log(1, 2), log(1, 2, 9), log(1, 2)}, bounds, topic.ID{9})
	if same != 2 || len(wrong) > 0 {
		t.Errorf("equal below the end: got %d batches, %v", same, wrong)
	}
	for name, other := range map[string]map[topic.Partition][]storedBatch{
		"and broker 2: batch 1":            log(1, 3),
		"and broker 2: the other ends":     log(1),
		"lies on 2 brokers, want 3":        {},
		"and broker 2: the other has 2 ba": log(1, 2),
	} {
		first := log(1, 2)
		if strings.Contains(name, "has 2") {
			first = log(1)
		}
		_, wrong := compareLogs([]map[topic.Partition][]storedBatch{first, other, first}, bounds, topic.ID{9})
		if !strings.Contains(strings.Join(wrong, "\n"), name) {
			t.Errorf("got %q, want it to say %q", wrong, name)
		}
	}
}

func TestWholeWantsEverybodyAndEverything(t *testing.T) {
	report := func(change func(*status.Report)) status.Report {
		r := status.Report{Brokers: []status.Broker{{Node: 1, Role: "leader"}, {Node: 2, Role: "follower"}, {Node: 3, Role: "follower"}},
			Partitions: make([]sidecar.PartitionStatus, 6)}
		change(&r)
		return r
	}
	if err := judgeWhole(report(func(*status.Report) {}), 3, 6); err != nil {
		t.Errorf("a whole cluster: %v", err)
	}
	for name, change := range map[string]func(*status.Report){
		"a broker is missing":      func(r *status.Report) { r.Brokers = r.Brokers[:2] },
		"a partition is missing":   func(r *status.Report) { r.Partitions = r.Partitions[:5] },
		"a broker is a learner":    func(r *status.Report) { r.Brokers[2].Role = "learner" },
		"a replica is not in sync": func(r *status.Report) { r.Problems = []string{"partition under-replicated"} },
	} {
		if judgeWhole(report(change), 3, 6) == nil {
			t.Errorf("%s, and the cluster counts as whole", name)
		}
	}
}

func TestNamesTellTheirOwner(t *testing.T) {
	n := newNetwork(4711, 3)
	for _, name := range []string{n.bridge(), n.namespace(clientsNode), n.namespace(2)} {
		if pid, ours := ownerOf(name); !ours || pid != 4711 {
			t.Errorf("%s: got owner %d, %v, want 4711", name, pid, ours)
		}
	}
	for _, name := range []string{"outrigger", namePrefix, namePrefix + "x-b1", namePrefix + "12", "other-12-b1"} {
		if pid, ours := ownerOf(name); ours {
			t.Errorf("%s counts as ours, of %d", name, pid)
		}
	}
	if runsNemesis(os.Getpid()) != strings.Contains(strings.Join(os.Args, " "), "nemesis") {
		t.Error("this process is not told apart by its command line")
	}
}

func TestPlaceFindsTheByteAtAFraction(t *testing.T) {
	extents := []extent{{file: "a", from: 100, bytes: 10}, {file: "b", from: 0, bytes: 30}}
	for fraction, want := range map[float64]string{0: "a 100", 0.24: "a 109", 0.25: "b 0", 0.999: "b 29"} {
		file, at, err := place(extents, fraction)
		if got := fmt.Sprint(file, " ", at); err != nil || got != want {
			t.Errorf("at %v: got %s, %v, want %s", fraction, got, err, want)
		}
	}
	if _, _, err := place(nil, 0.5); !errors.Is(err, errNothingToFlip) {
		t.Errorf("an empty log: got %v", err)
	}
}

func TestFlippedBitsAreDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte{1, 2, 3}, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := flipBit(path, 1, 3); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "\x01\x0a\x03" {
		t.Errorf("got % x, want 01 0a 03", got)
	}
}

func testReport() *Report {
	return &Report{
		Seed: 42, Brokers: 3, Seconds: 130, Faults: map[Kind]int{Kill: 3, BitFlip: 1}, Periods: 6, CalmPeriods: 2,
		Clients: []string{"franz-go"}, Acked: 1000, Seen: 1000, ClientErrors: map[string]int{"timeout": 2},
		Unavailability: Unavailability{ClusterMillis: 900, PartitionMillis: []int64{900, 1200}, Worst: 1, WorstMillis: 1200},
		Recovery:       Recovery{Writes: timesOf([]time.Duration{time.Second, 3 * time.Second})},
		Anomalies:      []string{"at 3s: lost-write"}, Notices: []string{"SKIPPED something"}, Data: "/kept",
	}
}

func TestReportTellsPeopleAndPrograms(t *testing.T) {
	var table, text strings.Builder
	r := testReport()
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"seed", "42", "kill ", "bit-flip", "6, of which 2 calm", "1000 acknowledged",
		"longest without any write  900ms", "1.2s (partition 1", "longest 3s (of 2)", "2 x timeout",
		"SKIPPED something", "ANOMALIES", "lost-write", "kept in /kept"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, table.String())
		}
	}
	if err := r.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal([]byte(text.String()), &back); err != nil {
		t.Fatal(err)
	}
	recovery := back["recovery"].(map[string]any)["writes"].(map[string]any)
	if back["acked"] != 1000.0 || back["faults"].(map[string]any)["kill"] != 3.0 || recovery["max_ms"] != 3000.0 {
		t.Errorf("got %v", back)
	}
	if !r.failed() || (&Report{}).failed() {
		t.Error("a report fails by its anomalies, and by nothing else")
	}
}

func TestFlagsThatCannotBeMeantAreRefused(t *testing.T) {
	good := Flags{Minutes: 1, Brokers: 3, Partitions: 6, Rate: 100}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Flags){
		"--brokers": func(f *Flags) { f.Brokers = 2 }, "--minutes": func(f *Flags) { f.Minutes = 0 },
		"--partitions": func(f *Flags) { f.Partitions = 0 }, "--rate": func(f *Flags) { f.Rate = 0 },
		"--faults": func(f *Flags) { f.Kinds = "kill,flood" }, "--set": func(f *Flags) { f.Sets = []string{"wal"} },
		"--topic-config": func(f *Flags) { f.TopicConfigs = []string{"cleanup.policy=compact"} },
	} {
		f := good
		change(&f)
		if err := f.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	good.Kinds = "kill, pause"
	if kinds, err := good.kinds(); err != nil || len(kinds) != 2 {
		t.Errorf("got %v, %v", kinds, err)
	}
}

func TestEveryKindOfFaultIsTold(t *testing.T) {
	told := map[string]bool{}
	for _, p := range draw(testPlan(5, 5), 200) {
		for _, f := range p.Faults {
			if !strings.HasPrefix(f.String(), string(f.Kind)) {
				t.Errorf("%s is told as %q", f.Kind, f)
			}
			told[string(f.Kind)] = true
		}
	}
	if len(told) != len(Kinds) {
		t.Errorf("200 periods have %d kinds, want %d: %v", len(told), len(Kinds), maps.Keys(told))
	}
}
