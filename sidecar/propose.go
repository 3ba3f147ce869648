package sidecar

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raft"
)

// The first byte of an answer to `raft.propose.<node>`; what follows is the applied index and the
// encoded result, or the leader's node id.
const (
	answerApplied   = 1
	answerNotLeader = 2
	answerBusy      = 3
	answerUnknown   = 4
)

// errElsewhere: the asked node does not lead; nothing was proposed there.
var errElsewhere = errors.New("the asked node is not the controller")

// errBusy: the controller takes nothing now; nothing was proposed.
var errBusy = errors.New("the controller is busy")

// propose has a command committed and waits until this node's own image shows it. Commands are safe
// to apply twice, so it goes on until the context ends; then the error is topic.ErrOutcomeUnknown if
// any attempt may have been heard, else topic.ErrNoController.
func (s *Sidecar) propose(ctx context.Context, c cluster.Command) (cluster.Result, error) {
	heard := false
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		result, err := s.proposeOnce(ctx, c)
		if err == nil {
			return result, nil
		}
		heard = heard || errors.Is(err, topic.ErrOutcomeUnknown)
		jittered := wait/2 + time.Duration(rand.Int64N(int64(wait)))
		select {
		case <-ctx.Done():
			if heard {
				return cluster.Result{}, fmt.Errorf("propose to the controller: %w", topic.ErrOutcomeUnknown)
			}
			return cluster.Result{}, fmt.Errorf("propose to the controller: %w", topic.ErrNoController)
		case <-time.After(jittered):
		case <-s.current().changed:
		}
	}
}

// proposeOnce makes one attempt.
func (s *Sidecar) proposeOnce(ctx context.Context, c cluster.Command) (cluster.Result, error) {
	controller := s.current().controller
	var answer []byte
	var err error
	switch controller {
	case topic.NoNode:
		return cluster.Result{}, topic.ErrNoController
	case s.cfg.Node:
		answer, err = s.proposeHere(ctx, cluster.Encode(c))
	default:
		answer, err = s.proposeThere(ctx, controller, cluster.Encode(c))
	}
	if err != nil {
		return cluster.Result{}, err
	}
	if len(answer) < 8 {
		return cluster.Result{}, topic.ErrOutcomeUnknown
	}
	result, err := cluster.DecodeResult(answer[8:])
	if err != nil {
		return cluster.Result{}, fmt.Errorf("%w: %w", topic.ErrOutcomeUnknown, err)
	}
	return result, s.awaitApplied(ctx, binary.BigEndian.Uint64(answer))
}

func (s *Sidecar) proposeHere(ctx context.Context, command []byte) ([]byte, error) {
	type outcome struct {
		result []byte
		err    error
	}
	done := make(chan outcome, 1)
	if !s.meta.proposals.put(proposal{command: command, done: func(result []byte, err error) {
		done <- outcome{result, err}
	}}) {
		return nil, errBusy
	}
	select {
	case o := <-done:
		return o.result, proposalError(o.err)
	case <-ctx.Done():
		return nil, topic.ErrOutcomeUnknown
	}
}

// proposalError says whether anything may have happened.
func proposalError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return errElsewhere
	case errors.Is(err, raft.ErrFull), errors.Is(err, raft.ErrTransferring):
		return errBusy
	default:
		return fmt.Errorf("%w: %w", topic.ErrOutcomeUnknown, err)
	}
}

// proposeThere forwards the command by request-reply. "No responders" comes at once and says that
// nobody heard it.
func (s *Sidecar) proposeThere(ctx context.Context, controller topic.NodeID, command []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.LeaderTimeout)
	defer cancel()
	answer, err := s.bus.Request(ctx, bus.Raft, proposeSubject(controller), command)
	switch {
	case errors.Is(err, bus.ErrNoResponders), errors.Is(err, bus.ErrDisconnected):
		return nil, errElsewhere
	case err != nil:
		return nil, fmt.Errorf("%w: %w", topic.ErrOutcomeUnknown, err)
	case len(answer) == 0:
		return nil, topic.ErrOutcomeUnknown
	}
	switch answer[0] {
	case answerApplied:
		return answer[1:], nil
	case answerNotLeader:
		return nil, errElsewhere
	case answerBusy:
		return nil, errBusy
	default:
		return nil, topic.ErrOutcomeUnknown
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
	answer := append([]byte{answerApplied}, result...)
	var elsewhere node.ErrNotLeader
	switch err := proposalError(err); {
	case err == nil:
	case errors.As(err, &elsewhere), errors.Is(err, errElsewhere):
		answer = []byte{answerNotLeader}
	case errors.Is(err, errBusy):
		answer = []byte{answerBusy}
	default:
		answer = []byte{answerUnknown}
	}
	if err := s.bus.Respond(bus.Raft, m, answer); err != nil {
		s.log.Debug("proposal not answered", slog.String("error", err.Error()))
	}
}

// awaitApplied waits until this node's own image holds the index.
func (s *Sidecar) awaitApplied(ctx context.Context, index uint64) error {
	for {
		current := s.current()
		if current.image.AppliedIndex() >= index {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the own image: %w", topic.ErrOutcomeUnknown)
		case <-current.changed:
		}
	}
}
