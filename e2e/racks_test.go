package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// KIP-392: a consumer that names its rack reads from the follower there, which sends all of it and the leader none;
// when that follower dies, it reads on from others, in order, and nothing twice.
func TestConsumersReadInTheirRack(t *testing.T) {
	const (
		leader, near, far = 0, 1, 2
		topic             = "racked"
		each, bytes       = 300, 2048
	)
	f := newFleet(t, 3, "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector")
	f.own = func(i int) []string { return []string{fmt.Sprint("broker.rack=rack-", i)} }
	f.startAll()
	f.createAssigned(topic, leader, near, far)
	wrote := 0
	write := func() {
		values := make([]string, each)
		for i := range values {
			values[i] = fmt.Sprintf("%06d %s", wrote+i, strings.Repeat("x", bytes))
		}
		wrote += each
		f.write(topic, values)
	}
	write()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// franz-go leaves a follower, a dead one, too, only when it asks the leader again, which by itself it does every half hour.
	client, err := kgo.NewClient(kgo.SeedBrokers(f.kafka...), kgo.ConsumeTopics(topic), kgo.Rack(fmt.Sprint("rack-", near)),
		kgo.RecheckPreferredReplicaInterval(500*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	read := 0
	readAll := func(when string) {
		t.Helper()
		for read < wrote {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				if want := fmt.Sprintf("%06d ", read); !strings.HasPrefix(string(r.Value), want) {
					t.Fatalf("%s: got record %.6s at %d, want %s", when, r.Value, r.Offset, want)
				}
				read++
			})
			if ctx.Err() != nil {
				t.Fatalf("%s: %d of %d records are read", when, read, wrote)
			}
		}
	}
	readAll("from the follower")
	write()
	readAll("from the follower as they come")
	const sent = `kafka_server_brokertopicmetrics_bytesout_total{topic="` + topic + `"}`
	if got := f.metrics(near)[sent]; got < float64(wrote*bytes) {
		t.Errorf("the follower in the consumer's rack has sent %.0f bytes, want at least %d", got, wrote*bytes)
	}
	for _, i := range []int{leader, far} {
		if got := f.metrics(i)[sent]; got != 0 {
			t.Errorf("broker %d, in another rack, has sent %.0f bytes, want none", i+1, got)
		}
	}
	f.kill(near)
	write()
	readAll("when the follower is dead")
	if f.metrics(leader)[sent]+f.metrics(far)[sent] < float64(each*bytes) {
		t.Error("nobody has sent what came after the follower's death")
	}
}

// Brokers that are given racks when topics are there already: a rebalance moves one replica of each partition that has
// all of them in one rack, and nothing else; what is written stays readable, and the next rebalance finds nothing to do.
func TestRebalanceSpreadsWhatWasMadeBeforeRacks(t *testing.T) {
	t.Parallel() // it mostly waits
	f := newFleet(t, 4)
	f.voters = 3
	f.startAll()
	f.createAssigned("together", 0, 1)
	f.createAssigned("apart", 1, 2)
	f.write("together", []string{"a", "b", "c"})
	for i := range f.processes {
		f.kill(i)
	}
	f.own = func(i int) []string { return []string{"broker.rack=" + []string{"one", "one", "two", "three"}[i]} }
	f.startAll()
	f.healthy(30 * time.Second)
	via := "--bootstrap-server=" + f.kafka[0]
	var plan struct {
		Moves []struct {
			Topic    string
			From, To []int32
		}
		Copies int
	}
	if err := json.Unmarshal([]byte(f.run("cluster", "rebalance", "--dry-run", "--json", via)), &plan); err != nil {
		t.Fatal(err)
	}
	if plan.Copies != 1 || len(plan.Moves) != 1 || plan.Moves[0].Topic != "together" || !slices.Equal(plan.Moves[0].From, []int32{1, 2}) ||
		!slices.Equal(plan.Moves[0].To, []int32{1, 4}) {
		t.Errorf("got %+v, want the follower of one topic to leave the rack of its leader", plan)
	}
	f.run("cluster", "rebalance", via)
	f.healthy(30 * time.Second)
	if _, isr := f.isrOf(0, "together"); len(isr) != 2 || !slices.Contains(isr, 1) || slices.Contains(isr, 2) {
		t.Errorf("in sync are %v, want broker 1 and one of another rack", isr)
	}
	if got := f.run("cluster", "rebalance", "--dry-run", via); !strings.Contains(got, "nothing has to move") {
		t.Errorf("the next plan: got %q, want none", got)
	}
	f.kill(0)
	read := readAll(t, f.kafka[1:], "together", 1)[0]
	if want := map[int64]string{0: "a", 1: "b", 2: "c"}; !maps.Equal(read, want) {
		t.Errorf("the replica in the other rack gives %v, want what was written", read)
	}
}
