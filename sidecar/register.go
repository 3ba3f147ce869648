package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
)

// register keeps this session registered and live: at the start, and whenever the image shows it
// fenced, such as after a pause. A node whose data path hangs does not ask to be trusted again.
func (s *Sidecar) register(ctx context.Context) error {
	waiting := false
	// since is the image index at which this node first saw itself unregistered.
	since := uint64(0)
	for {
		current := s.current()
		wait := s.cfg.LeaderTimeout
		if s.registered(current.image) {
			since = 0
		} else {
			wait = s.cfg.HeartbeatInterval
			if since == 0 {
				since = current.image.AppliedIndex()
			}
			if current.controller == topic.NoNode && !waiting {
				s.log.Info("waiting for a controller", slog.Any("voters", s.cfg.Voters))
				waiting = true
			}
			if !s.disclaims() && !s.resigning.Load() && s.hears(current.controller, since) {
				if err := s.registerOnce(ctx); err != nil {
					return err
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-current.changed:
		case <-time.After(wait):
		}
	}
}

// heardBeat is a heartbeat as register looks at it.
type heardBeat struct {
	at      time.Duration
	applied uint64
}

// hears reports whether the controller's heart was heard just now, and not in something sent before
// this node was unregistered: then this node's own beats reach it, too. Without that a node that wakes
// from a pause hears what was sent to it while it slept, registers over one connection while the one
// that carries its heart is still being made anew, and is fenced again for its silence.
func (s *Sidecar) hears(controller topic.NodeID, since uint64) bool {
	if controller == s.cfg.Node || controller == topic.NoNode {
		return true
	}
	last, ok := s.beatAt.Load(controller)
	if !ok {
		return false
	}
	beat := last.(heardBeat)
	return beat.applied >= since && s.cfg.Now()-beat.at < 3*s.cfg.HeartbeatInterval
}

// registered reports whether the image has this session live.
func (s *Sidecar) registered(im *cluster.Image) bool {
	b, ok := im.Broker(s.cfg.Node)
	return ok && b.Session == s.cfg.Session && !b.Fenced
}

// registerOnce makes one attempt. An error says that this session has ended for good: another run of
// this node was registered after it, so this one must stop.
func (s *Sidecar) registerOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*s.cfg.LeaderTimeout)
	defer cancel()
	result, err := s.propose(ctx, cluster.RegisterBroker{
		Broker: topic.Broker{
			ID: s.cfg.Node, Session: s.cfg.Session, Disk: s.cfg.Disk, Endpoints: s.cfg.Endpoints,
			Rack: s.cfg.Rack, Version: s.cfg.Version,
		},
		CleanStop: s.cfg.CleanStop, FlushAlways: s.cfg.FlushAlways,
	})
	switch {
	case err != nil:
		s.log.Info("not registered yet", slog.String("reason", err.Error()))
	case result.Status == cluster.Stale && !s.resigning.Load():
		return fmt.Errorf("register session %s: another run of node %d has ended it; restart this broker",
			s.cfg.Session, s.cfg.Node)
	case result.Err() != nil:
		s.log.Warn("registration refused", slog.String("reason", result.Err().Error()))
	default:
		s.log.Info("registered", slog.String("session", s.cfg.Session.String()))
	}
	return nil
}

// Ready is nil when this node is registered and live, knows a controller, and has once held the lease
// without which it refuses every append; else it says what it waits for.
func (s *Sidecar) Ready() error {
	current := s.current()
	switch {
	case current.controller == topic.NoNode:
		return fmt.Errorf("waiting for a controller among voters %v", s.cfg.Voters)
	case current.image.ClusterID() == "":
		return errors.New("waiting for the cluster id")
	case !s.registered(current.image):
		return errors.New("waiting for the registration of this broker")
	case !s.led.Load() && !s.cfg.Logs.Leased():
		return errors.New("waiting to hear enough peers to lead")
	default:
		s.led.Store(true)
		return nil
	}
}

// Resign moves everything that this node leads elsewhere, before a clean stop: partitions by one
// record, the metadata leadership by a transfer. It gives up when the context ends; the others then
// find out by silence.
func (s *Sidecar) Resign(ctx context.Context) error {
	s.resigning.Store(true)
	_, err := s.propose(ctx, cluster.ResignBroker{Node: s.cfg.Node, Session: s.cfg.Session})
	if err != nil {
		err = fmt.Errorf("resign: %w", err)
	}
	if len(s.cfg.Voters) > 1 {
		err = errors.Join(err, s.handOver(ctx))
	}
	return err
}

// handOver waits until another node leads the Raft.
func (s *Sidecar) handOver(ctx context.Context) error {
	for {
		current := s.current()
		if current.controller != s.cfg.Node {
			return nil
		}
		select {
		case s.meta.transfer <- struct{}{}:
		default:
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("transfer metadata leadership: %w", ctx.Err())
		case <-current.changed:
		case <-time.After(s.cfg.RaftElectionTimeout / 4):
		}
	}
}
