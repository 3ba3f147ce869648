package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"outrigger/cmd/outrigger/internal/moves"
)

func described(key, value string) kadm.Config { return kadm.Config{Key: key, Value: &value} }

func TestClusterStatusShowsThrottlesAndBytes(t *testing.T) {
	copied, whole := int64(1_200_000), int64(4_800_000)
	v := &clusterView{
		Brokers: []brokerView{{Broker: 1, Live: true}, {Broker: 2, Live: true}},
		Reassignments: []reassignmentView{
			{Topic: "orders", Partition: 3, Replicas: []int32{1, 2}, Adding: []int32{2}, CopiedBytes: &copied, Bytes: &whole},
			{Topic: "orders", Partition: 4, Replicas: []int32{1, 2}, Adding: []int32{2}},
		},
		ThrottledTopics: []throttledTopic{{Topic: "orders", Leader: "*"}},
	}
	for _, c := range []kadm.Config{
		described(moves.RateConfig, "500"), described(leaderRateConfig, "7000"), described(followerRateConfig, "9223372036854775807"),
	} {
		v.Brokers[1].Throttle.note(c)
	}
	var out bytes.Buffer
	if err := v.write(&out); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"throttle of broker 2: moves 500 bytes/s, leader 7000 bytes/s leader and follower rates count for replicas of orders ",
		"orders-3 1,2 2 - 1.2/4.8 MB (25 %)", "orders-4 1,2 2 - -",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got\n%s\nwant %q in it", out.String(), want)
		}
	}
	if strings.Contains(text, "broker 1:") || strings.Contains(text, "nothing moves") {
		t.Errorf("got\n%s\nwant nothing of a throttle of broker 1, nor that nothing moves", out.String())
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"throttle":{}`, `"throttle":{"moves":500,"leader":7000}`, `"copied_bytes":1200000,"bytes":4800000`} {
		if strings.Count(string(encoded), want) != 1 {
			t.Errorf("got %s, want %s in it, once", encoded, want)
		}
	}
}

func TestThrottleThatWasLeftIsShownWithItsRemedy(t *testing.T) {
	v := &clusterView{Brokers: []brokerView{{Broker: 1, Live: true}}}
	v.Brokers[0].Throttle.note(described(moves.RateConfig, "500"))
	var out bytes.Buffer
	if err := v.writeThrottles(&out); err != nil || !strings.Contains(out.String(), "`outrigger cluster cancel`") {
		t.Errorf("got %q, %v, want the command that ends it", out.String(), err)
	}
}

func TestCopiesAreMeasuredAgainstTheLeader(t *testing.T) {
	at := func(size int64) kadm.DescribedLogDirs {
		return kadm.DescribedLogDirs{"d": {Topics: kadm.DescribedLogDirTopics{"t": {0: {Topic: "t", Size: size}}}}}
	}
	dirs := kadm.DescribedAllLogDirs{1: at(100), 2: at(40), 3: {}, 4: at(130)}
	move := func(adding ...int32) moves.Move {
		return moves.Move{Partition: moves.Partition{Topic: "t"}, Adding: adding}
	}
	for name, is := range map[string]struct {
		move   moves.Move
		leader int32
		want   moves.Filled
		known  bool
	}{
		"two copies, one not begun":       {move(2, 3), 1, moves.Filled{Bytes: 40, Of: 200}, true},
		"one with what is compacted away": {move(4), 1, moves.Filled{Bytes: 100, Of: 100}, true},
		"a broker does not answer":        {move(2, 9), 1, moves.Filled{}, false},
		"the leader does not":             {move(2), 9, moves.Filled{}, false},
		"nothing is copied":               {move(), 1, moves.Filled{}, false},
	} {
		if got, known := fillingOf(dirs, is.move, is.leader); got != is.want || known != is.known {
			t.Errorf("%s: got %+v, %v, want %+v, %v", name, got, known, is.want, is.known)
		}
	}
}

func TestProgressOfMovesIsInBytesWhereBrokersTell(t *testing.T) {
	var out bytes.Buffer
	p := &progress{out: &out}
	p.moved(moves.Progress{Partitions: 1, Of: 4, Bytes: 1_500_000_000, OfBytes: 3_000_000_000})
	p.moved(moves.Progress{Partitions: 1, Of: 3})
	p.say("waiting")
	want := "\r\033[K[###############...............] 1.5/3.0 GB (50 %), 1/4 partitions moved" +
		"\r\033[K[##########....................] 1/3 partitions moved\r\033[Kwaiting"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestReassignmentsAreNamedByTopicOrPartition(t *testing.T) {
	p := moves.Partition{Topic: "orders", Index: 3}
	for arg, want := range map[string]bool{"": true, "orders": true, "orders-3": true, "orders-4": false, "order": false} {
		var args []string
		if arg != "" {
			args = []string{arg}
		}
		if got := named(args, p); got != want {
			t.Errorf("%q: got %v, want %v", arg, got, want)
		}
	}
}

// Who drains a broker that is down, or looks whether it may be removed, sees both.
func TestFencedBrokerIsShownAsDrainingToo(t *testing.T) {
	v := &clusterView{Brokers: []brokerView{
		{Broker: 1, Live: true}, {Broker: 2, Live: true, Draining: true}, {Broker: 3}, {Broker: 4, Draining: true},
	}}
	var out bytes.Buffer
	if err := v.write(&out); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	if want := "1 - live - - 0 0 0 2 - draining - - 0 0 0 3 - fenced - - 0 0 0 4 - fenced, draining - - 0 0 0"; !strings.Contains(text, want) {
		t.Errorf("got\n%s\nwant %q", out.String(), want)
	}
}
