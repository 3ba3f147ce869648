package share

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// step has a keeper take a request, and returns what is refused.
func step(k *Keeper, e Event) error { return k.Step(e, 0).Reply.Err }

func TestKeeperFencesLeadersAndResets(t *testing.T) {
	cfg := &KeeperConfig{UpdatesMax: 10, RecordBytesMax: 1 << 20}
	k := NewKeeper(cfg, Key{Group: "g"})
	at := func(state, leader int32) State {
		return State{StateEpoch: state, LeaderEpoch: leader, Start: 9, Complete: -1}
	}
	for i, test := range []struct {
		event Event
		want  error
	}{
		{Read{LeaderEpoch: 1}, ErrUninitialized},
		{Keep{State: at(1, 1)}, ErrUninitialized},
		{Summarize{}, ErrUninitialized},
		{Initialize{StateEpoch: 4, Start: -1}, nil},
		{Read{LeaderEpoch: 2}, nil},
		{Keep{State: at(4, 2)}, nil},
		{Initialize{StateEpoch: 9, Start: -1}, nil}, // changes nothing
		{Keep{State: at(4, 2)}, nil},
		{Read{LeaderEpoch: 3}, nil},
		{Keep{State: at(4, 2)}, ErrFencedLeader},
		{Read{LeaderEpoch: 2}, ErrFencedLeader},
		{Initialize{StateEpoch: 4, Start: 5}, ErrFencedState},
		{Initialize{StateEpoch: 5, Start: 5}, nil},
		{Initialize{StateEpoch: 5, Start: 5}, nil}, // the answer got lost
		{Keep{State: at(4, 3)}, ErrFencedState},
		{Delete{}, nil},
		{Keep{State: at(5, 3)}, ErrUninitialized},
		{Delete{}, nil},
	} {
		if err := step(k, test.event); !errors.Is(err, test.want) {
			t.Errorf("step %d, %+v: got %v, want %v", i, test.event, err, test.want)
		}
	}
}

func TestStateThatFitsNoRecordIsRefused(t *testing.T) {
	k := NewKeeper(&KeeperConfig{UpdatesMax: 10, RecordBytesMax: 220}, Key{Group: "g"})
	if err := step(k, Initialize{StateEpoch: 1, Start: 0}); err != nil {
		t.Fatal(err)
	}
	many := State{StateEpoch: 1, Start: 0, Complete: -1}
	for i := range int64(9) {
		many.Batches = append(many.Batches, Batch{2 * i, 2 * i, Available, 1})
	}
	if err := step(k, Keep{State: many}); !errors.Is(err, ErrTooLarge) || len(k.Batches) > 0 {
		t.Errorf("got %v and %d batches, want %v and none", err, len(k.Batches), ErrTooLarge)
	}
}

// TestRecordsAreThoseOfKafka: the bytes were put together by hand from Kafka's schemas.
func TestRecordsAreThoseOfKafka(t *testing.T) {
	cfg := &KeeperConfig{UpdatesMax: 10, RecordBytesMax: 1 << 20}
	k := NewKeeper(cfg, Key{Group: "g1", Topic: [16]byte{15: 7}, Partition: 3})
	records := k.Step(Initialize{StateEpoch: 4, Start: 16}, 258).Records
	records = append(records, k.Step(Keep{State: State{
		StateEpoch: 4, LeaderEpoch: 2, Start: -1, Complete: 1, Batches: []Batch{{17, 17, Acknowledged, 1}},
	}}, 0).Records...)
	const name = "00026731" + "00000000000000000000000000000007" + "00000003"
	want := [][2]string{
		{"0000" + name, "0000" + "00000001" + "00000004" + "00000000" + "0000000000000010" + "0000000000000102" +
			"0000000000000102" + "01" + "00"},
		{"0001" + name, "0000" + "00000001" + "00000002" + "ffffffffffffffff" + "02" + "0000000000000011" +
			"0000000000000011" + "02" + "0001" + "00" + "01" + "00" + "04" + "00000001"},
	}
	for i, r := range records {
		if key, value := hex.EncodeToString(r.Key), hex.EncodeToString(r.Value); key != want[i][0] || value != want[i][1] {
			t.Errorf("record %d:\ngot  %s %s\nwant %s %s", i, key, value, want[i][0], want[i][1])
		}
	}
}

// FuzzReplay: whatever the log holds, a replay ends with an error or with a state that can be written down
// and read again.
func FuzzReplay(f *testing.F) {
	cfg := &KeeperConfig{UpdatesMax: 10, RecordBytesMax: 1 << 20}
	k := NewKeeper(cfg, Key{Group: "g", Partition: 3})
	first := k.Step(Initialize{StateEpoch: 4, Start: 16}, 258).Records[0]
	second := k.Step(Keep{State: State{StateEpoch: 4, Start: 17, Complete: 2, Batches: []Batch{
		{17, 19, Archived, 1}, {22, 29, Available, 2},
	}}}, 0).Records[0]
	f.Add(first.Key, first.Value, second.Key, second.Value)
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 []byte) {
		r := NewReplay()
		for _, record := range []Record{{key1, value1}, {key2, value2}} {
			if err := r.Apply(record); err != nil && !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v, want %v", err, ErrMalformed)
			}
		}
		for _, k := range r.Keepers(cfg) {
			again := NewReplay()
			record := k.record(0)
			if err := again.Apply(record); err != nil {
				t.Fatalf("read what was written: %v", err)
			}
			if other := again.Keepers(cfg)[k.Key()].record(0); !bytes.Equal(other.Value[2+4:], record.Value[2+4:]) {
				t.Fatalf("got %x, want %x", other.Value, record.Value)
			}
		}
	})
}
