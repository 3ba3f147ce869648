package dev

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// killAfter is when a stop stops being gentle; brokers give up by themselves before.
	killAfter = 7500 * time.Millisecond
	// waitingEvery is how often it is said who is waited for.
	waitingEvery = 5 * time.Second
)

// Attribute keys of this package's log lines.
const (
	attrNode   = "node"
	attrPID    = "pid"
	attrHow    = "how"
	attrWords  = "last_words"
	attrReason = "reason"
	attrAfter  = "after_ms"
	attrError  = "error"
)

// event is what happened to a run of a broker. Exactly one of the pointers is set, or none: then it
// is time to start the broker again.
type event struct {
	index   int
	process *process
	exit    *exit
	ready   *readiness
}

// member is a broker and its present run.
type member struct {
	broker
	policy policy
	// process is nil while the broker is down.
	process *process
	state   readiness
	// served: the present run has been ready.
	served bool
}

// supervisor runs the brokers of a plan. Its fields belong to the goroutine that calls run.
type supervisor struct {
	plan    plan
	command command
	restart bool
	logger  *slog.Logger
	ready   io.Writer

	members   []*member
	announced bool
	stopping  bool
	faults    []string

	events chan event
	quit   chan struct{}
	wait   sync.WaitGroup
}

func newSupervisor(p plan, c command, restart bool, logger *slog.Logger, ready io.Writer) *supervisor {
	s := &supervisor{plan: p, command: c, restart: restart, logger: logger, ready: ready,
		events: make(chan event), quit: make(chan struct{})}
	for _, b := range p.brokers {
		s.members = append(s.members, &member{broker: b})
	}
	return s
}

// run starts every broker and returns when all have stopped: nil if ctx ended and they stopped
// cleanly, else why not.
func (s *supervisor) run(ctx context.Context) error {
	defer s.wait.Wait()
	defer close(s.quit)
	for index := range s.members {
		if err := s.start(index); err != nil {
			return s.stop(err)
		}
	}
	waiting := time.NewTicker(waitingEvery)
	defer waiting.Stop()
	for {
		select {
		case <-ctx.Done():
			s.logger.Info("brokers are stopped")
			return s.stop(nil)
		case e := <-s.events:
			if err := s.handle(e); err != nil {
				return s.stop(err)
			}
		case <-waiting.C:
			s.sayWhoIsMissing()
		}
	}
}

// start runs a broker and sends its events.
func (s *supervisor) start(index int) error {
	m := s.members[index]
	p, said, err := s.command.start(s.plan, m.broker)
	if err != nil {
		return err
	}
	probing, stopProbe := context.WithCancel(context.Background())
	p.stopProbe = stopProbe
	m.process, m.state, m.served = p, readiness{}, false
	s.wait.Go(func() {
		e := p.wait(said, s.command.output)
		s.send(event{index: index, process: p, exit: &e})
	})
	s.wait.Go(func() {
		newProber(address(s.plan.hosts[0], m.ports[kindHTTP])).watch(probing, len(s.members), func(r readiness) {
			s.send(event{index: index, process: p, ready: &r})
		})
	})
	return nil
}

// send hands an event to run, unless run has returned.
func (s *supervisor) send(e event) {
	select {
	case s.events <- e:
	case <-s.quit:
	}
}

func (s *supervisor) handle(e event) error {
	m := s.members[e.index]
	switch {
	case e.exit != nil:
		return s.ended(e.index, *e.exit)
	case e.ready != nil && e.process == m.process:
		return s.answered(m, *e.ready)
	case e.process == nil:
		return s.again(e.index)
	}
	return nil // an answer that was on its way when its broker died
}

// answered notes what a broker said of itself and announces the cluster when all of it serves.
func (s *supervisor) answered(m *member, r readiness) error {
	m.state = r
	if r.Ready && !m.served {
		m.served = true
		if s.announced {
			s.logger.Info("broker is ready again", attrNode, m.id, attrPID, m.process.pid())
		}
	}
	if s.announced {
		return nil
	}
	pids := make([]int, 0, len(s.members))
	for _, m := range s.members {
		if m.process == nil || !m.state.serves(len(s.members)) {
			return nil
		}
		pids = append(pids, m.process.pid())
	}
	s.announced = true
	if _, err := fmt.Fprintln(s.ready, s.plan.readyLine(pids)); err != nil {
		return fmt.Errorf("say that the brokers are ready: %w", err)
	}
	return nil
}

// ended reports a broker that died and decides what becomes of it.
func (s *supervisor) ended(index int, e exit) error {
	m := s.members[index]
	pid := m.process.pid()
	m.process.stopProbe()
	_ = m.process.stdin.Close()
	m.process = nil
	if s.stopping {
		if e.code != 0 && (m.served || e.code > 0) {
			s.faults = append(s.faults, died(m.id, "did not stop cleanly, "+e.how, e.words, e.code).Reason)
		}
		return nil
	}
	facts := []any{attrNode, m.id, attrPID, pid, attrHow, e.how, attrWords, e.words}
	// One that was ready was not refused: a panic ends a Go program with the code of a refused configuration.
	if refused := permanent(e.code) && !m.served; !s.restart || refused {
		s.logger.Error("broker died", facts...)
		if !s.announced || s.down() == len(s.members) {
			return died(m.id, "died ("+e.how+")", e.words, e.code)
		}
		return nil
	}
	delay := m.policy.died(m.served)
	s.logger.Warn("broker died and is started again", append(facts, attrAfter, delay.Milliseconds())...)
	if delay == 0 {
		return s.again(index)
	}
	s.wait.Go(func() {
		select {
		case <-time.After(delay):
			s.send(event{index: index})
		case <-s.quit:
		}
	})
	return nil
}

// again starts a broker that died.
func (s *supervisor) again(index int) error {
	if s.stopping {
		return nil
	}
	if err := s.start(index); err != nil {
		return err
	}
	m := s.members[index]
	s.logger.Info("broker started again", attrNode, m.id, attrPID, m.process.pid())
	return nil
}

func (s *supervisor) down() int {
	var down int
	for _, m := range s.members {
		if m.process == nil {
			down++
		}
	}
	return down
}

func (s *supervisor) sayWhoIsMissing() {
	if s.announced {
		return
	}
	for _, m := range s.members {
		if !m.state.serves(len(s.members)) {
			reason := m.state.Reason
			if m.state.Ready {
				reason = fmt.Sprintf("it sees %d of %d brokers", m.state.Brokers, len(s.members))
			}
			s.logger.Info("waiting for a broker", attrNode, m.id, attrReason, reason)
		}
	}
}

// stop asks every broker to stop, kills those that do not in time, and returns cause, or what went
// wrong on the way.
func (s *supervisor) stop(cause error) error {
	s.stopping = true
	for _, m := range s.members {
		if m.process != nil {
			m.process.stop()
		}
	}
	deadline := time.NewTimer(killAfter)
	defer deadline.Stop()
	for s.down() < len(s.members) {
		select {
		case e := <-s.events:
			_ = s.handle(e) // nothing fails while stopping
		case <-deadline.C:
			s.killAll()
		}
	}
	switch {
	case cause != nil:
		return cause
	case len(s.faults) > 0:
		return fmt.Errorf("%s", strings.Join(s.faults, "; "))
	}
	return nil
}

func (s *supervisor) killAll() {
	for _, m := range s.members {
		if m.process != nil {
			s.logger.Error("broker does not stop and is killed", attrNode, m.id, attrPID, m.process.pid())
			m.process.kill()
		}
	}
}
