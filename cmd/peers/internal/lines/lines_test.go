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
			if !slices.Contains(append(slices.Clone(warmLines), Partitions), line) {
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
	good := Config{Pairs: 1, Seconds: 1, Idle: 1e9, ColdBytes: 1 << 20, TailBytes: 1 << 20}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no pairs":   func(c *Config) { c.Pairs = 0 },
		"no window":  func(c *Config) { c.Seconds = 0 },
		"no rest":    func(c *Config) { c.Idle = 0 },
		"no data":    func(c *Config) { c.ColdBytes = 0 },
		"before now": func(c *Config) { c.Warmup = -1 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
