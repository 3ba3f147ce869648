package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/raft"
)

// AnswerKind is the first byte of an answer to a forwarded proposal.
type AnswerKind uint8

// The kinds of answers. What follows the byte of AnswerApplied is the result of Metadata.Propose.
const (
	AnswerApplied AnswerKind = iota + 1
	// AnswerNotLeader and AnswerBusy: nothing was proposed there.
	AnswerNotLeader
	AnswerBusy
	// AnswerUnknown: it may have happened and may yet happen.
	AnswerUnknown
	// AnswerTooLarge: no leader takes a command of this size. Nothing was proposed.
	AnswerTooLarge
)

// Answer is what became of one attempt.
type Answer struct {
	Kind   AnswerKind
	Result []byte
}

// AnswerOf says what the outcome of Metadata.Propose means to whoever proposed.
func AnswerOf(result []byte, err error) Answer {
	switch {
	case err == nil:
		return Answer{Kind: AnswerApplied, Result: result}
	case errors.Is(err, raft.ErrNotLeader):
		return Answer{Kind: AnswerNotLeader}
	case errors.Is(err, raft.ErrFull), errors.Is(err, raft.ErrTransferring):
		return Answer{Kind: AnswerBusy}
	case errors.Is(err, raft.ErrTooLarge):
		return Answer{Kind: AnswerTooLarge}
	default:
		return Answer{Kind: AnswerUnknown}
	}
}

// Encode is the answer on the wire:
//
//	kind u8 | result
func (a Answer) Encode() []byte { return append([]byte{byte(a.Kind)}, a.Result...) }

// DecodeAnswer reads an answer off the wire. What cannot be read says nothing about what happened.
func DecodeAnswer(b []byte) Answer {
	if len(b) == 0 || AnswerKind(b[0]) > AnswerTooLarge || b[0] == 0 {
		return Answer{Kind: AnswerUnknown}
	}
	return Answer{Kind: AnswerKind(b[0]), Result: b[1:]}
}

// ProposerConfig is what a Proposer is made of.
type ProposerConfig struct {
	Self topic.NodeID
	// AttemptTimeout is how long a forwarded command may go unanswered.
	AttemptTimeout time.Duration
	// WaitMin and WaitMax bound the wait between two attempts, which doubles and is jittered.
	WaitMin, WaitMax time.Duration
	// Seed decides the jitter.
	Seed uint64
}

// proposalsMax bounds the commands that wait at one Proposer; more are refused.
const proposalsMax = 1 << 14

// Proposer brings this node's commands to whoever leads the metadata Raft, here or elsewhere, as often
// as it takes, and waits until this node's own image shows them. Commands are safe to apply twice. It
// has no goroutine, clock or lock: its owner calls Turn after every input and at the time Turn names.
type Proposer struct {
	cfg     ProposerConfig
	random  *rand.Rand
	waiting []*pendingCommand
	// asked finds the command of an unanswered attempt; attempts numbers them.
	asked    map[uint64]*pendingCommand
	attempts uint64
	view     View
}

// pendingCommand is one command on its way.
type pendingCommand struct {
	command  []byte
	deadline time.Duration
	// once: one attempt only.
	once bool
	// heard: some attempt may have reached a leader.
	heard bool
	// tooLarge: a leader has said that it never takes the command.
	tooLarge bool
	stage    stage
	attempt  uint64
	// at is when the stage ends by itself: the next attempt, or the attempt's deadline.
	at     time.Duration
	wait   time.Duration
	index  uint64
	result cluster.Result
	done   func(cluster.Result, error)
}

type stage uint8

const (
	stageIdle stage = iota
	stageAsked
	stageApplying
)

// Never is when a Proposer with nothing to do wants to be turned.
const Never time.Duration = math.MaxInt64

// Request wants a command proposed at a node. Its Answer, if one comes, bears its ID. An attempt at
// this very node goes to Metadata.Propose.
type Request struct {
	ID      uint64
	To      topic.NodeID
	Command []byte
}

// NewProposer makes a Proposer with nothing to do.
func NewProposer(cfg ProposerConfig) *Proposer {
	return &Proposer{cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 0)), asked: map[uint64]*pendingCommand{}}
}

