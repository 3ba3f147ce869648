package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"outrigger/broker/topic"
)

// everyCommand has one of each kind, with every field set.
func everyCommand() []Command {
	p := topic.Partition{Topic: idOf("t"), Index: 3}
	broker := register(4, 2).Broker
	broker.Rack, broker.Version = "east", "1.2.3"
	return []Command{
		SetClusterID{ID: "cluster"},
		SetLevel{Level: 1},
		SetDefaults{MinInSync: 2, UncleanElection: true},
		RegisterBroker{Broker: broker, CleanStop: true, FlushAlways: true, Replaces: 9},
		RegisterBroker{Broker: broker, CleanStop: true, FlushAlways: true, Unconditional: true},
		FenceBroker{Node: 4, Session: 5, Reason: "silent for 12 ticks"},
		ResignBroker{Node: 4, Session: 5},
		AlterISR{Changes: []ISRChange{{Partition: p, LeaderEpoch: 7, PartitionEpoch: 8,
			Leader: member(1, 2), ISR: []topic.Member{member(1, 2), member(2, 3)}}}},
		CreateTopics{Topics: []topic.Creation{
			{ID: idOf("a"), Name: "a", Partitions: 3, ReplicationFactor: 2, Internal: true,
				Configs: map[string]string{"b": "2", "a": "1"}},
			{ID: idOf("b"), Name: "b", Partitions: -1, ReplicationFactor: -1,
				Assignments: [][]topic.NodeID{{1, 2}, {2, 3}}},
			{ID: idOf("c"), Name: "c", Assignments: [][]topic.NodeID{}},
		}},
		DeleteTopics{IDs: []topic.ID{idOf("a"), idOf("b")}},
		CreatePartitions{Growths: []topic.Growth{{ID: idOf("a"), Total: 9,
			Assignments: [][]topic.NodeID{{1}, {2}}}}},
		AllocateProducerIDs{Node: 4, Session: 5},
		ElectUnclean{Elections: []UncleanElection{{Partition: p, PartitionEpoch: 2, Node: topic.NoNode}}},
		ClaimLogs{Member: member(4, 5), Items: []LogClaim{{Partition: p, LeaderEpoch: 6, TailEpoch: topic.NoEpoch, End: 7}}},
		QuarantineReplicas{Member: member(4, 5), Items: []ReplicaQuarantine{{Partition: p, LeaderEpoch: 6}}},
		ElectPreferred{Partitions: []topic.Partition{p}},
		Reassign{Items: []topic.Reassignment{{Partition: p, PartitionEpoch: 3, Target: []topic.NodeID{4, 5}},
			{Partition: p, PartitionEpoch: 4}, {Partition: p, Target: []topic.NodeID{}}}},
		FinishReassignments{Items: []ReassignmentEnd{{Partition: p, PartitionEpoch: 3}}},
		UnregisterBroker{Node: 7},
		SetVoters{Before: []topic.NodeID{1}, After: []topic.NodeID{1, 2}},
		AlterConfigs{Changes: []topic.ConfigChange{
			{Kind: topic.TopicConfigs, ID: idOf("a"), Epoch: 7, Values: map[string]string{"x": "", "a": "1"}},
			{Kind: topic.BrokerConfigs, Name: "1", Epoch: topic.AnyEpoch},
		}},
	}
}

func TestEveryCommandSurvivesItsBytes(t *testing.T) {
	for _, c := range everyCommand() {
		got, err := Decode(Encode(c))
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, c)
		}
	}
}

func TestUnknownCommandVersionAndLevelAreErrors(t *testing.T) {
	good := Encode(SetClusterID{ID: "x"})
	for name, spoil := range map[string]func([]byte) []byte{
		"version":   func(b []byte) []byte { b[0] = 2; return b },
		"level":     func(b []byte) []byte { b[2] = Level + 1; return b },
		"level 0":   func(b []byte) []byte { b[2] = 0; return b },
		"kind":      func(b []byte) []byte { b[3] = 200; return b },
		"tail":      func(b []byte) []byte { return append(b, 0) },
		"cut":       func(b []byte) []byte { return b[:len(b)-1] },
		"nothing":   func([]byte) []byte { return nil },
		"too large": func([]byte) []byte { return make([]byte, CommandBytesMax+1) },
	} {
		if c, err := Decode(spoil(bytes.Clone(good))); !errors.Is(err, ErrFormat) && !errors.Is(err, ErrLevel) || c != nil {
			t.Errorf("%s: got %+v, %v, want %v", name, c, err, ErrFormat)
		}
	}
}

func TestCountsAreNotBelievedBeyondTheBytes(t *testing.T) {
	huge := []byte{commandVersion, 0, Level, byte(kindDeleteTopics), 0xff, 0xff, 0xff, 0xff, 0x0f}
	if allocated := testing.AllocsPerRun(10, func() {
		if _, err := Decode(huge); err == nil {
			t.Error("a list of four thousand million ids was accepted")
		}
	}); allocated > 20 {
		t.Errorf("got %.0f allocations", allocated)
	}
}

