package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"outrigger/broker/topic"
	formats "outrigger/sidecar/cluster"
)

// Brokers are stopped and started again one by one, each as a version that speaks one more format level,
// under producers with a client's own defaults: none is told that anything failed, and every record is there
// once. While brokers of both versions run, nothing is written in the new way, and nobody can ask for it;
// once all speak it, it is finalized, and then the old version refuses to start. Before that a broker is taken back.
func TestRollingUpgradeUnderLoadFailsNoProduce(t *testing.T) {
	const partitions, now = 6, formats.Level
	later := strconv.Itoa(now + 1)
	next, err := binaries.next()
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, 3)
	old := f.bin
	f.startAll()
	f.createTopic(0, "rolling", partitions, 3)
	ledger := newLedger()
	load := startLoadWith(t, []kgo.Opt{kgo.SeedBrokers(f.kafka...)}, "rolling", partitions, ledger)
	resumed(t, ledger, partitions)
	f.wantFormat(now, spoken(now), spoken(now), spoken(now)) // a new cluster begins at the newest level of its version
	ledger.takeLongest()
	began := time.Now()
	speak := []string{spoken(now), spoken(now), spoken(now)}
	become := func(i int, version, speaks string) {
		t.Helper()
		f.stopOne(i)
		f.bin = version
		f.start(i)
		f.serves(i)
		f.healthy(30 * time.Second)
		speak[i] = speaks
		f.wantFormat(now, speak...)
	}
	become(0, next, spoken(now+1))
	resumed(t, ledger, partitions)
	become(0, old, spoken(now)) // which goes on from what the new one has written
	resumed(t, ledger, partitions)
	for i := range f.processes {
		become(i, next, spoken(now+1))
		if i < 2 {
			f.bin = old // of the commands, too
			f.refuses(later, "cluster", "upgrade", "--level", later, "--bootstrap-server", f.kafka[i])
			f.run("cluster", "upgrade", "--bootstrap-server", f.kafka[i]) // to the level that all speak
			f.wantFormat(now, speak...)
		}
	}
	resumed(t, ledger, partitions)
	longest, partition := ledger.takeLongest()
	t.Logf("five restarts took %s, the longest gap was %s on partition %d", time.Since(began).Round(time.Millisecond),
		longest.Round(time.Millisecond), partition)

	f.run("cluster", "upgrade", "--bootstrap-server", f.kafka[0])
	f.wantFormat(now+1, speak...)
	resumed(t, ledger, partitions)
	f.stopOne(0)
	whole := foreignCatalog(t, f.brokerDir(0))
	f.bin = old
	f.start(0)
	p := f.processes[0]
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the old version runs on although a level is finalized that it does not speak")
	}
	f.processes[0] = nil
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("the old version ended with %v, want exit code 2", p.err)
	}
	if !f.log.lineWith("outrigger: ", "finalized format level "+later, "speaks "+spoken(now), "start a version that speaks level "+later) {
		t.Error("the old version did not say why it does not start")
	}
	whole()
	if code := f.verify(0); code != 2 {
		t.Errorf("verify by the old version ends with %d, want 2: it cannot judge", code)
	}
	f.bin = next
	f.start(0)
	f.serves(0)
	f.healthy(30 * time.Second)
	resumed(t, ledger, partitions)
	load.stop()
	if len(ledger.errors) > 0 {
		t.Errorf("producers were told %v, want no error", ledger.errors)
	}
	t.Log(ledger.summary())
	ledger.check(t, f.kafka, "rolling", partitions)
	f.stopAll()
	for i := range f.processes {
		if code := f.verify(i); code != 0 {
			t.Errorf("verify of broker %d ends with %d, want 0", i+1, code)
		}
	}
}

// spoken is how a version whose highest format level this is tells those that it speaks.
func spoken(highest int) string { return fmt.Sprintf("%d-%d", topic.FirstLevel, highest) }

// foreignCatalog puts something in the place of a broker's catalog that only a later version could read, until whole
// is called.
func foreignCatalog(t *testing.T, dir string) (whole func()) {
	t.Helper()
	catalog := filepath.Join(dir, "catalog")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(catalog, catalog+".kept"))
	must(os.Mkdir(catalog, 0o755))
	must(os.WriteFile(filepath.Join(catalog, "marker.manifest.000001.MANIFEST-000001"), nil, 0o644)) // and there is none
	return func() {
		t.Helper()
		must(os.RemoveAll(catalog))
		must(os.Rename(catalog+".kept", catalog))
	}
}

// wantFormat wants that level finalized, and brokers that speak these.
func (f *fleet) wantFormat(level int, speak ...string) {
	f.t.Helper()
	var view struct {
		Format  int
		Brokers []struct{ Formats struct{ Min, Max int } }
	}
	out := f.run("cluster", "status", "--json", "--bootstrap-server", f.kafka[0])
	if err := json.Unmarshal([]byte(out), &view); err != nil {
		f.t.Fatal(err)
	}
	if view.Format != level || len(view.Brokers) != len(speak) {
		f.t.Fatalf("got %s, want level %d of %d brokers", out, level, len(speak))
	}
	for i, b := range view.Brokers {
		if max := int(speak[i][2] - '0'); b.Formats.Min != 1 || b.Formats.Max != max {
			f.t.Errorf("broker %d speaks %+v, want %s", i+1, b.Formats, speak[i])
		}
	}
}

// refuses wants a command to fail, and to say something.
func (f *fleet) refuses(said string, args ...string) {
	f.t.Helper()
	out, err := exec.Command(f.bin, args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), said) {
		f.t.Errorf("outrigger %s: got %v, %s", strings.Join(args, " "), err, out)
	}
}
