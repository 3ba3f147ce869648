package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const readyWithin = 60 * time.Second

// cluster is three brokers, each a process that is started again when it ends.
type cluster struct {
	kafka, http []string
	log         *os.File
	cmd         *exec.Cmd
	done        chan struct{}
}

// startCluster runs `outrigger dev` until the test ends.
func startCluster(t *testing.T, args ...string) *cluster {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "outrigger")
	if out, err := exec.Command("go", "build", "-o", bin, "outrigger/cmd/outrigger").CombinedOutput(); err != nil {
		t.Fatalf("build the broker: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "dev.log"))
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{log: log, done: make(chan struct{})}
	c.cmd = exec.Command(bin, append([]string{"dev", "--brokers", "3", "--restart", "--data", t.TempDir(), "--kafka-port", "0",
		"--nats-port", "0", "--cluster-port", "0", "--http-port", "0"}, args...)...)
	c.cmd.Stderr = log
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		defer close(c.done)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			select {
			case ready <- lines.Text():
			default:
			}
		}
		_ = c.cmd.Wait() // how it ends is for other tests
	}()
	t.Cleanup(func() { c.stop(t) })
	select {
	case line := <-ready:
		for field := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "kafka":
				c.kafka = strings.Split(value, ",")
			case "http":
				c.http = strings.Split(value, ",")
			}
		}
	case <-c.done:
	case <-time.After(readyWithin):
	}
	if len(c.kafka) != 3 || len(c.http) != 3 {
		t.Fatalf("three brokers are not ready\n%s", c.said())
	}
	return c
}

func (c *cluster) stop(t *testing.T) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.AfterFunc(endsWithin, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	<-c.done
	said := c.said()
	for _, bad := range []string{"panic:", "fatal error:", "WARNING: DATA RACE"} {
		if i := strings.Index(said, bad); i >= 0 {
			t.Errorf("a broker's log says\n%s", said[i:min(len(said), i+3000)])
		}
	}
	if t.Failed() {
		t.Logf("the end of the brokers' log:\n%s", said[max(0, len(said)-5000):])
	}
	_ = c.log.Close() // only read from now on
}

func (c *cluster) said() string {
	text, err := os.ReadFile(c.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

var httpClient = &http.Client{Timeout: 2 * time.Second}

// kill ends a broker with -9, and waits until its successor serves.
func (c *cluster) kill(ctx context.Context, broker int) error {
	pid, err := c.pid(broker)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill broker %d: %w", broker+1, err)
	}
	return eventually(ctx, func() error {
		if now, err := c.pid(broker); err != nil || now == pid {
			return fmt.Errorf("broker %d is not back: %w", broker+1, err)
		}
		r, err := httpClient.Get("http://" + c.http[broker] + "/ready")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("broker %d is not ready: %s", broker+1, r.Status)
		}
		return nil
	})
}

func (c *cluster) pid(broker int) (int, error) {
	r, err := httpClient.Get("http://" + c.http[broker] + "/health")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var h struct {
		PID int `json:"pid"`
	}
	return h.PID, json.NewDecoder(r.Body).Decode(&h)
}

// broker is the address of one.
func (c *cluster) broker(i int) string { return c.kafka[i%len(c.kafka)] }

// admin is the other eye: what a client says was done is looked at with it.
func (c *cluster) admin() (*kadm.Client, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(client), nil
}

// coordinates waits until groups are: the first to ask has their topic made, and is told to ask again, for
// which kafkajs has little patience in a transaction.
func (c *cluster) coordinates(ctx context.Context) error {
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return eventually(ctx, func() error {
		found, err := adm.DescribeGroups(ctx, "first")
		if err = errorOf(err, found.Error()); errors.Is(err, kerr.GroupIDNotFound) {
			return nil // said by one that has loaded its groups
		}
		return err
	})
}

// topic makes one, and one of fewer replicas where there are fewer brokers.
func (c *cluster) topic(ctx context.Context, name string, partitions int32, replicas int16) error {
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	if _, err := adm.CreateTopic(ctx, partitions, min(replicas, int16(len(c.kafka))), nil, name); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

// record is one that was written or read. Its offset is -1 where nobody told.
type record struct {
	partition  int32
	offset     int64
	key, value string
}

func (r record) String() string {
	return fmt.Sprintf("%d/%d %q=%q", r.partition, r.offset, r.key, r.value[:min(len(r.value), 60)])
}

// write produces records with franz-go, in order, and returns them with their offsets.
func (c *cluster) write(ctx context.Context, topic, codec string, records []record) ([]record, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(franzCodecs[codec]),
		kgo.UnknownTopicRetries(-1))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	all := make([]*kgo.Record, len(records))
	for i, r := range records {
		all[i] = &kgo.Record{Partition: r.partition, Key: []byte(r.key), Value: []byte(r.value)}
	}
	if err := client.ProduceSync(ctx, all...).FirstErr(); err != nil {
		return nil, fmt.Errorf("write to %s: %w", topic, err)
	}
	written := slices.Clone(records)
	for i, r := range all {
		written[i].offset = r.Offset
	}
	return written, nil
}

// read reads a topic up to its ends, which for committed are those of decided transactions, with franz-go.
func (c *cluster) read(ctx context.Context, topic string, committed bool) ([]record, error) {
	adm, err := c.admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	list, level := adm.ListEndOffsets, kgo.ReadUncommitted()
	if committed {
		list, level = adm.ListCommittedOffsets, kgo.ReadCommitted()
	}
	ends, err := list(ctx, topic)
	if err := errorOf(err, ends.Error()); err != nil {
		return nil, fmt.Errorf("ends of %s: %w", topic, err)
	}
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().AtStart()
		}
	})
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka...), kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var all []record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %s with %d partitions left: %w", topic, len(left), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all = append(all, record{r.Partition, r.Offset, string(r.Key), string(r.Value)})
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return all, nil
}

func errorOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// unique gives topics and groups of one run names of their own, which would be an empty token of a subject.
var unique struct {
	mu sync.Mutex
	n  int
}

func fresh(name string) string {
	unique.mu.Lock()
	defer unique.mu.Unlock()
	unique.n++
	return strings.NewReplacer(" ", "-", "(", "", ")", "", "/", "-").Replace(name) + ".." + strconv.Itoa(unique.n)
}
