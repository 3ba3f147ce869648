package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// movesView is what `outrigger cluster status --json` shows of moves.
type movesView struct {
	Brokers []struct {
		Broker   int
		Replicas int
		Throttle struct{ Moves int64 }
	}
	Reassignments []struct {
		Topic       string
		CopiedBytes int64 `json:"copied_bytes"`
		Bytes       int64
	}
}

func (f *fleet) moves() (view movesView) {
	f.t.Helper()
	if err := json.Unmarshal([]byte(f.run("cluster", "status", "--json", "--bootstrap-server", f.kafka[0])), &view); err != nil {
		f.t.Fatal(err)
	}
	return view
}

// unthrottled requires that nothing moves, nothing is throttled, and broker 2 holds so many replicas.
func (f *fleet) unthrottled(when string, replicas int) {
	f.t.Helper()
	view := f.moves()
	if len(view.Reassignments) > 0 || view.Brokers[1].Replicas != replicas {
		f.t.Errorf("%s: got %+v, want nothing that moves and %d replicas on broker 2", when, view, replicas)
	}
	for _, b := range view.Brokers {
		if b.Throttle.Moves != 0 {
			f.t.Errorf("%s: the moves of broker %d are throttled to %d bytes/s", when, b.Broker, b.Throttle.Moves)
		}
	}
}

// A throttled drain is interrupted: what was begun goes on at its rate, which is shown with the bytes that are
// copied, and is taken back together with the throttle. A drain that comes to its end leaves no throttle.
func TestInterruptedDrainSaysWhatGoesOnAndIsTakenBack(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFleet(t, 3)
	f.startAll()
	f.createAssigned("slow", 0, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(f.kafka...), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 20 {
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: "slow", Value: make([]byte, 100<<10)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	via := "--bootstrap-server=" + f.kafka[0]
	drain := exec.CommandContext(ctx, f.bin, "cluster", "drain", "2", "--throttle", "1000", via)
	var said bytes.Buffer
	drain.Stderr = &said
	if err := drain.Start(); err != nil {
		t.Fatal(err)
	}
	f.eventually(15*time.Second, "the drain is shown with its throttle and its bytes", func() error {
		view := f.moves()
		if len(view.Reassignments) != 1 || view.Brokers[2].Throttle.Moves != 1000 {
			return fmt.Errorf("%+v", view)
		}
		if r := view.Reassignments[0]; r.Topic != "slow" || r.CopiedBytes >= r.Bytes || r.Bytes < 20*100<<10 {
			t.Errorf("got %+v, want some of 2 MB", r)
		}
		return nil
	})
	if err := drain.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := drain.Wait(); err == nil || !strings.Contains(said.String(), "1 reassignments that were begun go on at 1000 bytes/s") {
		t.Errorf("interrupted drain: got %v, %q, want what goes on", err, said.String())
	}
	if out := f.run("cluster", "cancel", via); out != "taken back: slow-0; 0 reassignments go on\n" {
		t.Errorf("cancel: got %q", out)
	}
	f.unthrottled("taken back", 1)
	f.run("cluster", "drain", "2", "--throttle", "100000000", via)
	f.unthrottled("drained", 0)
}
