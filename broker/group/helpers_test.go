package group

import (
	"errors"
	"fmt"
	"testing"
)

// script drives one machine as its shell does, and remembers what it was told.
type script struct {
	*testing.T
	cfg     Config
	m       *Machine
	now     Time
	next    Token
	fx      Effects
	log     []Record
	replies map[Token]Reply
}

func newScript(t *testing.T, edit ...func(*Config)) *script {
	s := &script{T: t, replies: map[Token]Reply{}, now: Time{Mono: 1000, Wall: 1_700_000_000_000}}
	s.cfg = Config{
		SessionMinMillis: 10, SessionMaxMillis: 100_000, MembersMax: 1000, MetadataBytesMax: 16,
		RetentionMillis: 60_000, RecordBytesMax: 1 << 20,
	}
	for _, e := range edit {
		e(&s.cfg)
	}
	s.m = New(&s.cfg, "g")
	return s
}

// take gathers what the last step decided.
func (s *script) take() {
	s.log = append(s.log, s.fx.Records...)
	for _, r := range s.fx.Replies {
		if _, twice := s.replies[r.Token]; twice {
			s.Fatalf("request %d is answered twice", r.Token)
		}
		s.replies[r.Token] = r
	}
	s.fx.Reset()
}

func (s *script) step(e Event) Token {
	s.m.Step(e, s.now, &s.fx)
	s.take()
	return e.token()
}

// pass lets milliseconds go by, in one piece.
func (s *script) pass(millis int64) {
	s.now.Mono += millis
	s.now.Wall += millis
	s.m.Tick(s.now, &s.fx)
	s.take()
}

func (s *script) token() Token {
	s.next++
	return s.next
}

// join is a join with sensible values; edit changes them.
func (s *script) join(id string, edit ...func(*Join)) Token {
	e := Join{
		Token: s.token(), MemberID: id, ClientID: "c", Host: "/h", ProtocolType: "consumer",
		Protocols:     []Protocol{{"range", consumes("t")}},
		SessionMillis: 1000, RebalanceMillis: 5000,
	}
	e.NewID = fmt.Sprint("m", e.Token)
	for _, f := range edit {
		f(&e)
	}
	return s.step(e)
}

// consumes is the metadata of a consumer of topics.
func consumes(topics ...string) []byte {
	b := []byte{0, 1, 0, 0, 0, byte(len(topics))}
	for _, topic := range topics {
		b = append(append(b, 0, byte(len(topic))), topic...)
	}
	return b
}

func instance(id string) func(*Join) { return func(e *Join) { e.Instance = &id } }

func protocols(names ...string) func(*Join) {
	return func(e *Join) {
		e.Protocols = nil
		for _, name := range names {
			e.Protocols = append(e.Protocols, Protocol{name, consumes("t")})
		}
	}
}

func (s *script) joined(t Token) *Joined {
	s.Helper()
	r, answered := s.replies[t]
	if !answered || r.Err != nil {
		s.Fatalf("join %d: got %+v (answered: %t), want a place", t, r, answered)
	}
	return r.Result.(*Joined)
}

func (s *script) sync(j *Joined, assign ...string) Token {
	e := Sync{Token: s.token(), MemberID: j.MemberID, Generation: j.Generation}
	if len(assign) > 0 {
		e.Assignments = map[string][]byte{}
		for _, id := range assign {
			e.Assignments[id] = []byte("for " + id)
		}
	}
	return s.step(e)
}

func (s *script) beat(j *Joined) Token {
	return s.step(Heartbeat{Token: s.token(), MemberID: j.MemberID, Generation: j.Generation})
}

func (s *script) waits(t Token) {
	s.Helper()
	if r, answered := s.replies[t]; answered {
		s.Fatalf("request %d: got %+v, want it to wait", t, r)
	}
}

func (s *script) refused(t Token, want error) {
	s.Helper()
	r, answered := s.replies[t]
	if !answered || !errors.Is(r.Err, want) {
		s.Errorf("request %d: got %+v (answered: %t), want %v", t, r, answered, want)
	}
}

func (s *script) fine(t Token) Reply {
	s.Helper()
	r, answered := s.replies[t]
	if !answered || r.Err != nil {
		s.Fatalf("request %d: got %+v (answered: %t), want no error", t, r, answered)
	}
	return r
}

func (s *script) is(want State) {
	s.Helper()
	if s.m.state != want {
		s.Fatalf("state: got %v, want %v", s.m.state, want)
	}
}

// stable brings n members into a stable generation; the first leads.
func (s *script) stable(n int) []*Joined {
	s.Helper()
	var ids []string
	for range n {
		s.join("")
	}
	// Those who were in a generation before the others came join again.
	var all []*Joined
	for s.m.state != Completing || s.m.joining > 0 || len(s.m.members) < n {
		for _, one := range s.m.ordered() {
			if one.joining == 0 {
				s.join(one.id)
			}
		}
	}
	for _, one := range s.m.ordered() {
		ids = append(ids, one.id)
		all = append(all, &Joined{MemberID: one.id, Generation: s.m.generation, Leader: s.m.leader})
	}
	for _, j := range all {
		if j.MemberID == s.m.leader {
			s.sync(j, ids...)
		}
	}
	for _, j := range all {
		s.fine(s.sync(j))
	}
	s.is(Stable)
	return all
}

// restored is the machine that a new coordinator would have.
func (s *script) restored(records []Record) *Machine {
	s.Helper()
	replay := NewReplay()
	for _, r := range records {
		if err := replay.Apply(r); err != nil {
			s.Fatalf("replay: %v", err)
		}
	}
	if m := replay.Machines(&s.cfg, s.now)[s.m.name]; m != nil {
		return m
	}
	return New(&s.cfg, s.m.name)
}
