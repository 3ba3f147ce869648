package node

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/raft"
)

// attempts turns a proposer every millisecond for ten seconds, refuses each attempt at once, and
// returns when they were made.
func attempts(seed uint64, view func() View) []time.Duration {
	p := NewProposer(ProposerConfig{
		Self: 1, AttemptTimeout: time.Second, WaitMin: 10 * time.Millisecond, WaitMax: time.Second, Seed: seed,
	})
	p.Propose([]byte("x"), time.Hour, false, func(cluster.Result, error) {})
	var made []time.Duration
	for now := time.Duration(0); now < 10*time.Second; now += time.Millisecond {
		requests, _ := p.Turn(view(), now)
		for _, r := range requests {
			made = append(made, now)
			p.Answer(r.ID, Answer{Kind: AnswerBusy}, now)
		}
	}
	return made
}

// failure mode 14: a refusal that comes at once is not asked for again at once, and two that were
// refused in one moment do not come back in one moment. A busy controller publishes images all the
// time: none of them is a reason to ask sooner.
func TestRefusedProposalWaitsLongerEachTime(t *testing.T) {
	still := View{Image: cluster.Empty(), Controller: 2}
	moving := func() View {
		return View{Image: cluster.Empty().Edit().Image(), Controller: 2}
	}
	for name, view := range map[string]func() View{"idle": func() View { return still }, "busy": moving} {
		first, second := attempts(1, view), attempts(2, view)
		if len(first) < 8 || len(first) > 30 {
			t.Errorf("%s: got %d attempts in ten seconds, want about fifteen", name, len(first))
		}
		if len(first) > 2 && len(second) > 2 && first[2] == second[2] {
			t.Errorf("%s: two proposers asked again in one moment, %s", name, first[2])
		}
	}
}

// A new controller is asked at once.
func TestRefusedProposalGoesToANewControllerAtOnce(t *testing.T) {
	v := View{Image: cluster.Empty(), Controller: 2}
	p := NewProposer(ProposerConfig{Self: 1, AttemptTimeout: time.Second, WaitMin: time.Second, WaitMax: time.Second})
	p.Propose([]byte("x"), time.Hour, false, func(cluster.Result, error) {})
	requests, _ := p.Turn(v, 0)
	p.Answer(requests[0].ID, Answer{Kind: AnswerNotLeader}, 0)
	if requests, _ = p.Turn(v, 1); len(requests) != 0 {
		t.Fatalf("got %v from the same controller at once, want a wait", requests)
	}
	v.Controller = 3
	if requests, _ = p.Turn(v, 2); len(requests) != 1 || requests[0].To != 3 {
		t.Errorf("got %v, want one attempt at node 3", requests)
	}
}

// What a leader never takes is not asked for until the deadline, and is not "unknown" in the end: every
// size is refused by everybody alike, before anything is appended.
func TestTooLargeProposalIsRefusedAtOnce(t *testing.T) {
	v := View{Image: cluster.Empty(), Controller: 2}
	p := NewProposer(ProposerConfig{Self: 1, AttemptTimeout: time.Second, WaitMin: time.Second, WaitMax: time.Second})
	var got error
	p.Propose([]byte("x"), time.Hour, false, func(_ cluster.Result, err error) { got = err })
	requests, _ := p.Turn(v, 0)
	p.Answer(requests[0].ID, DecodeAnswer(AnswerOf(nil, fmt.Errorf("propose: %w", raft.ErrTooLarge)).Encode()), 1)
	if requests, _ = p.Turn(v, 1); len(requests) != 0 || !errors.Is(got, topic.ErrTooLarge) {
		t.Errorf("got %v and %d more attempts, want %v and none", got, len(requests), topic.ErrTooLarge)
	}
}

// Answers come from other nodes: whatever they hold, a command ends once, and never as done before its
// deadline unless the answer says so.
func FuzzDecodeAnswer(f *testing.F) {
	f.Add([]byte(nil))
	for _, a := range []Answer{AnswerOf(nil, raft.ErrTooLarge), AnswerOf(nil, raft.ErrFull), AnswerOf(nil, nil),
		AnswerOf(append(make([]byte, 8), cluster.Result{}.Encode()...), nil)} {
		f.Add(a.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v := View{Image: cluster.Empty(), Controller: 2}
		p := NewProposer(ProposerConfig{Self: 1, AttemptTimeout: time.Second, WaitMin: time.Second, WaitMax: time.Second})
		var ended int
		p.Propose([]byte("x"), time.Minute, false, func(cluster.Result, error) { ended++ })
		requests, _ := p.Turn(v, 0)
		a := DecodeAnswer(b)
		p.Answer(requests[0].ID, a, 1)
		p.Turn(v, 2)
		if ended > 0 && a.Kind != AnswerApplied && a.Kind != AnswerTooLarge {
			t.Fatalf("%v ended the command", a)
		}
		p.Turn(v, 2*time.Minute)
		p.Close()
		if ended != 1 {
			t.Fatalf("the command ended %d times after %v", ended, a)
		}
	})
}
