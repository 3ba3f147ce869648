package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The topic that every client reads: its name holds what would be an empty token in a subject.
const (
	clientsTopic      = "clients..of.three"
	clientsPartitions = 6
	clientsLines      = 100_000
)

// TestClientsReadWhatKcatWrote is how people meet a broker: with the client that they have.
func TestClientsReadWhatKcatWrote(t *testing.T) {
	kcat := need(t, "kcat")
	c := start(t, options{})
	c.createTopic(0, clientsTopic, clientsPartitions, 3)
	wrote := writeLines(t, kcat, c.kafka[0])

	var first map[int32]map[int64]string
	for _, reader := range []struct {
		name string
		read func(t *testing.T) map[int32]map[int64]string
	}{
		{"kcat", func(t *testing.T) map[int32]map[int64]string { return readWithKcat(t, kcat, c.kafka[1]) }},
		{"franz-go", func(t *testing.T) map[int32]map[int64]string { return readWithFranz(t, c.kafka[2]) }},
		{"kafka-python", func(t *testing.T) map[int32]map[int64]string { return readWithPython(t, c.kafka[2]) }},
	} {
		t.Run(reader.name, func(t *testing.T) {
			began := time.Now()
			read := reader.read(t)
			t.Logf("read in %s", time.Since(began).Round(time.Millisecond))
			sameLines(t, wrote, read)
			if first == nil {
				first = read
			}
			sameOffsets(t, first, read)
		})
	}
	t.Run("metadata", func(t *testing.T) {
		for _, broker := range c.kafka {
			checkMetadata(t, kcat, broker)
		}
	})
	c.healthy(30 * time.Second)
	c.stop()
	c.sameLogs("clients")
}

// writeLines has kcat produce numbered lines with acks=all, and returns them.
func writeLines(t *testing.T, kcat, broker string) []string {
	t.Helper()
	lines := make([]string, clientsLines)
	var input bytes.Buffer
	for i := range lines {
		key := "k" + strconv.Itoa(i%1000)
		value := fmt.Sprintf("line %06d æøå %s", i, padding[:i%80])
		lines[i] = key + "\t" + value
		input.WriteString(key + ":" + value + "\n")
	}
	cmd := exec.Command(kcat, "-P", "-b", broker, "-t", clientsTopic, "-K:", "-X", "acks=all")
	cmd.Stdin = &input
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kcat -P: %v\n%s", err, out)
	}
	t.Logf("kcat wrote %d lines in %s", clientsLines, time.Since(began).Round(time.Millisecond))
	return lines
}

func readWithKcat(t *testing.T, kcat, broker string) map[int32]map[int64]string {
	t.Helper()
	out := output(t, exec.Command(kcat, "-C", "-b", broker, "-t", clientsTopic, "-o", "beginning", "-e", "-q",
		"-f", `%p\t%o\t%k\t%s\n`))
	return parseLines(t, strings.Split(strings.TrimSuffix(out, "\n"), "\n"))
}

func readWithFranz(t *testing.T, broker string) map[int32]map[int64]string {
	t.Helper()
	assign := map[int32]kgo.Offset{}
	for p := range int32(clientsPartitions) {
		assign[p] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{clientsTopic: assign}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	read := map[int32]map[int64]string{}
	for n := 0; n < clientsLines; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("fetch after %d records: %v", n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if read[r.Partition] == nil {
				read[r.Partition] = map[int64]string{}
			}
			read[r.Partition][r.Offset] = string(r.Key) + "\t" + string(r.Value)
			n++
		})
	}
	return read
}

func readWithPython(t *testing.T, broker string) map[int32]map[int64]string {
	t.Helper()
	python := need(t, "python3")
	if exec.Command(python, "-c", "import kafka").Run() != nil {
		missing(t, "kafka-python is not installed")
	}
	out := output(t, exec.Command(python, "testdata/read.py", broker, clientsTopic, strconv.Itoa(clientsPartitions)))
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	last := len(lines) - 1
	if seek := strings.Split(lines[last], "\t"); len(seek) != 3 || seek[0] != "seek" || seek[1] != seek[2] {
		t.Errorf("a seek into the middle says %q, want the offset that was asked for", lines[last])
	}
	return parseLines(t, lines[:last])
}

