package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The write-ahead log of each broker is a third of what is written, so its files are drained while
// producers go on and written again. A follower that was away is filled from packs. Then all brokers are
// killed: each starts from its catalog, and every acknowledged record is at its offset, byte for byte on
// all of them. What is left of a log once its topic is gone is given back to the file system.
func TestDrainedRecordsOutliveKills(t *testing.T) {
	const partitions, file, retained, written = 6, 8 << 20, 40 << 20, 128 << 20
	c := start(t, options{args: []string{"--set", fmt.Sprintf("wal.file.bytes=%d", file),
		"--set", fmt.Sprintf("wal.retained.bytes=%d", retained)}})
	c.createTopic(0, "bulk", partitions, 3)
	ledger := newLedger()
	load := startLoad(t, c.kafka, "bulk", partitions, ledger)
	resumed(t, ledger, partitions)
	away := (c.controller() + 1) % 3
	pid := c.pid(away)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }() // or it could not be stopped
	resumed(t, ledger, partitions)
	began := time.Now()
	writeBulk(t, c.kafka, "bulk", partitions, written, ledger.idempotent("bulk"))
	t.Logf("wrote %d MiB through %d MiB of log in %s, %s", written>>20, retained>>20,
		time.Since(began).Round(time.Millisecond), rate(written, time.Since(began)))
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	c.healthy(time.Minute)
	t.Logf("broker %d is in every in-sync set %s after it woke", away+1, time.Since(began).Round(time.Millisecond))
	load.stop()
	for i := range c.http {
		drained := c.metric(i, "outrigger_drained_bytes_total") + file*c.metric(i, "outrigger_adopted_files_total")
		if drained < written/2 { // Copied or adopted: that depends on how fast the machine is.
			t.Errorf("broker %d: drained %v bytes of %d", i+1, drained, written)
		}
		if held := c.metric(i, "outrigger_wal_bytes"); held > retained {
			t.Errorf("broker %d: the log takes up %v bytes, at most %d", i+1, held, retained)
		}
	}

	if code := c.verify(0); code != 2 {
		t.Errorf("verify of a running broker ends with %d, want 2", code)
	}

	c.kill9()
	for i := range c.http {
		c.eventually(10*time.Second, "the killed brokers let go of their directories, and verify finds nothing", func() error {
			if code := c.verify(i); code != 0 {
				return fmt.Errorf("verify of killed broker %d ends with %d, want 0", i+1, code)
			}
			return nil
		})
	}
	began = time.Now()
	c.launch()
	c.healthy(30 * time.Second)
	t.Logf("all brokers serve %s after they were killed", time.Since(began).Round(time.Millisecond))
	ledger.check(t, c.kafka, "bulk", partitions)
	c.stop()
	for i := range c.http {
		if code := c.verify(i); code != 0 {
			t.Errorf("verify of stopped broker %d ends with %d, want 0", i+1, code)
		}
	}
	c.sameLogs("bulk")

	c.launch()
	c.healthy(30 * time.Second)
	c.run("topic", "delete", "bulk", "--bootstrap-server", c.kafka[0])
	c.eventually(30*time.Second, "packs are removed", func() error {
		for i := range c.http {
			packs, err := filepath.Glob(filepath.Join(c.brokerDir(i), "wal", "*.pack"))
			if err != nil || len(packs) > 0 {
				return fmt.Errorf("broker %d has %d packs, %w", i+1, len(packs), err)
			}
		}
		return nil
	})
}

// verify has the directory of broker i verified, and returns the exit code.
func (c *cluster) verify(i int) int {
	c.t.Helper()
	out, err := exec.Command(c.bin, "verify", c.brokerDir(i)).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	c.t.Logf("verify of broker %d: %s", i+1, out)
	return exit.ExitCode()
}
