package lines

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"outrigger/cmd/peers/internal/system"
)

func TestSelectBringsWhatALineIsHeldAgainst(t *testing.T) {
	for _, c := range []struct{ wanted, want []string }{
		{nil, Names},
		{[]string{WAL}, []string{WAL}},
		{[]string{JetStream, Latency}, []string{Throughput, Latency, JetStream}},
		{[]string{Partitions, Throughput}, []string{Throughput, Partitions}},
		{[]string{Sticky}, []string{Throughput, Sticky}},
	} {
		if got, err := Select(c.wanted); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v %v, want %v", c.wanted, got, err, c.want)
		}
	}
	if got, err := Select([]string{"rocket"}); err == nil || !strings.Contains(err.Error(), "rocket") {
		t.Errorf("an unknown line: got %v %v, want an error that names it", got, err)
	}
}

func TestEveryLineHasAMetric(t *testing.T) {
	for _, name := range Names {
		if len(Metrics([]string{name})) == 0 {
			t.Errorf("line %s has no metric", name)
		}
	}
	if got := len(Metrics(Names)); got != len(catalog) {
		t.Errorf("got %d metrics of all lines, want %d", got, len(catalog))
	}
}

// What the lines measure is under the keys that the catalog looks for.
func TestFiguresOfTheBenchAreInTheCatalog(t *testing.T) {
	report := &benchReport{Results: map[string]benchResult{produced: {MBPerSecond: 1}}}
	for _, m := range catalog {
		for _, key := range []string{m.Ours, m.Theirs} {
			name, figure, _ := strings.Cut(key, "/")
			line, _, _ := strings.Cut(figure, ".")
			if !slices.Contains(append(slices.Clone(warmLines), Partitions, Sticky), line) {
				continue
			}
			values := valuesOf(&system.Cluster{Name: system.Name(name)}, line, report, produced)
			if _, ok := values[key]; !ok {
				t.Errorf("%s is not among the figures of %s", key, line)
			}
		}
	}
}

func TestReportIsDoubtedForErrorsGapsAndDelay(t *testing.T) {
	const good = `{"verification":{"ok":true},"results":{"produced":{"mb_per_second":12.5,"latency_ms":{"p99.9":3}}}}`
	parse := func(text string) *benchReport {
		t.Helper()
		report := &benchReport{}
		if err := json.Unmarshal([]byte(text), report); err != nil {
			t.Fatal(err)
		}
		return report
	}
	report := parse(good)
	if err := report.doubts(); err != nil || report.Results[produced].Latency["p99.9"] != 3 {
		t.Errorf("got %+v %v, want no doubts", report, err)
	}
	for want, text := range map[string]string{
		"2 times NOT_LEADER":   `{"verification":{"ok":true},"errors":{"NOT_LEADER":2}}`,
		"a record is lost":     `{"verification":{"ok":false,"text":"a record is lost"}}`,
		"nothing was produced": `{"verification":{"ok":true},"results":{"produced":{"mb_per_second":0}}}`,
		"7 records behind":     `{"verification":{"ok":true},"behind":7}`,
	} {
		if err := parse(text).doubts(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestConfigRefusesWhatCannotBeMeant(t *testing.T) {
	good := Config{Pairs: 1, Seconds: 1, Idle: 1e9, ColdBytes: 1 << 20, TailBytes: 1 << 20, KeepingBytes: keepingBytesMin}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no pairs":   func(c *Config) { c.Pairs = 0 },
		"no window":  func(c *Config) { c.Seconds = 0 },
		"no rest":    func(c *Config) { c.Idle = 0 },
		"no data":    func(c *Config) { c.ColdBytes = 0 },
		"no upkeep":  func(c *Config) { c.KeepingBytes = 0 },
		"before now": func(c *Config) { c.Warmup = -1 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestRoomIsAwaitedAndItsLackIsNamed(t *testing.T) {
	r := New(Config{Seconds: 2})
	if got, want := r.room(Small, "kafka", r.cfg.timing()), int64(300*1.5e6*3*2); got != want {
		t.Errorf("before any figure: got %d bytes, want %d", got, want)
	}
	r.rates["kafka/small.mbps"] = 100
	wanted := r.room(Small, "kafka", r.cfg.timing())
	if got := int64(100 * 1.5e6 * 3 * 2); got != wanted {
		t.Errorf("with a figure: got %d bytes, want %d", wanted, got)
	}
	asked := 0
	growing := func() (int64, error) { asked++; return wanted - 2 + int64(asked), nil }
	if err := r.awaitRoom(t.Context(), wanted, growing); err != nil || asked != 2 {
		t.Errorf("room that comes: got %v after %d looks, want none after 2", err, asked)
	}
	r.roomWithin = 0
	err := r.awaitRoom(t.Context(), wanted, func() (int64, error) { return 8e8, nil })
	if err == nil || !strings.Contains(err.Error(), "0.8 GB left and a window may write 0.9 GB") {
		t.Errorf("no room: got %v, want how much there is and is wanted", err)
	}
}

func TestCeilingIsWhatTheClientAloneCouldTake(t *testing.T) {
	b := &benchReport{Machine: Machine{Cores: 2}}
	if got := b.ceiling(100); got != 0 {
		t.Errorf("client not measured: got %v, want 0", got)
	}
	b.Processors.Client, b.Processors.Seconds = 5, 10
	if got, want := b.ceiling(100), 400.0; got != want {
		t.Errorf("a quarter of the machine at 100 MB/s: got %v, want %v", got, want)
	}
}
