package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// proposing owns node.Proposer: commands of this node on their way to the controller.
type proposing struct {
	s        *Sidecar
	core     *node.Proposer
	commands *mailbox[command]
	answers  *mailbox[answered]
	// asking bounds the requests to other nodes that wait for an answer.
	asking   chan struct{}
	requests sync.WaitGroup
}

// command is one call of propose.
type command struct {
	command  []byte
	deadline time.Duration
	once     bool
	done     func(cluster.Result, error)
}

// answered is what became of one attempt.
type answered struct {
	id     uint64
	answer node.Answer
}

const (
	// askingMax bounds the forwarded proposals under way; beyond it an attempt is refused as busy.
	askingMax = 4096
	// patience is how long a command without a deadline of its own is proposed.
	patience = time.Minute
)

func newProposing(s *Sidecar) *proposing {
	return &proposing{
		s: s, commands: newMailbox[command](proposalsMax), answers: newMailbox[answered](2 * proposalsMax),
		asking: make(chan struct{}, askingMax),
		core: node.NewProposer(node.ProposerConfig{
			Self: s.cfg.Node, AttemptTimeout: s.cfg.LeaderTimeout,
			WaitMin: 5 * time.Millisecond, WaitMax: 200 * time.Millisecond, Seed: uint64(s.cfg.Session),
		}),
	}
}

// propose has a command committed and waits until this node's own image shows it. Commands are safe
// to apply twice, so it goes on until the context ends; then the error is topic.ErrOutcomeUnknown if
// any attempt may have been heard, else topic.ErrNoController. One that is too large is topic.ErrTooLarge
// at once.
func (s *Sidecar) propose(ctx context.Context, c cluster.Command) (cluster.Result, error) {
	return s.proposing.propose(ctx, c, false)
}

// proposeOnce makes one attempt.
func (s *Sidecar) proposeOnce(ctx context.Context, c cluster.Command) (cluster.Result, error) {
	return s.proposing.propose(ctx, c, true)
}

func (p *proposing) propose(ctx context.Context, c cluster.Command, once bool) (cluster.Result, error) {
	type outcome struct {
		result cluster.Result
		err    error
	}
	decided := make(chan outcome, 1)
	now := p.s.cfg.Now()
	deadline := now + patience
	if until, ok := ctx.Deadline(); ok {
		deadline = now + time.Until(until)
	}
	taken := p.commands.put(command{
		command: cluster.Encode(c), deadline: deadline, once: once,
		done: func(result cluster.Result, err error) { decided <- outcome{result, err} },
	})
	if !taken {
		return cluster.Result{}, fmt.Errorf("propose to the controller: too many proposals wait: %w", topic.ErrNoController)
	}
	select {
	case o := <-decided:
		return o.result, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-decided:
		return o.result, o.err
	default:
		return cluster.Result{}, fmt.Errorf("propose to the controller: %w", topic.ErrOutcomeUnknown)
	}
}

// run turns the Proposer until the context ends.
func (p *proposing) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer p.requests.Wait()
	defer p.core.Close()
	var commands []command
	var answers []answered
	for {
		current := p.s.current()
		commands = p.commands.take(commands)
		for _, c := range commands {
			p.core.Propose(c.command, c.deadline, c.once, c.done)
		}
		answers = p.answers.take(answers)
		now := p.s.cfg.Now()
		for _, a := range answers {
			p.core.Answer(a.id, a.answer, now)
		}
		requests, next := p.core.Turn(current.View, now)
		for _, r := range requests {
			p.send(ctx, r)
		}
		timer.Stop()
		changed := current.changed
		if next == node.Never {
			changed = nil // nothing waits for a newer image
		} else {
			timer.Reset(next - now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.commands.signal:
		case <-p.answers.signal:
		case <-changed:
		case <-timer.C:
		}
	}
}

// send makes one attempt, here or elsewhere.
func (p *proposing) send(ctx context.Context, r node.Request) {
	reply := func(a node.Answer) { p.answers.put(answered{id: r.ID, answer: a}) }
	if r.To == p.s.cfg.Node {
		taken := p.s.meta.proposals.put(proposal{command: r.Command, done: func(result []byte, err error) {
			reply(node.AnswerOf(result, err))
		}})
		if !taken {
			reply(node.Answer{Kind: node.AnswerBusy})
		}
		return
	}
	select {
	case p.asking <- struct{}{}:
	default:
		reply(node.Answer{Kind: node.AnswerBusy})
		return
	}
	p.requests.Go(func() {
		defer func() { <-p.asking }()
		reply(p.forward(ctx, r))
	})
}

// forward sends a command by request-reply. "No responders" comes at once and says that nobody heard
// it.
func (p *proposing) forward(ctx context.Context, r node.Request) node.Answer {
	ctx, cancel := context.WithTimeout(ctx, p.s.cfg.LeaderTimeout)
	defer cancel()
	reply, err := p.s.bus.Request(ctx, bus.Raft, proposeSubject(r.To), r.Command)
	switch {
	case errors.Is(err, bus.ErrNoResponders), errors.Is(err, bus.ErrDisconnected):
		return node.Answer{Kind: node.AnswerNotLeader}
	case errors.Is(err, bus.ErrTooLarge):
		return node.Answer{Kind: node.AnswerTooLarge}
	case err != nil:
		p.s.log.Debug("proposal not answered", slog.Int("controller", int(r.To)), slog.String("error", err.Error()))
		return node.Answer{Kind: node.AnswerUnknown}
	default:
		return node.DecodeAnswer(reply)
	}
}

// proposed takes another node's proposal off the wire. What cannot be read is refused here, before it
// could be committed.
func (s *Sidecar) proposed(m bus.Message) {
	if _, err := cluster.Decode(m.Data); err != nil {
		s.metrics.malformed.WithLabelValues("proposal").Inc()
		s.answerProposal(m, nil, raft.ErrFull)
		return
	}
	taken := s.meta.proposals.put(proposal{command: m.Data, done: func(result []byte, err error) {
		s.answerProposal(m, result, err)
	}})
	if !taken {
		s.answerProposal(m, nil, raft.ErrFull)
	}
}

func (s *Sidecar) answerProposal(m bus.Message, result []byte, err error) {
	if err := s.bus.Respond(bus.Raft, m, node.AnswerOf(result, err).Encode()); err != nil {
		s.log.Debug("proposal not answered", slog.String("error", err.Error()))
	}
}
