package lines

import (
	"fmt"
	"slices"
	"strings"

	"outrigger/cmd/peers/internal/score"
)

// The lines.
const (
	Throughput = "throughput"
	Small      = "small"
	Single     = "single"
	Partitions = "partitions"
	// Sticky is Partitions by the partitioner that clients have by default for records without a key.
	Sticky    = "partitions-sticky"
	Latency   = "latency"
	Tail      = "tail"
	Cold      = "cold"
	EndToEnd  = "end-to-end"
	JetStream = "jetstream"
	WAL       = "wal"
	Start     = "start"
	Rest      = "rest"
	Failover  = "failover"
)

// Names are all lines, in the order of the table.
var Names = []string{Throughput, Small, Single, Partitions, Sticky, Latency, Tail, Cold, EndToEnd, Failover, Start, Rest, WAL, JetStream}

// needs are lines whose figures another one is held against, or made of.
var needs = map[string][]string{Partitions: {Throughput}, Sticky: {Throughput}, Latency: {Throughput}, JetStream: {Throughput},
	keepingLine(Latency): {keepingLine(Throughput)}}

// Names of those whom a figure is held against, for people.
const (
	kafka     = "Kafka"
	spikeRate = 255 // MB/s: the better end of what the replication spike of the design reached
	plainCopy = "file to socket"
	plainLoop = "a plain loop"

	recordByRecord = "1 KiB, 1,000 partitions, record by record"
	batchByBatch   = "1 KiB, 1,000 partitions, batch by batch"
)

// catalog is what is compared, with the goals of the project.
var catalog = []score.Metric{
	against(Throughput, "mbps", "1 KiB, 6 partitions", "MB/s", 3),
	less(Throughput, "cpu", "broker CPU per GB", "s", 3),
	ceiling(Throughput),
	{Line: Throughput, Name: "1 KiB, 6 partitions", Unit: "MB/s", Ours: "outrigger/throughput.mbps", Theirs: "spike/mbps", Peer: "replication spike", Goal: 0.6},
	against(Small, "mbps", "100 B, 6 partitions", "MB/s", 3),
	less(Small, "cpu", "broker CPU per GB", "s", 0),
	ceiling(Small),
	against(Single, "mbps", "1 producer, 1 partition", "MB/s", 3),
	ceiling(Single),
	against(Partitions, "mbps", recordByRecord, "MB/s", 5),
	ceiling(Partitions),
	atSix(Partitions, recordByRecord),
	against(Sticky, "mbps", batchByBatch, "MB/s", 5),
	ceiling(Sticky),
	atSix(Sticky, batchByBatch),
	less(Latency, "p50", "open loop, p50", "ms", 2),
	less(Latency, "p99", "open loop, p99", "ms", 3),
	less(Latency, "p99.9", "open loop, p99.9", "ms", 3),
	against(Tail, "mbps", "consume, just written", "MB/s", 2),
	ceiling(Tail),
	against(Cold, "mbps", "consume, cold", "MB/s", 2),
	ceiling(Cold),
	{Line: Cold, Name: "consume, cold", Unit: "MB/s", Ours: "outrigger/cold.mbps", Theirs: "plain/copy.mbps", Peer: plainCopy, Goal: 0.7},
	less(EndToEnd, "p99", "1,000 records/s, p99", "ms", 2),
	bounded(less(Failover, "gap", "longest gap of a partition", "ms", 4), 2000),
	less(Start, "seconds", "to the first acknowledged write", "s", 5),
	less(Rest, "memory", "memory of 3 brokers", "MB", 8),
	less(Rest, "cpu", "CPU of 3 brokers", "% of a core", 4),
	{Line: WAL, Name: "the node WAL alone", Unit: "MB/s", Ours: "outrigger/wal.mbps", Theirs: "plain/wal.mbps", Peer: plainLoop, Goal: 0.85},
	{Line: JetStream, Name: "1 KiB, against 1 stream", Unit: "MB/s", Ours: "outrigger/throughput.mbps", Theirs: "jetstream/jetstream.one", Peer: "JetStream R3", Goal: 5},
	{Line: JetStream, Name: "1 KiB, against 6 streams", Unit: "MB/s", Ours: "outrigger/throughput.mbps", Theirs: "jetstream/jetstream.six", Peer: "JetStream R3", Goal: 5},
}

func against(line, figure, name, unit string, goal float64) score.Metric {
	return score.Metric{Line: line, Name: name, Unit: unit, Ours: "outrigger/" + line + "." + figure,
		Theirs: "kafka/" + line + "." + figure, Peer: kafka, Goal: goal}
}

// atSix holds a line of many partitions against ours with six.
func atSix(line, name string) score.Metric {
	return score.Metric{Line: line, Name: name, Unit: "MB/s", Ours: "outrigger/" + line + ".mbps",
		Theirs: "outrigger/" + Throughput + ".mbps", Peer: "ours at 6", Goal: 0.8}
}

// ceiling says how far ahead anybody could be on this machine with this client.
func ceiling(line string) score.Metric {
	m := against(line, "mbps", "the client alone, on all cores", "MB/s", 0)
	m.Ours = "outrigger/" + line + ".ceiling"
	return m
}

func less(line, figure, name, unit string, goal float64) score.Metric {
	m := against(line, figure, name, unit, goal)
	m.Lower = true
	return m
}

func bounded(m score.Metric, atMost float64) score.Metric {
	m.AtMost = atMost
	return m
}

// Select checks names of lines, adds those that they need, and returns them in the order of Names, those of
// Keeping last; all of Names without any.
func Select(wanted []string) ([]string, error) {
	if len(wanted) == 0 {
		return Names, nil
	}
	if slices.Contains(wanted, Keeping) {
		wanted = slices.Concat(slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return name == Keeping }), KeepingNames)
	}
	all := slices.Concat(Names, KeepingNames)
	chosen := map[string]bool{}
	for _, name := range wanted {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("--lines %s: want some of %s", name, strings.Join(append(all, Keeping), ", "))
		}
		chosen[name] = true
		for _, needed := range needs[name] {
			chosen[needed] = true
		}
	}
	return slices.DeleteFunc(all, func(name string) bool { return !chosen[name] }), nil
}

// Metrics are those of the chosen lines.
func Metrics(chosen []string) []score.Metric {
	return slices.DeleteFunc(slices.Concat(catalog, keepingCatalog(catalog)), func(m score.Metric) bool { return !slices.Contains(chosen, m.Line) })
}
