package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// nemesisReport is the part of `outrigger nemesis --json` that the test looks at.
type nemesisReport struct {
	Faults         map[string]int `json:"faults"`
	Clients        []string       `json:"clients"`
	Acked          int            `json:"acked"`
	Seen           int            `json:"seen"`
	Retained       int64          `json:"retained"`
	Taken          nemesisTaken   `json:"taken"`
	KeysSent       int64          `json:"keys_sent"`
	KeysKept       int64          `json:"keys_kept"`
	LogBatches     int            `json:"log_batches"`
	Anomalies      []string       `json:"anomalies"`
	Data           string         `json:"data"`
	Unavailability struct {
		PartitionMillis []int64 `json:"partition_ms"`
	} `json:"unavailability"`
}

// nemesisTaken are the records below a start of which it was judged that they could go.
type nemesisTaken struct {
	Old     int `json:"old"`
	Deleted int `json:"deleted"`
}

// nemesisStorage has files of the WAL fill up soon, so that drains, retention and compaction go on all the time.
var nemesisStorage = []string{
	"--compacted", "--rate", "1500", "--topic-config", "retention.ms=45000",
	"--set", "wal.file.bytes=4194304", "--set", "wal.retained.bytes=33554432",
	"--set", "log.cleaner.backoff.ms=300", "--set", "log.retention.check.interval.ms=1000",
}

// Two minutes of every fault that real processes can be given, with clients in two libraries, retention and
// compaction, and a verdict over all that clients were told. Longer runs are a command, `outrigger nemesis`.
func TestTwoMinutesOfNemesisFindNothing(t *testing.T) {
	if os.Getenv("OUTRIGGER_E2E_NEMESIS") == "" {
		t.Skip("minutes of faults on real processes: a run of its own, with OUTRIGGER_E2E_NEMESIS=1")
	}
	for _, tool := range []string{"ip", "iptables", "strace", "mount", "umount"} {
		need(t, tool)
	}
	if err := exec.Command(need(t, "python3"), "-c", "import kafka").Run(); err != nil {
		missing(t, "python3 has no module kafka (pip install kafka-python)")
	}
	if os.Geteuid() != 0 {
		missing(t, "network namespaces want root")
	}
	if out, err := exec.Command("unshare", "--net", "--mount", "true").CombinedOutput(); err != nil {
		missing(t, "no namespaces here: "+string(out))
	}
	bin, err := binaries.plain()
	if err != nil {
		t.Fatal(err)
	}
	const (
		seed = "21"
		// kindsMin is less than the eleven that there are: a slow machine has time for fewer.
		kindsMin = 9
	)
	cmd := exec.Command(bin, append([]string{"nemesis", "--minutes", "2", "--seed", seed, "--json"}, nemesisStorage...)...)
	said := &lineLog{}
	cmd.Stderr = said
	began := time.Now()
	out, err := cmd.Output()
	var r nemesisReport
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		t.Fatalf("nemesis ended with %v after %s and printed %q\n%s", err, time.Since(began), out, said.tail(30))
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || len(r.Anomalies) == 0) {
		t.Fatalf("nemesis ended with %v\n%s", err, said.tail(30))
	}
	if len(r.Anomalies) > 0 || err != nil {
		t.Errorf("seed %s, kept in %s:\n\t%s", seed, r.Data, strings.Join(r.Anomalies, "\n\t"))
	}
	if len(r.Faults) < kindsMin {
		t.Errorf("got faults of %d kinds, want at least %d: %v", len(r.Faults), kindsMin, r.Faults)
	}
	if !slices.Equal(r.Clients, []string{"franz-go", "kafka-python"}) {
		t.Errorf("got clients %v, want two libraries", r.Clients)
	}
	// What retention has taken away before a reader came is the only thing that need not have been read.
	if r.Acked < 1000 || r.Seen > r.Acked || int64(r.Acked-r.Seen) > r.Retained || r.LogBatches == 0 {
		t.Errorf("%d records acknowledged, %d of them read, %d batches compared", r.Acked, r.Seen, r.LogBatches)
	}
	if r.Retained == 0 || r.KeysKept == 0 || r.KeysKept > r.KeysSent/2 {
		t.Errorf("retention took %d records, and compaction left %d of %d: want both to have worked", r.Retained, r.KeysKept, r.KeysSent)
	}
	if r.Taken.Old == 0 || r.Taken.Deleted == 0 {
		t.Errorf("%d old records and %d deleted ones were judged to be taken rightly, want some of both", r.Taken.Old, r.Taken.Deleted)
	}
	t.Logf("faults %v, %d records acknowledged and read, %d taken by retention (judged %+v), %d of %d left by compaction, longest silence per partition %v ms",
		r.Faults, r.Acked, r.Retained, r.Taken, r.KeysKept, r.KeysSent, r.Unavailability.PartitionMillis)
}
