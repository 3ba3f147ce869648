package group

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// These bytes are what Kafka writes; tools read them without asking us.
func TestRecordsAreKafkasOwn(t *testing.T) {
	r := offsetRecord("g", Place{"t", 7}, Offset{Offset: 5, LeaderEpoch: 3, Metadata: "m", CommittedAt: 9, ExpiresAt: -1})
	if got, want := hex.EncodeToString(r.Key), "0001"+"000167"+"000174"+"00000007"; got != want {
		t.Errorf("key of an offset: got %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(r.Value),
		"0003"+"0000000000000005"+"00000003"+"00016d"+"0000000000000009"; got != want {
		t.Errorf("offset: got %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(keyOfGroup("g")), "0002"+"000167"; got != want {
		t.Errorf("key of a group: got %s, want %s", got, want)
	}
	s := newScript(t)
	s.stable(1)
	var v kmsg.GroupMetadataValue
	if err := v.ReadFrom(s.log[0].Value); err != nil || v.Version != 3 || v.ProtocolType != "consumer" ||
		len(v.Members) != 1 || v.CurrentStateTimestamp != s.now.Wall {
		t.Errorf("group: got %+v, %v", v, err)
	}
}

func TestOffsetsOfAllVersionsAreRead(t *testing.T) {
	for version := range int16(offsetTagged + 1) {
		v := kmsg.NewOffsetCommitValue()
		v.Version, v.Offset, v.LeaderEpoch, v.Metadata = version, 5, 3, "m"
		v.CommitTimestamp, v.ExpireTimestamp, v.TopicID = 9, 11, [16]byte{1}
		want := Offset{Offset: 5, LeaderEpoch: -1, Metadata: "m", CommittedAt: 9, ExpiresAt: -1}
		switch version {
		case 1:
			want.ExpiresAt = 11
		case 3:
			want.LeaderEpoch = 3
		case 4:
			want.LeaderEpoch, want.TopicID = 3, [16]byte{1}
		}
		d, err := decode(Record{Key: keyOfOffset("g", Place{"t", 7}), Value: v.AppendTo(nil)})
		if err != nil || d.group != "g" || d.place != (Place{"t", 7}) || *d.offset != want {
			t.Errorf("version %d: got %+v, %v, want %+v", version, d, err, want)
		}
	}
}

func TestGroupsOfAllVersionsAreRead(t *testing.T) {
	for version := range int16(groupValue + 1) {
		v := kmsg.NewGroupMetadataValue()
		v.Version, v.ProtocolType, v.Generation = version, "consumer", 4
		v.Protocol, v.Leader = kmsg.StringPtr("range"), kmsg.StringPtr("m")
		member := kmsg.NewGroupMetadataValueMember()
		member.MemberID, member.SessionTimeoutMillis, member.RebalanceTimeoutMillis = "m", 30, 60
		member.InstanceID, member.Subscription, member.Assignment = kmsg.StringPtr("i"), consumes("t"), []byte("a")
		v.Members = append(v.Members, member)
		s := newScript(t)
		m := s.restored([]Record{{Key: keyOfGroup("g"), Value: v.AppendTo(nil)}})
		one := m.members["m"]
		if one == nil || m.state != Stable || m.generation != 4 || m.leader != "m" || !m.Subscribed("t") ||
			one.session != 30 || string(one.assignment) != "a" {
			t.Fatalf("version %d: got %+v", version, m)
		}
		if want := int64(30) + 30*int64(min(version, 1)); one.rebalance != want {
			t.Errorf("version %d: rebalance timeout: got %d, want %d", version, one.rebalance, want)
		}
		if version >= 3 && m.statics["i"] != "m" {
			t.Errorf("version %d: instance id is lost", version)
		}
	}
}

func TestRecordsOfOtherKindsArePassedOver(t *testing.T) {
	replay := NewReplay()
	if err := replay.Apply(Record{Key: []byte{0, 9, 1, 2}, Value: []byte{9}}); err != nil || replay.Unknown != 1 {
		t.Errorf("got %v, %d unknown, want it to be counted", err, replay.Unknown)
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	key := keyOfOffset("g", Place{"t", 7})
	for name, r := range map[string]Record{
		"no key":        {},
		"cut key":       {Key: key[:6]},
		"short value":   {Key: key, Value: []byte{0}},
		"cut offset":    {Key: key, Value: []byte{0, 3, 0}},
		"later version": {Key: key, Value: []byte{0, 9, 0, 0}},
		"later group":   {Key: keyOfGroup("g"), Value: []byte{0, 4, 0, 0}},
		"cut group":     {Key: keyOfGroup("g"), Value: []byte{0, 3, 0}},
		"billions of tags": {Key: key, Value: append(append([]byte{0, 4}, make([]byte, 12)...),
			1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f)},
	} {
		if err := NewReplay().Apply(r); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want %v", name, err, ErrMalformed)
		}
	}
}

// FuzzReplay: whatever lies in the log, replaying it ends, and what it gives can be written and read
// again with the same outcome.
func FuzzReplay(f *testing.F) {
	s := newScript(&testing.T{})
	s.m.Step(Commit{Generation: -1, Offsets: []CommitOffset{at("t", 1, 2)}}, s.now, &s.fx)
	f.Add(s.fx.Records[0].Key, s.fx.Records[0].Value)
	s.m.restore(&kmsg.GroupMetadataValue{ProtocolType: "consumer", Generation: 3,
		Members: []kmsg.GroupMetadataValueMember{{MemberID: "m", Subscription: consumes("t")}}}, s.now)
	r := s.m.record()
	f.Add(r.Key, r.Value)
	f.Add(keyOfGroup("g"), []byte(nil))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		replay := NewReplay()
		err := replay.Apply(Record{Key: key, Value: value})
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("got %v, want it to wrap %v", err, ErrMalformed)
			}
			return
		}
		cfg := &Config{RecordBytesMax: 1 << 30}
		for name, m := range replay.Machines(cfg, Time{}) {
			again := NewReplay()
			for _, o := range m.Offsets() {
				if err := again.Apply(offsetRecord(name, o.Place, o.Offset)); err != nil {
					t.Fatalf("read back an offset: %v", err)
				}
			}
			if m.kept {
				if err := again.Apply(m.record()); err != nil {
					t.Fatalf("read back a group: %v", err)
				}
			}
			back := again.Machines(cfg, Time{})[name]
			if back == nil {
				t.Fatalf("group %q is not read back", name)
			}
			if got, want := back.Describe(), m.Describe(); !reflect.DeepEqual(got, want) {
				t.Fatalf("read back: got %+v, want %+v", got, want)
			}
			if m.kept && !bytes.Equal(back.record().Value, m.record().Value) {
				t.Fatalf("group is written otherwise when read back")
			}
		}
	})
}
