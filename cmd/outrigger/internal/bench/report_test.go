package bench

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// sample is a report of a run with everything in it.
func sample() *Report {
	var all meters
	m := all.worker(window{from: time.Second, to: 3 * time.Second})
	for i := range 1000 {
		due := time.Second + time.Duration(i)*time.Millisecond
		m.add(event{due: due, now: due + time.Duration(i)*time.Microsecond, bytes: 1024})
	}
	row := func(seconds float64, phase string, mb float64) Row {
		return Row{Seconds: seconds, Phase: phase, Cells: map[string]Cell{Produced: {RecordsPerSecond: mb * 1000, MBPerSecond: mb,
			P50: mb, P99: 2 * mb, Max: 3 * mb}}}
	}
	return &Report{Version: "1.2.3", Mode: Failover, Loop: "open",
		Load: Load{Topic: "t", RecordBytes: 1024, Producers: 4, Consumers: 1, Rate: 1000, Seconds: 2, Warmup: 1, Acks: acksAll,
			Idempotent: true, Compression: "zstd", Linger: 5 * time.Millisecond, Partitioner: RoundRobin, CountRetries: true, Verify: true},
		Cluster: ClusterFacts{ID: "c-id", Brokers: 3, Versions: "Produce v13", Partitions: 6, Replication: 3, MinInSync: "2", FlushPolicy: "always"},
		Machine: MachineFacts{CPU: "CPU <fast> & \"small\"", Cores: 2, Kernel: "Linux 6", FileSystem: "ext4", Go: "go1.26", Load: "0.5"},
		Results: map[string]Result{Produced: resultOf(all.total(), 2*time.Second, meanings[Produced])},
		Behind:  1234, Errors: map[string]int64{"NOT_ENOUGH_REPLICAS": 3}, Retries: map[string]int64{"NOT_LEADER_FOR_PARTITION": 2},
		Batches:    Batches{Count: 10, Records: 100, WireBytes: 50_000, Compressed: 0.5},
		Processors: Processors{Brokers: 3, BrokerSeconds: 1.5, Seconds: 2, BrokerPerGB: 9},
		Failover:   &Gaps{KilledNode: 2, KilledAtSeconds: 1.5, AnyMillis: 700, WorstMillis: 800, Worst: 4, RecoveredMillis: 900},
		Verification: Verification{Text: "invalid", Acked: 1000, Seen: 999, Wrong: []string{"lost-write: t-0 offset 7"},
			History: "/tmp/h.jsonl"},
		Series: []Row{row(1, "warm-up", 1), row(2, "measured", 4), row(3, "measured", 0), row(4, "drain", 2)},
	}
}

func TestTableTellsOnWhatAndHowItWasMeasured(t *testing.T) {
	var out strings.Builder
	if err := writeTable(&out, sample()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"failover, open loop at 1,000/s for 2 s after 1 s", "acks=all", "idempotent=true", "zstd", "6 partitions",
		"replication factor 3", "min.insync.replicas 2", "always", "Produce v13", "CPU <fast>", "2 cores", "Linux 6", "ext4",
		"500", "NOT KEPT UP: 1,234", "3 x NOT_ENOUGH_REPLICAS", "2 x NOT_LEADER_FOR_PARTITION", "9.00 s per GB",
		"broker 2", "for 700 ms in any partition, for 800 ms in partition 4", "900 ms after the kill",
		"FAILED: invalid", "lost-write: t-0 offset 7", "/tmp/h.jsonl"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestJSONHoldsTheWholeReport(t *testing.T) {
	text, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(&back)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, again) {
		t.Errorf("got back\n%s\nwant\n%s", again, text)
	}
	for _, want := range []string{`"p99.9":`, `"behind":1234`, `"flush_policy":"always"`, `"ok":false`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the report lacks %s: %s", want, text)
		}
	}
}

func TestCSVHasALinePerSecondAndKind(t *testing.T) {
	var out bytes.Buffer
	if err := writeCSV(&out, sample().Series); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(lines[2], ","); len(lines) != 5 || got != "2.000,measured,produced,4000.000,4.000,4.000,8.000,12.000,0" {
		t.Errorf("got %d lines, the second second as %s", len(lines), got)
	}
}

func TestPictureIsWellFormedAndShowsEverything(t *testing.T) {
	for name, change := range map[string]func(*Report){
		"whole":       func(*Report) {},
		"no series":   func(r *Report) { r.Series = nil },
		"no results":  func(r *Report) { r.Results = map[string]Result{Produced: {}} },
		"nothing new": func(r *Report) { r.Results, r.Series, r.Failover = nil, nil, nil },
	} {
		r := sample()
		change(r)
		var out strings.Builder
		if err := writePlot(&out, r); err != nil {
			t.Fatal(err)
		}
		elements := map[string]int{}
		for d := xml.NewDecoder(strings.NewReader(out.String())); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v in\n%s", name, err, out.String())
			}
			if start, ok := token.(xml.StartElement); ok {
				elements[start.Name.Local]++
			}
		}
		if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
			t.Errorf("%s: a place that is no number:\n%s", name, out.String())
		}
		// throughput, p50 and p99 in two pieces each, the curve
		if name == "whole" && (elements["polyline"] != 6 || !strings.Contains(out.String(), "broker 2 killed") ||
			!strings.Contains(out.String(), ">99.9<")) {
			t.Errorf("got %v elements in\n%s", elements, out.String())
		}
	}
}

