package system

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	metricsWithin   = 10 * time.Second
	metricsBytesMax = 8 << 20
)

// Counters are metrics of the nodes by name, each summed over their labels and the nodes. A node that does not
// tell one of them is an error: what nobody counts is not zero.
func (c *Cluster) Counters(ctx context.Context, names ...string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsWithin)
	defer cancel()
	all := map[string]float64{}
	for _, address := range c.HTTP {
		one, err := countersOf(ctx, address, names)
		if err != nil {
			return nil, fmt.Errorf("read the metrics of %s at %s: %w", c.Name, address, err)
		}
		for name, value := range one {
			all[name] += value
		}
	}
	return all, nil
}

func countersOf(ctx context.Context, address string, names []string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	return parseMetrics(io.LimitReader(response.Body, metricsBytesMax), names)
}

// parseMetrics reads "name value" and "name{labels} value", a series a line.
func parseMetrics(from io.Reader, names []string) (map[string]float64, error) {
	found := map[string]float64{}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		line := lines.Text()
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "{")
		if !slices.Contains(names, name) {
			continue
		}
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		found[name] += value
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, told := found[name]; !told {
			return nil, fmt.Errorf("%s is not told", name)
		}
	}
	return found, nil
}
