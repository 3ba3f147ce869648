package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// scaleEnv asks for the measurements of this file: minutes of a whole machine. If it names a directory, heap
// profiles of each step go there. scaleTopicsEnv, scaleBytesEnv and scaleValueEnv change what is measured.
const (
	scaleEnv       = "OUTRIGGER_SCALE"
	scaleTopicsEnv = "OUTRIGGER_SCALE_TOPICS"
	scaleBytesEnv  = "OUTRIGGER_SCALE_BYTES"
	scaleValueEnv  = "OUTRIGGER_SCALE_VALUE"
)

const (
	scaleTopics     = 5000
	scalePartitions = 2
	scaleCreators   = 16
	scaleWithin     = 5 * time.Minute
	// failoverWithin is for 3,400 leaderships at once, on a machine of two cores.
	failoverWithin = 10 * time.Second
)

// scaled measures a fleet, and says what each step took and what the brokers are worth.
type scaled struct {
	*fleet
	client *kgo.Client
	admin  *kadm.Client
	names  []string
}

// numberOf is a number from the environment.
func numberOf(t *testing.T, env string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

func needScale(t *testing.T) {
	t.Helper()
	if os.Getenv(scaleEnv) == "" {
		t.Skipf("%s is not set: minutes of a whole machine", scaleEnv)
	}
}

// step runs one step, and logs its time and the brokers' memory after it.
func (s *scaled) step(name string, do func()) time.Duration {
	s.t.Helper()
	began := time.Now()
	do()
	took := time.Since(began)
	text := ""
	for i, p := range s.processes {
		if p == nil {
			continue
		}
		text += fmt.Sprintf(", %.0f", resident(s.t, s.pids[i]))
		s.profile(name, i)
	}
	s.t.Logf("%-40s %8.2f s%s MiB", name, took.Seconds(), text)
	return took
}

// profile keeps a heap profile of a broker beside the directory that OUTRIGGER_SCALE names, if it is one.
func (s *scaled) profile(step string, i int) {
	dir := os.Getenv(scaleEnv)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Get("http://" + s.http[i] + "/debug/pprof/heap?gc=1")
	if err != nil {
		s.t.Logf("profile: %v", err)
		return
	}
	defer resp.Body.Close()
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.heap", filepath.Base(step), i+1)))
	if err != nil {
		s.t.Fatal(err)
	}
	_, copyErr := file.ReadFrom(resp.Body)
	if err := errors.Join(copyErr, file.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// create makes all topics, many at a time.
func (s *scaled) create() (latencies []time.Duration) {
	var all sync.WaitGroup
	var mu sync.Mutex
	queue, ctx := make(chan string), within(s.t, scaleWithin)
	for range scaleCreators {
		all.Go(func() {
			for name := range queue {
				began := time.Now()
				_, err := s.admin.CreateTopic(ctx, scalePartitions, 3, nil, name)
				mu.Lock()
				latencies = append(latencies, time.Since(began))
				if err != nil {
					s.t.Errorf("create %s: %v", name, err)
				}
				mu.Unlock()
			}
		})
	}
	for _, name := range s.names {
		queue <- name
	}
	close(queue)
	all.Wait()
	slices.Sort(latencies)
	return latencies
}

// writeAll has every partition acknowledge one record.
func (s *scaled) writeAll() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), scaleWithin)
	defer cancel()
	var failed sync.Map
	for _, name := range s.names {
		for p := range int32(scalePartitions) {
			s.client.Produce(ctx, &kgo.Record{Topic: name, Partition: p, Value: []byte("v")}, func(r *kgo.Record, err error) {
				if err != nil {
					failed.Store(r.Topic, err)
				}
			})
		}
	}
	if err := s.client.Flush(ctx); err != nil {
		s.t.Fatalf("write everywhere: %v", err)
	}
	failed.Range(func(name, err any) bool {
		s.t.Errorf("write to %v: %v", name, err)
		return false
	})
}

// inSync waits until all in-sync sets are full, as the brokers' own gauges say.
func (s *scaled) inSync() {
	s.t.Helper()
	s.eventually(scaleWithin, "all in-sync sets are full", func() error {
		led := 0.0
		for i := range s.processes {
			metrics := s.metrics(i)
			led += metrics["kafka_server_replicamanager_leadercount"]
			if n := metrics["kafka_server_replicamanager_underreplicatedpartitions"]; n > 0 {
				return fmt.Errorf("broker %d leads %.0f partitions that are under-replicated", i+1, n)
			}
		}
		if led != float64(len(s.names)*scalePartitions) {
			return fmt.Errorf("%.0f partitions have a leader", led)
		}
		return nil
	})
}

// ledWithout waits until broker i knows no partition without a leader, and the others lead them all.
func (s *scaled) ledWithout(i, victim int) {
	s.t.Helper()
	s.eventually(scaleWithin, "all partitions are led by others", func() error {
		metrics := s.metrics(i)
		if n := metrics["kafka_controller_kafkacontroller_offlinepartitionscount"]; n > 0 {
			return fmt.Errorf("%.0f partitions have no leader", n)
		}
		led := 0.0
		for j := range s.processes {
			if j != victim {
				led += s.metrics(j)["kafka_server_replicamanager_leadercount"]
			}
		}
		if led != float64(len(s.names)*scalePartitions) {
			return fmt.Errorf("%.0f partitions are led by others", led)
		}
		return nil
	})
}

