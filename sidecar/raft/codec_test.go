package raft

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"outrigger/broker/topic"
)

// randomMessage draws a message of any type; parts that its type does not use may be set too.
func randomMessage(r *rand.Rand) Message {
	m := Message{Envelope: Envelope{
		Type: Type(1 + r.IntN(int(TimeoutNow))), ID: r.Uint64(), Cluster: []string{"", "abc"}[r.IntN(2)],
		From: topic.NodeID(r.Int32()), Disk: topic.DiskID{byte(r.Uint32())}, Session: topic.Session(r.Uint64()),
		To: topic.NodeID(r.Int32()), ToDisk: topic.DiskID{byte(r.Uint32())}, ToSession: topic.Session(r.Uint64()),
		Term: r.Uint64(),
	}}
	m.Index, m.LogTerm, m.Hint = r.Uint64()>>r.IntN(63)>>1, r.Uint64(), r.Uint64()
	m.Commit, m.Round, m.Leader = r.Uint64(), r.Uint64(), topic.NoNode
	m.Reject, m.Transfer = r.IntN(2) == 0, r.IntN(2) == 0
	m.Founding, m.Blank = r.IntN(2) == 0, r.IntN(2) == 0
	for i := range r.IntN(4) {
		m.Voters = append(m.Voters, topic.NodeID(i))
	}
	members := Membership{Voters: []Member{{Node: 1, Disk: topic.DiskID{1}}, {Node: 3, Disk: topic.DiskID{3}}},
		Learners: []Member{{Node: 2, Disk: topic.DiskID{2}}}}
	if r.IntN(2) == 0 {
		m.Membership = members
	}
	if m.Type == Offer || r.IntN(4) == 0 {
		m.Snapshot = Snapshot{Index: 1 + r.Uint64()>>1, Term: r.Uint64(), Size: r.Uint64(),
			Hash: HashOf([]byte{byte(r.Uint32())}), Membership: members}
	}
	m.Offset = r.Uint64()
	if n := r.IntN(20); n > 0 {
		m.Data = make([]byte, n)
	}
	if m.Type == Append {
		for i := range r.IntN(5) {
			e := Entry{Index: m.Index + uint64(i) + 1, Term: m.Term >> r.IntN(63), Kind: EntryKind(1 + r.IntN(3))}
			if e.Kind == EntryMembership {
				e.Data = encodeMembership(nil, members)
			} else if n := r.IntN(9); n > 0 {
				e.Data = make([]byte, n)
			}
			m.Entries = append(m.Entries, e)
		}
	}
	return m
}

func TestMessagesSurviveTheWire(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		want := randomMessage(r)
		b := Encode(want)
		got, err := Decode(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
		}
		// Cut anywhere, it is no message.
		if _, err := Decode(b[:r.IntN(len(b))]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut message: got %v, want ErrMalformed", err)
		}
	}
}

func TestDecodeRefusesWhatNoSenderWrites(t *testing.T) {
	member := Member{Node: 1, Disk: topic.DiskID{1}}
	good := Message{Envelope: Envelope{Type: Append, Term: 5}, Index: 7,
		Entries: []Entry{{Index: 8, Term: 5, Kind: EntryCommand}}}
	if _, err := Decode(Encode(good)); err != nil {
		t.Fatalf("good append: %v", err)
	}
	for name, spoil := range map[string]func(*Message){
		"gap":              func(m *Message) { m.Entries[0].Index = 9 },
		"term from future": func(m *Message) { m.Entries[0].Term = 6 },
		"unknown kind":     func(m *Message) { m.Entries[0].Kind = 9 },
		"no membership":    func(m *Message) { m.Entries[0].Kind = EntryMembership },
		"entries in reply": func(m *Message) { m.Type = AppendReply },
		"unknown type":     func(m *Message) { m.Type = 99 },
		"empty offer":      func(m *Message) { m.Type, m.Entries = Offer, nil },
		"twice a member":   func(m *Message) { m.Membership.Voters = []Member{member, member} },
		"voter learns": func(m *Message) {
			m.Membership = Membership{Voters: []Member{member}, Learners: []Member{{Node: 1, Disk: topic.DiskID{2}}}}
		},
	} {
		bad := good
		bad.Entries = []Entry{good.Entries[0]}
		spoil(&bad)
		if _, err := Decode(Encode(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
	if _, err := Decode(make([]byte, MessageBytesMax+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("oversize: got %v, want ErrMalformed", err)
	}
	b := Encode(good)
	b[0]++
	if _, err := Decode(b); !errors.Is(err, ErrMalformed) {
		t.Errorf("later version: got %v, want ErrMalformed", err)
	}
}

func TestLargestMessagesFit(t *testing.T) {
	cfg := Config{}.withDefaults()
	entries := []Entry{{Index: 1, Term: 1, Kind: EntryCommand, Data: make([]byte, cfg.CommandBytesMax)}}
	if n := len(Encode(Message{Entries: entries})); n > MessageBytesMax {
		t.Errorf("append of one command: got %d bytes, want at most %d", n, MessageBytesMax)
	}
	if n := len(Encode(Message{Data: make([]byte, cfg.ChunkBytes)})); n > MessageBytesMax {
		t.Errorf("chunk: got %d bytes, want at most %d", n, MessageBytesMax)
	}
}

func TestStoredFormsRoundTrip(t *testing.T) {
	hard := HardState{Term: 9, Vote: Member{Node: 2, Disk: topic.DiskID{2}}, Commit: 7, Cluster: "abc"}
	if got, err := DecodeHardState(AppendHardState(nil, hard)); err != nil || got != hard {
		t.Errorf("got %+v, %v, want %+v", got, err, hard)
	}
	e := Entry{Index: 1, Term: 2, Kind: EntryCommand, Data: []byte("x")}
	if got, err := DecodeEntry(AppendEntry(nil, e)); err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("got %+v, %v, want %+v", got, err, e)
	}
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		f.Add(Encode(randomMessage(r)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(Encode(m))
		if err != nil || !bytes.Equal(Encode(again), Encode(m)) {
			t.Fatalf("decoded message does not survive: %v", err)
		}
	})
}

// FuzzStep feeds a machine whatever decodes: nothing may panic or move it backwards.
func FuzzStep(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		f.Add(Encode(randomMessage(r)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, err := Decode(b)
		if err != nil || msg.Term > 1<<62 {
			return
		}
		l := newLab(t, 3, 3)
		l.startAll()
		l.tick(l.all(), 8)
		for _, n := range l.nodes {
			// Addressed right, so that it gets past the door.
			in := msg
			in.To, in.ToDisk, in.ToSession = n.id, n.m.cfg.Disk, n.m.cfg.Session
			in.From, in.Disk, in.Session = n.id%3+1, topic.DiskID{byte(n.id%3 + 1), 1}, 1
			in.Cluster = n.m.hard.Cluster
			before := n.m.hard
			n.m.Step(in)
			n.turn()
			if after := n.m.hard; after.Term < before.Term || after.Commit < before.Commit {
				t.Fatalf("%s: from %+v back to %+v", in, before, after)
			}
		}
	})
}