// Propose takes a command that must be committed by deadline; once allows a single attempt. done is
// called exactly once, from a later Turn or from Propose, and must only enqueue. It gets the result
// once this node's own image shows it, or an error: topic.ErrTooLarge at once if a leader says so,
// topic.ErrNoController if no attempt can have been heard, else topic.ErrOutcomeUnknown.
func (p *Proposer) Propose(command []byte, deadline time.Duration, once bool, done func(cluster.Result, error)) {
	if len(p.waiting) >= proposalsMax {
		done(cluster.Result{}, topic.ErrNoController)
		return
	}
	p.waiting = append(p.waiting, &pendingCommand{
		command: command, deadline: deadline, once: once, wait: p.cfg.WaitMin, done: done,
	})
}

// Answer takes what became of an attempt. Only the newest attempt of each command counts: a late word
// about an earlier one must not be taken for this one's.
func (p *Proposer) Answer(id uint64, a Answer, now time.Duration) {
	c := p.asked[id]
	if c == nil {
		return
	}
	if a.Kind == AnswerApplied && len(a.Result) >= 8 {
		if result, err := cluster.DecodeResult(a.Result[8:]); err == nil {
			delete(p.asked, id)
			c.stage, c.index, c.result = stageApplying, binary.BigEndian.Uint64(a.Result), result
			return
		}
	}
	c.tooLarge = a.Kind == AnswerTooLarge
	p.lost(c, a.Kind == AnswerApplied || a.Kind == AnswerUnknown, now)
}

// lost ends an attempt that came to nothing as far as is known.
func (p *Proposer) lost(c *pendingCommand, heard bool, now time.Duration) {
	delete(p.asked, c.attempt)
	c.heard = c.heard || heard
	c.stage = stageIdle
	if c.once || c.tooLarge {
		c.deadline = now
		return
	}
	c.at = now + c.wait/2 + time.Duration(p.random.Int64N(int64(c.wait)))
	c.wait = min(2*c.wait, p.cfg.WaitMax)
}

// Turn starts the attempts that are due, ends those that are over, and reports what it wants sent and
// when it must be called again at the latest.
func (p *Proposer) Turn(v View, now time.Duration) (requests []Request, next time.Duration) {
	// Another controller is asked at once. A newer image alone is no reason: one that is busy publishes
	// them without end.
	changed := v.Controller != p.view.Controller
	p.view = v
	next = Never
	kept := p.waiting[:0]
	for _, c := range p.waiting {
		p.pass(c, now)
		if c.stage == stageIdle && now < c.deadline && (now >= c.at || changed) {
			if r, ok := p.attempt(c, now); ok {
				requests = append(requests, r)
			}
		}
		if p.finish(c, now) {
			continue
		}
		kept = append(kept, c)
		next = min(next, c.deadline)
		if c.stage != stageApplying {
			next = min(next, c.at)
		}
	}
	clear(p.waiting[len(kept):])
	p.waiting = kept
	return requests, next
}

// pass ends an attempt that was not answered in time.
func (p *Proposer) pass(c *pendingCommand, now time.Duration) {
	if c.stage == stageAsked && now >= c.at {
		p.lost(c, true, now)
	}
}

// attempt sends a command to the controller, if one is known.
func (p *Proposer) attempt(c *pendingCommand, now time.Duration) (Request, bool) {
	if p.view.Controller == topic.NoNode {
		p.lost(c, false, now)
		return Request{}, false
	}
	p.attempts++
	p.asked[p.attempts] = c
	c.stage, c.attempt, c.at = stageAsked, p.attempts, now+p.cfg.AttemptTimeout
	return Request{ID: c.attempt, To: p.view.Controller, Command: c.command}, true
}

// finish tells the proposer what became of a command that is decided.
func (p *Proposer) finish(c *pendingCommand, now time.Duration) bool {
	var err error
	switch {
	case c.stage == stageApplying && p.view.Image.AppliedIndex() >= c.index:
	case now < c.deadline:
		return false
	case c.tooLarge:
		err = topic.ErrTooLarge
	case c.heard || c.stage != stageIdle:
		err = topic.ErrOutcomeUnknown
	default:
		err = topic.ErrNoController
	}
	delete(p.asked, c.attempt)
	if err != nil {
		c.done(cluster.Result{}, fmt.Errorf("propose to the controller: %w", err))
	} else {
		c.done(c.result, nil)
	}
	return true
}

// Close ends everything that waits: what may have been heard is unknown.
func (p *Proposer) Close() {
	for _, c := range p.waiting {
		c.heard = c.heard || c.stage != stageIdle
		c.deadline = 0
		p.finish(c, 0)
	}
	p.waiting = nil
}