func TestResultSurvivesItsBytes(t *testing.T) {
	for _, r := range []Result{
		{}, {Status: Stale}, {Items: []Status{OK, NameTaken, Refused}}, {FirstID: 1 << 40, IDCount: 1000},
	} {
		got, err := DecodeResult(r.Encode())
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v, want %+v", got, err, r)
		}
	}
	if _, err := DecodeResult([]byte{resultVersion, uint8(statusMax) + 1, 0, 0, 0}); !errors.Is(err, ErrFormat) {
		t.Errorf("unknown status: got %v", err)
	}
}

func TestEveryStatusHasAnError(t *testing.T) {
	seen := map[string]bool{}
	for s := OK; s <= statusMax; s++ {
		if seen[s.String()] || (s.Err() == nil) != (s == OK) {
			t.Errorf("status %d: %v", s, s)
		}
		seen[s.String()] = true
	}
}

func TestDamagedImageIsRefused(t *testing.T) {
	w := newWorld(t, 3)
	w.create("a.b", 2, minimum("2"), 1, 2, 3)
	w.must(fence(2, 1))
	good := w.im.Encode()
	for cut := range good {
		if _, err := DecodeImage(good[:cut]); !errors.Is(err, ErrFormat) {
			t.Fatalf("image cut to %d bytes: got %v", cut, err)
		}
	}
	if _, err := DecodeImage(append(bytes.Clone(good), 0)); !errors.Is(err, ErrFormat) {
		t.Errorf("image with a tail: got %v", err)
	}
}

// A snapshot of before registrations told their largest batch: two brokers, one with its second session,
// the other fenced, and a topic of one partition.
func TestImageOfTheFirstVersionIsRead(t *testing.T) {
	old, err := hex.DecodeString("0100010500040000000002020000000100000002010101000000000000000000000000000109504c41494e54455854093132" +
		"372e302e302e31888e0100000001000000010000000104000000020000000101020100000000000000000000000000010950" +
		"4c41494e54455854093132372e302e302e31888e01000001000101740000000000000000000000000000017401136d696e2e" +
		"696e73796e632e7265706c69636173013100010202040001040000000200000001000100000000000000000400000400")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 2)
	w.create("t", 1, minimum("1"), 1, 2)
	w.must(register(1, 2))
	w.must(fence(2, 1))
	im, err := DecodeImage(old)
	if err != nil || im.Hash() != w.im.Hash() {
		t.Errorf("got %v, or another image than the commands make", err)
	}
}

// A snapshot of before replicas, brokers and voters could move: the same, and a config of a broker.
func TestImageOfBeforeTheMovesIsRead(t *testing.T) {
	old, err := hex.DecodeString("0300010600040000000002020000000100000002010101000000000000000000000000000109504c41494e54455854093132" +
		"372e302e302e31888e0100000001000000010000000100040000000200000001010201000000000000000000000000000109" +
		"504c41494e54455854093132372e302e302e31888e0100000100000101740000000000000000000000000000017401136d69" +
		"6e2e696e73796e632e7265706c69636173013100000102020400010400000002000000010001000000000000000004000004" +
		"00000102013202010f6d61782e636f6e6e656374696f6e730137")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 2)
	w.create("t", 1, minimum("1"), 1, 2)
	w.must(register(1, 2))
	w.must(fence(2, 1))
	w.must(configureBrokers("2", 0, map[string]string{"max.connections": "7"}))
	im, err := DecodeImage(old)
	if err != nil || im.Hash() != w.im.Hash() {
		t.Errorf("got %v, or another image than the commands make", err)
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, c := range everyCommand() {
		f.Add(Encode(c))
	}
	w := newWorld(f, 3)
	w.create("t", 2, nil, 1, 2, 3)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(Encode(c))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("again: got %+v, %v, want %+v", again, err, c)
		}
		batch := w.im.Edit()
		batch.Apply(w.index+1, c)
		next := batch.Image()
		if err := next.Check(); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if err := next.CheckAfter(w.im); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
	})
}

func FuzzDecodeImage(f *testing.F) {
	f.Add(Empty().Encode())
	d := newDice(5)
	w := newWorld(f, 2)
	for i := range 200 {
		w.apply(d.command(w.im))
		if i%50 == 0 {
			f.Add(w.im.Encode())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		im, err := DecodeImage(b)
		if err != nil {
			return
		}
		again, err := DecodeImage(im.Encode())
		if err != nil || again.Hash() != im.Hash() {
			t.Fatalf("again: %v, or another hash", err)
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	f.Add(Result{Items: []Status{OK, Stale}, FirstID: 1000, IDCount: 1000}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeResult(b)
		if err != nil {
			return
		}
		if again, err := DecodeResult(r.Encode()); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("again: got %+v, %v, want %+v", again, err, r)
		}
	})
}
