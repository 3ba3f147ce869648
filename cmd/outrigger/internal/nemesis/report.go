package nemesis

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"outrigger/e2e/history"
)

// Report is what `outrigger nemesis --json` prints.
type Report struct {
	Seed    uint64  `json:"seed"`
	Brokers int     `json:"brokers"`
	Seconds float64 `json:"seconds"`

	// Faults are how many there were of each kind; CalmPeriods those without any.
	Faults      map[Kind]int `json:"faults"`
	Periods     int          `json:"periods"`
	CalmPeriods int          `json:"calm_periods"`
	// FailStops are brokers that ended by themselves for their storage, as they should.
	FailStops int `json:"fail_stops"`
	// DamageRepaired are starts that set a damaged part of the log aside, to be filled from the leaders;
	// DamageRefused those that refused the log, whose broker was wiped. A bit that spoils only the tail
	// of a killed run looks like a torn tail, and counts as neither.
	DamageRepaired int `json:"damage_repaired"`
	DamageRefused  int `json:"damage_refused"`

	Clients []string `json:"clients"`
	// Sent to Seen count records: Seen are the acknowledged ones that were read.
	Sent         int            `json:"sent"`
	Acked        int            `json:"acked"`
	Failed       int            `json:"failed"`
	Unknown      int            `json:"unknown"`
	Seen         int            `json:"seen"`
	Reads        int            `json:"reads"`
	ClientErrors map[string]int `json:"client_errors"`
	// Retained are the records that retention took away, by the offsets at which partitions begin at the end.
	Retained int64 `json:"retained"`
	// Taken are those of them whose offsets are known, and why they could go.
	Taken history.Taken `json:"taken"`
	// KeysSent are the records that were sent to the compacted topic, KeysKept the most of them that are on the disk
	// of one broker at the end.
	KeysSent int64 `json:"keys_sent"`
	KeysKept int   `json:"keys_kept"`
	// LogBatches are byte-identical on all replicas.
	LogBatches int `json:"log_batches"`
	LogErrors  int `json:"log_error_lines"`

	Unavailability Unavailability `json:"unavailability"`
	Recovery       Recovery       `json:"recovery"`

	// Anomalies are everything that should not have been. The run has failed if there are any.
	Anomalies []string `json:"anomalies"`
	// Notices are what the reader should know of a run that did less than it might have.
	Notices []string `json:"notices"`
	// Data is where directories, logs and the history are kept, if they are.
	Data string `json:"data,omitempty"`
}

// Recovery is the time from the end of a period's last fault until every partition acknowledged a
// write, and until every in-sync set was full and every broker a voter.
type Recovery struct {
	Writes, Whole Times
}

// MarshalJSON names the parts as the rest of the report is named.
func (r Recovery) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]Times{"writes": r.Writes, "whole": r.Whole})
}

// Times sums up durations.
type Times struct {
	Count        int   `json:"count"`
	MedianMillis int64 `json:"median_ms"`
	P90Millis    int64 `json:"p90_ms"`
	MaxMillis    int64 `json:"max_ms"`
}

func timesOf(all []time.Duration) Times {
	return Times{Count: len(all), MedianMillis: quantile(all, 0.5).Milliseconds(),
		P90Millis: quantile(all, 0.9).Milliseconds(), MaxMillis: quantile(all, 1).Milliseconds()}
}

// String is for the table.
func (t Times) String() string {
	return fmt.Sprintf("median %v, 90 %% within %v, longest %v (of %d)", ms(t.MedianMillis), ms(t.P90Millis),
		ms(t.MaxMillis), t.Count)
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// failed reports whether anything was wrong.
func (r *Report) failed() bool { return len(r.Anomalies) > 0 }

// WriteJSON writes the report as one object.
func (r *Report) WriteJSON(out io.Writer) error { return json.NewEncoder(out).Encode(r) }

// WriteTable writes the report for people.
func (r *Report) WriteTable(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("seed", "%d (decides the schedule, not the interleaving)", r.Seed)
	row("time", "%v with %d brokers", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), r.Brokers)
	row("periods", "%d, of which %d calm", r.Periods, r.CalmPeriods)
	total := 0
	for _, kind := range Kinds {
		if n := r.Faults[kind]; n > 0 {
			row("  "+string(kind), "%d", n)
			total += n
		}
	}
	row("faults", "%d", total)
	row("ended for their storage", "%d, as they should", r.FailStops)
	row("damaged logs", "%d repaired, %d refused and wiped", r.DamageRepaired, r.DamageRefused)
	row("clients", "%s", strings.Join(r.Clients, ", "))
	row("records", "%d sent, %d acknowledged, %d failed, %d unknown", r.Sent, r.Acked, r.Failed, r.Unknown)
	row("checked", "%d acknowledged records read back, %d reads in all", r.Seen, r.Reads)
	if r.Retained > 0 {
		row("retention", "%d records taken away; of those judged %d old, %d deleted by clients, %d beyond what is kept",
			r.Retained, r.Taken.Old, r.Taken.Deleted, r.Taken.Beyond)
	}
	if r.KeysSent > 0 {
		row("compaction", "at most %d of %d records kept", r.KeysKept, r.KeysSent)
	}
	row("logs", "%d batches byte-identical on all replicas, %d error lines", r.LogBatches, r.LogErrors)
	row("longest without any write", "%v", ms(r.Unavailability.ClusterMillis))
	row("longest of one partition", "%v (partition %d, %v after the start)", ms(r.Unavailability.WorstMillis),
		r.Unavailability.Worst, ms(r.Unavailability.WorstAtMillis).Round(time.Second))
	row("per partition", "%v", millisList(r.Unavailability.PartitionMillis))
	row("heal to writes everywhere", "%v", r.Recovery.Writes)
	row("heal to all in sync", "%v", r.Recovery.Whole)
	row("anomalies", "%d", len(r.Anomalies))
	if err := table.Flush(); err != nil {
		return err
	}
	return r.writeDetails(out)
}

func millisList(all []int64) []time.Duration {
	var list []time.Duration
	for _, n := range all {
		list = append(list, ms(n))
	}
	return list
}

// writeDetails are the lists below the table.
func (r *Report) writeDetails(out io.Writer) error {
	var b strings.Builder
	lists := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "%s:\n", title)
		}
		for _, line := range lines {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	var told []string
	texts := slices.SortedFunc(maps.Keys(r.ClientErrors), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.ClientErrors[b], r.ClientErrors[a]), strings.Compare(a, b))
	})
	for _, text := range texts {
		told = append(told, fmt.Sprintf("%d x %s", r.ClientErrors[text], text))
	}
	lists("what clients were told", told)
	lists("notices", r.Notices)
	lists("ANOMALIES", r.Anomalies)
	if r.Data != "" {
		fmt.Fprintf(&b, "kept in %s\n", r.Data)
	}
	_, err := io.WriteString(out, b.String())
	return err
}
