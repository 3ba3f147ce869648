package score

import (
	"strings"
	"testing"
)

func TestSpreadTakesTheMiddle(t *testing.T) {
	for _, c := range []struct {
		figures []float64
		want    Spread
	}{
		{nil, Spread{}},
		{[]float64{7}, Spread{7, 7, 7, 1}},
		{[]float64{9, 1, 5}, Spread{5, 1, 9, 3}},
		{[]float64{4, 1, 3, 2}, Spread{2.5, 1, 4, 4}},
	} {
		if got := SpreadOf(c.figures); got != c.want {
			t.Errorf("spread of %v: got %v, want %v", c.figures, got, c.want)
		}
	}
}

func TestSpreadLeavesTheFiguresInOrder(t *testing.T) {
	figures := []float64{3, 1, 2}
	SpreadOf(figures)
	if figures[0] != 3 || figures[1] != 1 || figures[2] != 2 {
		t.Errorf("got %v, want [3 1 2]", figures)
	}
}

// The median of the ratios is not the ratio of the medians: a slow minute slows both sides of a pair.
func TestRatioIsTakenWithinAPair(t *testing.T) {
	m := Metric{Ours: "o", Theirs: "k", Goal: 3}
	r := m.collect([]Values{{"o": 30, "k": 10}, {"o": 3, "k": 1}, {"o": 300, "k": 100}})
	if want := (Spread{3, 3, 3, 3}); r.Ratio != want || r.Verdict != Met {
		t.Errorf("got %v %s, want %v yes", r.Ratio, r.Verdict, want)
	}
}

func TestRatioIsAboveOneWhenOursIsBetter(t *testing.T) {
	for _, c := range []struct {
		lower        bool
		ours, theirs float64
		want         float64
		ok           bool
	}{
		{false, 6, 2, 3, true},
		{true, 2, 6, 3, true},
		{true, 6, 2, 1.0 / 3, true},
		{true, 0, 6, 0, false},
		{false, 6, 0, 0, false},
		{false, -1, 2, 0, false},
	} {
		got, ok := Metric{Lower: c.lower}.ratio(c.ours, c.theirs)
		if got != c.want || ok != c.ok {
			t.Errorf("%+v: got %v %v", c, got, ok)
		}
	}
}

func TestVerdicts(t *testing.T) {
	full := []Values{{"o": 8, "k": 2}, {"o": 8, "k": 2}}
	for name, c := range map[string]struct {
		metric Metric
		pairs  []Values
		want   Verdict
	}{
		"reached":               {Metric{Goal: 4}, full, Met},
		"not reached":           {Metric{Goal: 4.1}, full, Missed},
		"no goal":               {Metric{}, full, NoGoal},
		"below the bound":       {Metric{Goal: 4, AtMost: 8}, full, Met},
		"above the bound":       {Metric{Goal: 4, AtMost: 7.9}, full, Missed},
		"a pair without theirs": {Metric{Goal: 1}, []Values{full[0], {"o": 8}}, Unknown},
		"a pair without ours":   {Metric{Goal: 1}, []Values{full[0], {"k": 8}}, Unknown},
		"a pair of nothing":     {Metric{Goal: 1}, []Values{full[0], {"o": 0, "k": 8}}, Unknown},
		"no pairs":              {Metric{Goal: 1}, nil, Unknown},
	} {
		c.metric.Ours, c.metric.Theirs = "o", "k"
		if got := c.metric.collect(c.pairs).Verdict; got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	metrics := []Metric{
		{Line: "1 KiB", Name: "throughput", Unit: "MB/s", Ours: "o", Theirs: "k", Peer: "Kafka", Goal: 3},
		{Line: "failover", Name: "gap", Unit: "ms", Ours: "og", Theirs: "kg", Peer: "Kafka", Lower: true, Goal: 4, AtMost: 2000},
		{Line: "WAL", Name: "alone", Unit: "MB/s", Ours: "ow", Theirs: "pw", Peer: "a plain program", Goal: 0.85},
	}
	pairs := []Values{
		{"o": 180, "k": 60, "og": 1500, "kg": 9000, "ow": 400},
		{"o": 200, "k": 50, "og": 1400, "kg": 9100, "ow": 410},
	}
	want := strings.TrimLeft(`
| line     | figure     | Outrigger              | against         | theirs                 | times better      | goal             | met     |
|----------|------------|------------------------|-----------------|------------------------|-------------------|------------------|---------|
| 1 KiB    | throughput | 190 MB/s (180..200)    | Kafka           | 55 MB/s (50..60)       | 3.5x (3..4)       | >= 3x            | yes     |
| failover | gap        | 1450 ms (1400..1500)   | Kafka           | 9050 ms (9000..9100)   | 6.25x (6..6.5)    | <= 2000 ms, >= 4x | yes     |
| WAL      | alone      | 405 MB/s (400..410)    | a plain program | no figure              | no figure         | >= 85 %          | unknown |
`, "\n")
	var out strings.Builder
	if err := WriteMarkdown(&out, Collect(metrics, pairs)); err != nil {
		t.Fatal(err)
	}
	if squeeze(out.String()) != squeeze(want) {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, line := range lines {
		if len(line) != len(lines[0]) {
			t.Errorf("line of %d characters, want %d: %s", len(line), len(lines[0]), line)
		}
	}
}

// squeeze drops what aligns.
func squeeze(text string) string {
	text = strings.Join(strings.Fields(strings.NewReplacer("\n", " \n ").Replace(text)), " ")
	for strings.Contains(text, "--") {
		text = strings.ReplaceAll(text, "--", "-")
	}
	return text
}

func TestShortKeepsThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.123: "0.12", 1: "1", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 123456.7: "123457", -12.34: "-12.3"} {
		if got := short(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

func TestMeansAreOfTheSamplesThatHaveAFigure(t *testing.T) {
	got := Means([]Values{{"a": 1, "b": 5}, {"a": 3}})
	if len(got) != 2 || got["a"] != 2 || got["b"] != 5 {
		t.Errorf("got %v, want 2 and 5", got)
	}
	if got := Means(nil); len(got) != 0 {
		t.Errorf("of nothing: got %v", got)
	}
}
