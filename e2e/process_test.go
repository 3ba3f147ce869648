package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clockTick is the unit of /proc's processor times: USER_HZ is 100 on every Linux.
const clockTick = 10 * time.Millisecond

// processorTime is the user and system time that a process has used.
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// the name, in parentheses, may hold spaces
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return time.Duration(number(t, fields[11])+number(t, fields[12])) * clockTick
}

// machineTime is the time that all processors of the machine were busy.
func machineTime(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(stat), "\n")
	//	cpu user nice system idle iowait irq softirq steal
	fields := strings.Fields(first)
	busy := int64(0)
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		busy += number(t, fields[i])
	}
	return time.Duration(busy) * clockTick
}

// resident is the memory of a process that is in RAM, in MiB.
func resident(t testing.TB, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return float64(number(t, strings.Fields(rest)[0])) / 1024
		}
	}
	t.Fatalf("/proc/%d/status has no VmRSS", pid)
	return 0
}

// descriptors is how many files and sockets a process has open.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func number(t testing.TB, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// metrics reads /metrics of a broker: the value of each series, by its name with labels.
func (c *cluster) metrics(i int) map[string]float64 {
	c.t.Helper()
	resp, err := httpClient.Get("http://" + c.http[i] + "/metrics")
	if err != nil {
		c.t.Fatalf("metrics of broker %d: %v", i+1, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("metrics of broker %d: %v", i+1, err)
	}
	series := map[string]float64{}
	scanner := bufio.NewScanner(bytes.NewReader(body))
	for scanner.Scan() {
		line := scanner.Text()
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		if value, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			series[line[:at]] = value
		}
	}
	return series
}

// metric sums up all series of one name on a broker.
func (c *cluster) metric(i int, name string) float64 {
	c.t.Helper()
	sum := 0.0
	for series, value := range c.metrics(i) {
		if bare, _, _ := strings.Cut(series, "{"); bare == name {
			sum += value
		}
	}
	return sum
}

// elections are the counters that stand still in a healthy cluster.
var elections = []string{
	"outrigger_raft_elections_total", "outrigger_partition_elections_total",
	"outrigger_watcher_triggers_total", "outrigger_isr_shrinks_total",
}

// electionCounts reads them, summed over the brokers.
func (c *cluster) electionCounts() map[string]float64 {
	c.t.Helper()
	counts := map[string]float64{}
	for i := range c.http {
		for _, name := range elections {
			counts[name] += c.metric(i, name)
		}
	}
	return counts
}