func TestLinearAxesHaveAFewRoundTicks(t *testing.T) {
	for _, most := range []float64{0, 1e-3, 0.7, 1, 3, 9.99, 10, 11, 23, 99, 101, 5400, 123456} {
		a := linear("x", most)
		if a.to < most || most > 0 && a.to > 2.1*most {
			t.Errorf("axis to %g for %g", a.to, most)
		}
		if n := len(a.ticks); n < 3 || n > 8 {
			t.Errorf("%d ticks for %g: %v", n, most, a.ticks)
		}
	}
}

func TestLogarithmicAxesHoldEverything(t *testing.T) {
	for _, c := range [][2]float64{{0.02, 0.02}, {0.5, 700}, {1, 1}, {9, 11}, {0, 0}} {
		a := logarithmic("x", c[0], c[1])
		if a.from > max(c[0], 1e-3) || a.to < c[1] || a.share(a.from) != 0 || a.share(a.to) != 1 {
			t.Errorf("axis from %g to %g for %v", a.from, a.to, c)
		}
		if got := a.share(math.Sqrt(a.from * a.to)); math.Abs(got-0.5) > 1e-9 {
			t.Errorf("the geometric middle lies at %g, want 0.5", got)
		}
	}
}

func TestNumbersReadWell(t *testing.T) {
	for got, want := range map[string]string{count(0): "0", count(999): "999", count(1000): "1,000", count(-1234567): "-1,234,567",
		ms(0.123): "0.12 ms", ms(12.34): "12.3 ms", ms(123.4): "123 ms", ms(12345): "12.3 s",
		byteCount(12): "12 B", byteCount(1_500): "1.5 kB", byteCount(8_400_000): "8.4 MB", byteCount(2e9): "2.0 GB"} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFlagsThatCannotBeMeantAreRefused(t *testing.T) {
	good := func() Flags {
		return Flags{Mode: Produce, Load: Load{Partitions: 6, Replication: 3, RecordBytes: 1024, Producers: 4, Consumers: 1, Seconds: 20,
			Warmup: 3, Acks: acksAll, InFlight: 5, Compression: "none", BatchBytes: 1000012, BufferBytes: 8 << 20, Partitioner: RoundRobin,
			Delivery: time.Minute, FillBytes: 1 << 20, Topics: 10}}
	}
	if err := good().withDefaults().Validate(); err != nil {
		t.Errorf("got %v for flags that can be meant", err)
	}
	for name, change := range map[string]func(*Flags){
		"mode":             func(f *Flags) { f.Mode = "fast" },
		"--record-bytes":   func(f *Flags) { f.Load.RecordBytes = headerBytes - 1 },
		"--rate":           func(f *Flags) { f.Load.Rate = -1 },
		"--seconds":        func(f *Flags) { f.Load.Seconds = math.NaN() },
		"--acks":           func(f *Flags) { f.Load.Acks = "2" },
		"--compression":    func(f *Flags) { f.Load.Compression = "brotli" },
		"--partitioner":    func(f *Flags) { f.Load.Partitioner = "any" },
		"--own":            func(f *Flags) { f.Target.Own, f.Target.Servers = true, []string{"a:1"} },
		"--data and --set": func(f *Flags) { f.Target.Data = "d" },
		"--ready":          func(f *Flags) { f.Target.Ready, f.Target.PIDs = "r", []int{1} },
	} {
		f := good()
		change(&f)
		if err := f.withDefaults().Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want a refusal that names it", name, err)
		}
	}
}

func TestFailoverKillsNobodyElsesBrokersUnasked(t *testing.T) {
	f := Flags{Mode: Failover}.withDefaults()
	if !f.Target.Own || f.Load.Rate != defaultRate {
		t.Errorf("got %+v, want a cluster of its own and a rate", f)
	}
	f = Flags{Mode: Failover, Target: Target{Servers: []string{"a:1"}}}.withDefaults()
	if err := f.Validate(); err == nil || !strings.Contains(err.Error(), "--pids") {
		t.Errorf("got %v for a cluster whose processes are unknown, want to be asked for --pids", err)
	}
	f = Flags{Mode: Failover, Target: Target{PIDs: []int{1}}}.withDefaults()
	if f.Target.Own {
		t.Error("got a cluster of its own beside the named processes")
	}
}
