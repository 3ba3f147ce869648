package system

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const metricsText = `# HELP deleted_total Bytes.
# TYPE deleted_total counter
deleted_total 1.5e+09
deleted_total_more 7
refused_total{reason="a b",topic="x"} 2
refused_total{reason="c"} 3
`

func TestMetricsAreSummedOverTheirLabels(t *testing.T) {
	got, err := parseMetrics(strings.NewReader(metricsText), []string{"deleted_total", "refused_total"})
	if err != nil || len(got) != 2 || got["deleted_total"] != 1.5e9 || got["refused_total"] != 5 {
		t.Errorf("got %v %v, want 1.5e9 and 5", got, err)
	}
}

// A counter that was renamed must not pass for one that stands still.
func TestMetricThatNobodyTellsIsAnError(t *testing.T) {
	for _, text := range []string{"", "# TYPE deleted_total counter\n", "deleted_total_more 7\n", "deleted_total many\n", "deleted_total\n"} {
		if got, err := parseMetrics(strings.NewReader(text), []string{"deleted_total"}); err == nil || !strings.Contains(err.Error(), "deleted_total") {
			t.Errorf("%q: got %v %v, want an error that names it", text, got, err)
		}
	}
}

func TestCountersAreSummedOverTheNodes(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			t.Errorf("got %s, want /metrics", r.URL.Path)
		}
		_, _ = w.Write([]byte(metricsText))
	}))
	defer node.Close()
	address := strings.TrimPrefix(node.URL, "http://")
	c := &Cluster{HTTP: []string{address, address, address}}
	if got, err := c.Counters(t.Context(), "refused_total"); err != nil || got["refused_total"] != 15 {
		t.Errorf("got %v %v, want 15", got, err)
	}
	node.Close()
	if got, err := c.Counters(t.Context(), "refused_total"); err == nil {
		t.Errorf("nodes that are gone: got %v, want an error", got)
	}
}

func FuzzMetrics(f *testing.F) {
	f.Add(metricsText)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseMetrics(strings.NewReader(text), []string{"deleted_total"})
		if _, told := got["deleted_total"]; err == nil && !told {
			t.Errorf("got %v without an error, want the metric", got)
		}
	})
}
