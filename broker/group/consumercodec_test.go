package group

import (
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"outrigger/broker/group/assign"
)

// kafkasOwn are records as Kafka 4.4's group coordinator writes them: key, value.
var kafkasOwn = map[string][2]string{
	"epoch": {"0003000167", "0000000000070100080000000000000063"},
	"member": {"000500016700016d",
		"00000269000263032f68030261026204782e2a0000012c0672616e676501000100"},
	"classic": {"000500016700016d",
		"00000002720263032f68020261000000012c00010012010000002d020672616e6765040102030000"},
	"targets": {"0006000167", "00000000000700"},
	"target":  {"000700016700016d", "0000020102030405060708090a0b0c0d0e0f100300000000000000020000"},
	"place": {"000800016700016d", "0000000000070000000601020102030405060708090a0b0c0d0e0f1003000000000000000201" +
		"0009030000000500000007020102030405060708090a0b0c0d0e0f100200000003010005020000000400"},
	"regex": {"00100001670003782e2a", "000003037831037832000000000000000000000000000004d200"},
}

func kafkas(t *testing.T, name string) Record {
	t.Helper()
	key, err := hex.DecodeString(kafkasOwn[name][0])
	if err != nil {
		t.Fatal(err)
	}
	value, err := hex.DecodeString(kafkasOwn[name][1])
	if err != nil {
		t.Fatal(err)
	}
	return Record{key, value}
}

// TestConsumerRecordsAreKafkasOwn: what we write is byte for byte what Kafka writes, and reads back.
func TestConsumerRecordsAreKafkasOwn(t *testing.T) {
	i, r := "i", "r"
	id := assign.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	slots := assign.Slots{{Topic: id, Partition: 0}, {Topic: id, Partition: 2}}
	p := &place{
		epoch: 7, previous: 6, state: unrevoked, assigned: holdings{slots, []int32{5, 7}},
		revoking: holdings{assign.Slots{{Topic: id, Partition: 3}}, []int32{4}},
	}
	member := &consumer{
		id: "m", instance: &i, clientID: "c", host: "/h", names: []string{"a", "b"}, pattern: "x.*", rebalance: 300,
		assignor: "range",
	}
	classic := &consumer{
		id: "m", rack: &r, clientID: "c", host: "/h", names: []string{"a"}, rebalance: 300,
		classic: &classicMember{session: 45, protocols: []Protocol{{"range", []byte{1, 2, 3}}}},
	}
	for name, test := range map[string]struct {
		wrote Record
		read  func(*consumerDecoded) any
		want  any
	}{
		"epoch":   {epochRecord("g", 7, 99), func(d *consumerDecoded) any { return [2]int64{int64(d.epoch), d.hash} }, [2]int64{7, 99}},
		"member":  {memberRecord("g", member), func(d *consumerDecoded) any { return d.member }, member},
		"classic": {memberRecord("g", classic), func(d *consumerDecoded) any { return d.member }, classic},
		"targets": {targetEpochRecord("g", 7), func(d *consumerDecoded) any { return d.epoch }, int32(7)},
		"target":  {targetRecord("g", "m", slots), func(d *consumerDecoded) any { return d.target }, slots},
		"place":   {placeRecord("g", "m", p), func(d *consumerDecoded) any { return d.place }, p},
		"regex": {patternRecord("g", "x.*", []string{"x1", "x2"}, 1234),
			func(d *consumerDecoded) any { return d.topics }, []string{"x1", "x2"}},
	} {
		want := kafkas(t, name)
		if !reflect.DeepEqual(test.wrote, want) {
			t.Errorf("%s: wrote\n%x %x, want\n%x %x", name, test.wrote.Key, test.wrote.Value, want.Key, want.Value)
		}
		d, err := decodeConsumer(want)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := test.read(d); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: read %+v, want %+v", name, got, test.want)
		}
	}
}

// TestCutConsumerRecordsAreRefused: no prefix of a value is taken for a whole one.
func TestCutConsumerRecordsAreRefused(t *testing.T) {
	for name := range kafkasOwn {
		whole := kafkas(t, name)
		for n := range len(whole.Value) {
			if _, err := decodeConsumer(Record{whole.Key, whole.Value[:n]}); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut to %d of %d bytes: got %v, want it to be refused", name, n, len(whole.Value), err)
			}
		}
		for n := range len(whole.Key) {
			if err := NewReplay().Apply(Record{whole.Key[:n], whole.Value}); n != 2 && err == nil {
				t.Errorf("%s with a key of %d bytes is taken", name, n)
			}
		}
	}
}

// FuzzConsumerRecords: whatever the bytes are, decoding ends, and what was read is written the same again.
func FuzzConsumerRecords(f *testing.F) {
	for _, pair := range kafkasOwn {
		key, _ := hex.DecodeString(pair[0])
		value, _ := hex.DecodeString(pair[1])
		f.Add(key, value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		d, err := decodeConsumer(Record{key, value})
		if err != nil || d.place == nil {
			return
		}
		again, err := decodeConsumer(placeRecord(d.group, d.part, d.place))
		if err != nil || !again.place.equal(d.place) {
			t.Fatalf("read again as %+v, %v, want %+v", again, err, d.place)
		}
	})
}