// output runs a client for at most a minute.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, errors.String())
	}
	return out.String()
}

// parseLines reads lines of partition, offset, key and value. An offset that comes twice or out of
// order is an error.
func parseLines(t *testing.T, lines []string) map[int32]map[int64]string {
	t.Helper()
	read, next := map[int32]map[int64]string{}, map[int32]int64{}
	for _, line := range lines {
		fields := strings.SplitN(line, "\t", 3)
		if len(fields) != 3 {
			t.Fatalf("got line %q, want partition, offset, key and value", line)
		}
		partition, err := strconv.Atoi(fields[0])
		if err != nil {
			t.Fatalf("got line %q: %v", line, err)
		}
		offset, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			t.Fatalf("got line %q: %v", line, err)
		}
		p := int32(partition)
		if offset != next[p] {
			t.Fatalf("partition %d: got offset %d, want %d", p, offset, next[p])
		}
		next[p]++
		if read[p] == nil {
			read[p] = map[int64]string{}
		}
		read[p][offset] = fields[2]
	}
	return read
}

// sameLines requires that exactly what was written was read.
func sameLines(t *testing.T, wrote []string, read map[int32]map[int64]string) {
	t.Helper()
	var got []string
	for _, offsets := range read {
		for _, line := range offsets {
			got = append(got, line)
		}
	}
	if len(read) != clientsPartitions {
		t.Errorf("got records of %d partitions, want of %d", len(read), clientsPartitions)
	}
	if len(got) != len(wrote) {
		t.Errorf("got %d lines, want %d", len(got), len(wrote))
	}
	want := slices.Sorted(slices.Values(wrote))
	slices.Sort(got)
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("got line %q, want %q", got[i], want[i])
		}
	}
}

// sameOffsets requires that two clients saw each record at the same place.
func sameOffsets(t *testing.T, want, got map[int32]map[int64]string) {
	t.Helper()
	for p, offsets := range want {
		for offset, line := range offsets {
			if got[p][offset] != line {
				t.Fatalf("partition %d offset %d: got %q, another client got %q", p, offset, got[p][offset], line)
			}
		}
	}
}

// kcatMetadata is what `kcat -L -J` prints, as far as we look.
type kcatMetadata struct {
	Brokers []struct {
		ID   int    `json:"id"`
		Name string `json:"name"`
	} `json:"brokers"`
	Topics []struct {
		Topic      string `json:"topic"`
		Partitions []struct {
			Leader   int              `json:"leader"`
			Replicas []map[string]int `json:"replicas"`
			ISRs     []map[string]int `json:"isrs"`
		} `json:"partitions"`
	} `json:"topics"`
}

func checkMetadata(t *testing.T, kcat, broker string) {
	t.Helper()
	var m kcatMetadata
	if err := json.Unmarshal([]byte(output(t, exec.Command(kcat, "-L", "-J", "-b", broker, "-t", clientsTopic))), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Brokers) != 3 {
		t.Errorf("%s: got brokers %v, want three", broker, m.Brokers)
	}
	if len(m.Topics) != 1 || m.Topics[0].Topic != clientsTopic || len(m.Topics[0].Partitions) != clientsPartitions {
		t.Fatalf("%s: got topics %+v, want %s with %d partitions", broker, m.Topics, clientsTopic, clientsPartitions)
	}
	for i, p := range m.Topics[0].Partitions {
		if p.Leader < 1 || p.Leader > 3 || len(p.Replicas) != 3 || len(p.ISRs) != 3 {
			t.Errorf("%s: got partition %d %+v, want a leader and three replicas in sync", broker, i, p)
		}
	}
}