func (s *scaled) restartAll() {
	s.t.Helper()
	for i := range s.processes {
		s.start(i)
	}
	for i := range s.processes {
		s.eventually(scaleWithin, "broker "+strconv.Itoa(i+1)+" serves", func() error {
			if !s.ready(i) {
				return errors.New("it does not say so")
			}
			return nil
		})
	}
}

// Ten thousand partitions with three replicas on three brokers of one machine start, are made, written to,
// failed over, restarted and deleted; each step's time and the brokers' memory are logged.
func TestTenThousandPartitions(t *testing.T) {
	needScale(t)
	s := &scaled{fleet: newFleet(t, 3, "http.debug.profiles=true", "min.insync.replicas=2")}
	for i := range numberOf(t, scaleTopicsEnv, scaleTopics) {
		s.names = append(s.names, fmt.Sprintf("scale-%04d", i))
	}
	s.step("start", s.startAll)
	client, err := kgo.NewClient(clientOptions(s.kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(1<<20))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s.client, s.admin = client, kadm.NewClient(client)
	var latencies []time.Duration
	s.step(fmt.Sprintf("create %d topics of %d x 3", len(s.names), scalePartitions), func() { latencies = s.create() })
	n := len(latencies)
	t.Logf("each creation: median %v, 99 %% within %v, longest %v", latencies[n/2], latencies[n*99/100], latencies[n-1])
	s.step("all in sync", s.inSync)
	s.step("one record to each partition", s.writeAll)
	s.step("one more record to each partition", s.writeAll)
	const victim = 2
	s.kill(victim)
	if took := s.step("kill -9 of one: all led by others", func() { s.ledWithout(0, victim) }); took > failoverWithin {
		t.Errorf("failover took %v, want at most %v", took, failoverWithin)
	}
	s.step("writes everywhere", s.writeAll)
	s.step("it serves again", func() {
		s.start(victim)
		s.serves(victim)
	})
	s.step("all in sync again", s.inSync)
	for i := range s.processes {
		s.kill(i)
	}
	s.step("kill -9 of all: all serve", s.restartAll)
	s.step("all in sync again after kill of all", s.inSync)
	s.step("writes everywhere after kill of all", s.writeAll)
	s.step("delete all topics", func() {
		for chunk := range slices.Chunk(s.names, 500) {
			deleted, err := s.admin.DeleteTopics(within(t, scaleWithin), chunk...)
			if err := errors.Join(err, deleted.Error()); err != nil {
				t.Errorf("delete: %v", err)
			}
		}
	})
	s.step("nothing is left", func() {
		s.eventually(scaleWithin, "no partition", func() error {
			for i := range s.processes {
				if n := s.metrics(i)["kafka_server_replicamanager_partitioncount"]; n > 0 {
					return fmt.Errorf("broker %d has %.0f partitions", i+1, n)
				}
			}
			return nil
		})
	})
}

// A broker with many gigabytes serves within seconds: a restart reads what came after the checkpoint, not
// the data. OUTRIGGER_SCALE_BYTES says how much (2 GiB), OUTRIGGER_SCALE_VALUE how large each batch is (100 KiB).
func TestBrokerWithManyGigabytesRestartsInSeconds(t *testing.T) {
	needScale(t)
	total, valueBytes := numberOf(t, scaleBytesEnv, 2<<30), numberOf(t, scaleValueEnv, 100<<10)
	const (
		partitions    = 100
		overheadBytes = 200 // of a batch of one record
		restartMost   = 10 * time.Second
	)
	s := &scaled{fleet: newFleet(t, 1, "http.debug.profiles=true")}
	s.step("start", s.startAll)
	s.createTopic(0, "bulk", partitions, 1)
	client, err := kgo.NewClient(clientOptions(s.kafka, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(int(max(2000, 64<<20/valueBytes))),
		kgo.ProducerBatchMaxBytes(int32(valueBytes+overheadBytes)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	value := make([]byte, valueBytes)
	s.step(fmt.Sprintf("write %d MiB to %d partitions", total>>20, partitions), func() {
		for range total / valueBytes {
			client.Produce(context.Background(), &kgo.Record{Topic: "bulk", Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
		if err := client.Flush(within(t, scaleWithin)); err != nil {
			t.Fatal(err)
		}
	})
	restart := func() {
		s.start(0)
		s.eventually(scaleWithin, "it serves", func() error {
			if !s.ready(0) {
				return errors.New("it does not say so")
			}
			return nil
		})
	}
	s.kill(0)
	if took := s.step("serves after kill -9", restart); took > restartMost {
		t.Errorf("restart took %v, want at most %v", took, restartMost)
	}
	s.stopAll()
	if took := s.step("serves after a clean stop", restart); took > restartMost {
		t.Errorf("restart after a clean stop took %v, want at most %v", took, restartMost)
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(within(t, time.Minute), "bulk")
	if err != nil {
		t.Fatal(err)
	}
	records := int64(0)
	ends.Each(func(o kadm.ListedOffset) { records += o.Offset })
	if want := total / valueBytes; records != want {
		t.Errorf("records after the restarts: got %d, want %d", records, want)
	}
}
