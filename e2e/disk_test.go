package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/e2e/history"
)

// exitStorage is what `outrigger start` ends with when its disk has failed.
const exitStorage = 5

// failure mode 31: after a failed sync nobody knows what is on the disk, so the broker stops, and
// says why. What it had acknowledged is on the others.
func TestFailedSyncStopsTheBroker(t *testing.T) {
	for name, faults := range map[string][]string{
		"of a write that the kernel was handed": {"io_submit:error=EIO"},
		"that a thread waits for":               {"io_submit:error=ENOSYS", "fdatasync:error=EIO"},
	} {
		t.Run(name, func(t *testing.T) { failedSyncStopsTheBroker(t, faults) })
	}
}

func failedSyncStopsTheBroker(t *testing.T, faults []string) {
	const partitions = 6
	strace := need(t, "strace")
	f := newFleet(t, 3)
	f.startAll()
	f.createTopic(0, "sync", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, f.kafka, "sync", partitions, ledger)
	resumed(t, ledger, partitions)

	victim := leaderOf(t, f.kafka, "sync", 0)
	process := f.processes[victim]
	failCalls(t, strace, process, faults)
	select {
	case <-process.done:
	case <-time.After(15 * time.Second):
		t.Fatalf("broker %d runs on 15 s after its syncs began to fail", victim+1)
	}
	f.processes[victim] = nil
	var exit *exec.ExitError
	if !errors.As(process.err, &exit) || exit.ExitCode() != exitStorage {
		t.Errorf("broker %d ended with %v after a failed sync, want exit code %d", victim+1, process.err, exitStorage)
	}
	if !f.log.lineWith("outrigger: ", "write-ahead log failed", "input/output error") {
		t.Errorf("broker %d did not say why it stopped", victim+1)
	}

	resumed(t, ledger, partitions)
	load.stop()
	others := slices.Delete(slices.Clone(f.kafka), victim, victim+1)
	ledger.check(t, others, "sync", partitions)
	f.start(victim)
	f.serves(victim)
	f.healthy(30 * time.Second)
	t.Log(ledger.summary())
	f.stopAll()
	f.sameLogs("sync")
}

// failCalls makes system calls of a process fail from now on, without doing anything. Where nobody may trace it, the
// test is skipped.
func failCalls(t *testing.T, strace string, p *brokerProcess, faults []string) {
	t.Helper()
	said := &lineLog{}
	args := []string{"-f", "-o", os.DevNull, "-e", "trace=io_submit,fdatasync"}
	for _, fault := range faults {
		args = append(args, "-e", "inject="+fault)
	}
	tracer := exec.Command(strace, append(args, "-p", strconv.Itoa(p.cmd.Process.Pid))...)
	tracer.Stderr = said
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = tracer.Wait() }()
	t.Cleanup(func() { _ = tracer.Process.Kill(); <-ended })
	attached := time.NewTimer(5 * time.Second)
	defer attached.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !said.contains("attached") {
		select {
		case <-p.done:
			return
		case <-ended:
			missing(t, "strace cannot attach: "+said.tail(3))
		case <-attached.C:
			missing(t, "strace does not attach: "+said.tail(3))
		case <-ticker.C:
		}
	}
}

// A full disk is back-pressure: producers are told to try again, readers notice nothing, and when
// there is room the broker goes on as if nothing had been.
func TestFullDiskIsBackPressure(t *testing.T) {
	const partitions, full = 6, 0
	f := newFleet(t, 3)
	// one WAL file of 64 MiB and the metadata fit, a second file does not
	mountMemory(t, f.brokerDir(full), "100m")
	f.startAll()
	f.createTopic(0, "full", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, f.kafka, "full", partitions, ledger)
	resumed(t, ledger, partitions)
	p := int32(-1)
	for q := range f.ledBy(full) {
		p = q
	}
	if p < 0 {
		t.Fatalf("broker %d leads nothing", full+1)
	}

	fillLog(t, f, ledger, full, p)
	// small batches fit for a while where a large one does not
	raw := newRawProducer(t, ledger, f.kafka[full], "full", kgo.AllISRAcks())
	f.eventually(20*time.Second, "a small batch refused", func() error {
		switch err := raw.produce(p, 3*time.Second); {
		case errors.Is(err, kerr.NotEnoughReplicas):
			return nil
		case err != nil && !kerr.IsRetriable(err):
			t.Fatalf("produce to a full disk: got %v, want %v", err, kerr.NotEnoughReplicas)
			return err
		default:
			return fmt.Errorf("the answer is %v", err)
		}
	})
	if got := f.ledBy(full); len(got) == 0 {
		t.Errorf("broker %d leads nothing any more", full+1)
	}
	ends := endOffsetsOf(t, f.kafka[full], "full", []int32{p})
	if ends[p] == 0 {
		t.Errorf("partition %d is empty", p)
	}
	reader := ledger.history.Consumer(history.ConsumerConfig{Name: "reader of the full broker"})
	reader.Seek("full", p, 0)
	readTo(t, f.kafka[full:full+1], map[string]map[int32]int64{"full": ends}, reader)
	select {
	case <-f.processes[full].done:
		t.Fatalf("broker %d ended: %v", full+1, f.processes[full].err)
	default:
	}

	if err := syscall.Mount("", f.brokerDir(full), "", syscall.MS_REMOUNT, "size=600m"); err != nil {
		t.Fatal(err)
	}
	resumed(t, ledger, partitions)
	load.stop()
	f.healthy(30 * time.Second)
	t.Log(ledger.summary())
	ledger.check(t, f.kafka, "full", partitions)
	f.stopAll()
	f.sameLogs("full")
}

// fillLog produces to a partition of broker i until the broker refuses.
func fillLog(t *testing.T, f *fleet, ledger *ledger, i int, partition int32) {
	t.Helper()
	const most = 400
	ballast := strings.Repeat("full disk ", 90<<10)
	raw := newRawProducer(t, ledger, f.kafka[i], "full", kgo.AllISRAcks())
	for range most {
		err := raw.send(partition, ballast, 5*time.Second)
		if errors.Is(err, kerr.NotEnoughReplicas) {
			return
		}
		if err != nil && !errors.Is(err, kerr.RequestTimedOut) && !errors.Is(err, kerr.NotEnoughReplicasAfterAppend) {
			t.Fatalf("produce while the disk fills: %v", err)
		}
	}
	t.Fatalf("%d batches of %d bytes fit", most, len(ballast))
}

// mountMemory puts a file system of that size at dir, or skips the test.
func mountMemory(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		missing(t, fmt.Sprintf("cannot mount a small file system: %v", err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil && !strings.Contains(err.Error(), "invalid argument") {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}
