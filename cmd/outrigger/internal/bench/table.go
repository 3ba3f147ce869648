package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// writeTable writes the report for people.
func writeTable(out io.Writer, r *Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	settingRows(r, row)
	if err := w.Flush(); err != nil {
		return err
	}
	if err := writeResults(out, r); err != nil {
		return err
	}
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	findingRows(r, row)
	return w.Flush()
}

// settingRows say what was measured on what.
func settingRows(r *Report, row func(name, format string, args ...any)) {
	l, c, m := r.Load, r.Cluster, r.Machine
	row("mode", "%s, %s%s", r.Mode, loopText(l), lengthText(r.Mode, l))
	row("started", "%s by outrigger %s", r.Started.Format(time.RFC3339), r.Version)
	if r.Mode == Consume {
		row("records", "%d bytes, read by %d consumers from the start to the end", l.RecordBytes, l.Consumers)
	} else {
		row("records", "%d bytes, %d producers, %d consumers, %s", l.RecordBytes, l.Producers, l.Consumers, l.Partitioner)
	}
	row("topic", "%s: %d partitions, replication factor %d, min.insync.replicas %s", cmp.Or(l.Topic, "many"), c.Partitions,
		c.Replication, c.MinInSync)
	row("producers", "acks=%s idempotent=%t compression=%s linger=%v batch=%s buffer=%s", l.Acks, l.Idempotent,
		l.Compression, l.Linger, byteCount(int64(l.BatchBytes)), byteCount(int64(l.BufferBytes)))
	row("cluster", "%d brokers, %s, id %s", c.Brokers, c.Versions, c.ID)
	row("flush policy", "%s", c.FlushPolicy)
	row("machine", "%s, %d cores, %s, %s of memory, logs on %s", m.CPU, m.Cores, m.Kernel, byteCount(m.MemoryMB*megabyte), m.FileSystem)
	row("", "%s, load average %s before the start", m.Go, m.Load)
}

func lengthText(mode Mode, l Load) string {
	switch mode {
	case Consume:
		return ", everything once"
	case Create:
		return fmt.Sprintf(" for %g s or %s topics", l.Seconds, count(int64(l.Topics)))
	}
	return fmt.Sprintf(" for %g s after %g s of warm-up", l.Seconds, l.Warmup)
}

func loopText(l Load) string {
	if l.Rate > 0 {
		return fmt.Sprintf("open loop at %s/s", count(int64(l.Rate)))
	}
	return "closed loop at full speed"
}

// writeResults are the numbers side by side.
func writeResults(out io.Writer, r *Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n\trecords/s\tMB/s\tmean\tp50\tp90\tp99\tp99.9\tp99.99\tmax\terrors\t\n")
	for _, name := range shownNames(r.Results) {
		x := r.Results[name]
		l := x.Latency
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", name, count(int64(x.RecordsPerSecond)), x.MBPerSecond,
			ms(l.Mean), ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.P9999), ms(l.Max), x.Errors)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var notes strings.Builder
	for _, name := range shownNames(r.Results) {
		fmt.Fprintf(&notes, "latency of what was %s: %s\n", name, r.Results[name].Meaning)
	}
	if r.Loop == "closed" && r.Results[Produced].Records > 0 {
		fmt.Fprintln(&notes, "closed loop: a record is due when the producer has room for it, so that latency is mostly that of its buffer")
	}
	if r.Behind > 0 {
		fmt.Fprintf(&notes, "NOT KEPT UP: %s records were due and never sent; no latency tells of them\n", count(r.Behind))
	}
	_, err := fmt.Fprintln(out, notes.String())
	return err
}

// findingRows are what else was seen.
func findingRows(r *Report, row func(name, format string, args ...any)) {
	if b := r.Batches; b.Count > 0 {
		row("batches", "%s, of %.0f records and %s, compressed to %.0f %%", count(b.Count), b.Records,
			byteCount(int64(b.WireBytes)), 100*b.Compressed)
	}
	p := r.Processors
	if p.Brokers > 0 {
		row("processor", "brokers %.2f s of %.1f s (%.2f s per GB), clients %.2f s; brokers hold %.0f MB", p.BrokerSeconds,
			p.Seconds, p.BrokerPerGB, p.ClientSeconds, p.ResidentMB)
	} else {
		row("processor", "clients %.2f s of %.1f s; brokers unknown (--pids)", p.ClientSeconds, p.Seconds)
	}
	row("errors", "%s", countsText(r.Errors))
	if r.Load.CountRetries {
		row("tried again after", "%s", countsText(r.Retries))
	}
	if len(r.Sockets) > 0 {
		row("connections", "%s", countsText(r.Sockets))
	}
	if g := r.Failover; g != nil {
		row("killed", "broker %d, leader of %d partitions, %.1f s after the start", g.KilledNode, g.LedPartitions, g.KilledAtSeconds)
		row("no acknowledgement", "for %s in any partition, for %s in partition %d", ms(g.AnyMillis), ms(g.WorstMillis), g.Worst)
		if g.RecoveredMillis >= 0 {
			row("writes everywhere", "%s after the kill", ms(g.RecoveredMillis))
		} else {
			row("writes everywhere", "never again")
		}
	}
	verificationRows(r.Verification, row)
}

func verificationRows(v Verification, row func(name, format string, args ...any)) {
	word := map[bool]string{true: "OK", false: "FAILED"}[v.OK]
	if v.Skipped {
		row("verification", "skipped")
		return
	}
	row("verification", "%s: %s (%.1f s)", word, v.Text, v.Seconds)
	for _, wrong := range v.Wrong {
		row("", "%s", wrong)
	}
	if v.History != "" {
		row("", "history kept in %s", v.History)
	}
}

// countsText is "3 x A, 1 x B".
func countsText(counts map[string]int64) string {
	if len(counts) == 0 {
		return "none"
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	for i, name := range names {
		names[i] = count(counts[name]) + " x " + name
	}
	return strings.Join(names, ", ")
}

// count is a number with separators.
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

// ms is a duration of milliseconds with three digits or so.
func ms(millis float64) string {
	switch {
	case millis >= 10_000:
		return fmt.Sprintf("%.1f s", millis/1000)
	case millis >= 100:
		return fmt.Sprintf("%.0f ms", millis)
	case millis >= 10:
		return fmt.Sprintf("%.1f ms", millis)
	}
	return fmt.Sprintf("%.2f ms", millis)
}

// byteCount is a size with a unit.
func byteCount(n int64) string {
	switch {
	case n >= gigabyte:
		return fmt.Sprintf("%.1f GB", float64(n)/gigabyte)
	case n >= megabyte:
		return fmt.Sprintf("%.1f MB", float64(n)/megabyte)
	case n >= 1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1000)
	}
	return fmt.Sprintf("%d B", n)
}
