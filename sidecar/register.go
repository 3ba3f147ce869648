package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/node"
)

// ErrRefused: this broker's configuration contradicts that of the running cluster. The process ends;
// whoever configured it has to choose.
var ErrRefused = errors.New("is refused")

// register keeps this session registered and live. A node whose data path hangs does not ask to be
// trusted again.
func (s *Sidecar) register(ctx context.Context) error {
	waiting, weighed := false, false
	registrar := node.Registrar{Self: s.self(), FreshFor: 3 * s.cfg.HeartbeatInterval}
	for {
		current := s.current()
		due := registrar.Due(current.View, s.lastBeat(current.Controller), s.cfg.Now())
		if due && current.Controller == topic.NoNode && !waiting {
			s.log.Info("waiting for a controller", slog.Any("voters", s.cfg.Voters))
			waiting = true
		}
		changed := current.changed
		if due && !s.disclaims() && !s.resigning.Load() {
			refused, err := s.registerOnce(ctx)
			if err != nil {
				return err
			}
			if refused {
				changed = nil // the refusal was committed: it is what changed
			}
		}
		if !weighed && current.Registered(s.self()) {
			var err error
			if weighed, err = s.weighBatches(current.Image); err != nil {
				return err
			}
		}
		var again <-chan time.Time
		if !weighed || !current.Registered(s.self()) {
			again = time.After(s.cfg.HeartbeatInterval)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

// lastBeat is when a node's heart was last heard, nil if never.
func (s *Sidecar) lastBeat(id topic.NodeID) *node.Heartbeat {
	last, ok := s.beatAt.Load(id)
	if !ok {
		return nil
	}
	return last.(*node.Heartbeat)
}

// registerOnce makes one attempt. refused says that the next one should wait. An error says that this
// process must stop: another run of this node was registered after it, or it cannot join this cluster.
func (s *Sidecar) registerOnce(ctx context.Context) (refused bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*s.cfg.LeaderTimeout)
	defer cancel()
	if err := s.current().Image.CheckLevel(); err != nil {
		return false, refuseLevel(err)
	}
	before, _ := s.current().Image.Broker(s.cfg.Node)
	result, err := s.propose(ctx, cluster.RegisterBroker{
		Replaces: before.Session,
		Broker: topic.Broker{
			ID: s.cfg.Node, Session: s.cfg.Session, Disk: s.cfg.Log, Endpoints: s.cfg.Endpoints,
			Rack: s.cfg.Rack, Version: s.cfg.Version, Levels: cluster.Supported(), MessageBytesMax: s.cfg.MessageBytesMax,
			BatchBytesMax: s.cfg.BatchBytesMax,
		},
		CleanStop: s.cfg.CleanStop, FlushAlways: s.cfg.FlushAlways,
	})
	switch {
	case err != nil:
		s.log.Info("not registered yet", slog.String("reason", err.Error()))
	case result.Status == cluster.Stale && !s.resigning.Load():
		return false, fmt.Errorf("register session %s: another run of node %d has ended it; restart this broker",
			s.cfg.Session, s.cfg.Node)
	case result.Status == cluster.Refused && s.replaced(before.Session):
		// A copy of the registration of an earlier run came in between, or this image was not up to date.
		s.log.Info("registering again, another session was registered meanwhile",
			slog.String("named", before.Session.String()))
	case result.Status == cluster.Refused && s.contradicted() != nil:
		// Refusals are committed and cost a turn of the Raft, so the next attempt comes a heartbeat later.
		return true, s.refuseSize(*s.contradicted())
	case result.Err() != nil:
		s.log.Warn("registration refused", slog.String("reason", result.Err().Error()))
		return true, nil
	default:
		s.log.Info("registered", slog.String("session", s.cfg.Session.String()))
	}
	return false, nil
}

// refuseLevel makes of an error that the cluster's format level has caused a refusal of this broker.
func refuseLevel(err error) error {
	var level *cluster.LevelError
	if errors.As(err, &level) && !errors.Is(err, ErrRefused) {
		return fmt.Errorf("this broker %w: %w", ErrRefused, level)
	}
	return err
}

// replaced reports whether the image shows another session of this node than the one given.
func (s *Sidecar) replaced(session topic.Session) bool {
	present, _ := s.current().Image.Broker(s.cfg.Node)
	return present.Session != session
}

// contradicted returns a live broker that this one cannot run beside, nil if there is none.
func (s *Sidecar) contradicted() *topic.Broker {
	return s.current().Image.Contradicted(topic.Broker{ID: s.cfg.Node, MessageBytesMax: s.cfg.MessageBytesMax})
}

// refuseSize ends this process if the other broker is there: its heart beats in the session that is
// registered. If not, all brokers were stopped to change the size, and its session is soon fenced.
func (s *Sidecar) refuseSize(other topic.Broker) error {
	last := s.lastBeat(other.ID)
	if last == nil || last.From.Session != other.Session {
		s.log.Info("waiting until the run of a broker with another message.max.bytes is fenced",
			slog.Int("broker", int(other.ID)), slog.Int("message_max_bytes", int(other.MessageBytesMax)))
		return nil
	}
	return fmt.Errorf("message.max.bytes=%d %w: broker %d has %d, and all brokers need the same, since a batch must fit "+
		"their messages and logs: use that value here, or stop all brokers and start them with the new one",
		s.cfg.MessageBytesMax, ErrRefused, other.ID, other.MessageBytesMax)
}

// weighBatches ends this process beside a live broker that takes batches which do not fit this one's log: its
// replicas of that topic would stand still. If none is there that carries more, all were given less, and what the
// topic asks for beyond that is not taken by any of them. Topics that are altered once this broker is registered are
// judged by what it said that it carries. done is false while a broker that would decide it has not been heard.
func (s *Sidecar) weighBatches(im *cluster.Image) (done bool, err error) {
	t := im.Outsized(s.cfg.BatchBytesMax)
	if s.cfg.BatchBytesMax == 0 || t == nil {
		return true, nil
	}
	done = true
	for _, other := range im.Brokers() {
		if other.ID == s.cfg.Node || other.BatchBytesMax <= s.cfg.BatchBytesMax {
			continue
		}
		if last := s.lastBeat(other.ID); last == nil || last.From.Session != other.Session {
			done = false
			continue
		}
		return false, fmt.Errorf("this broker %w: it carries batches of %d bytes, and broker %d takes larger ones of topic %q "+
			"(max.message.bytes=%s): give it that broker's wal.file.bytes and socket.request.max.bytes, or alter the topic",
			ErrRefused, s.cfg.BatchBytesMax, other.ID, t.Name, t.Configs[cluster.ConfigMessageBytes])
	}
	return done, nil
}

// Ready is nil when this node is registered and live, knows a controller, and has once held the lease
// without which it refuses every append; else it says what it waits for.
func (s *Sidecar) Ready() error {
	current := s.current()
	switch {
	case current.Controller == topic.NoNode:
		return fmt.Errorf("waiting for a controller among voters %v", s.cfg.Voters)
	case current.Image.ClusterID() == "":
		return errors.New("waiting for the cluster id")
	case !current.Registered(s.self()):
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
	if len(s.status.Load().Membership.Voters) > 1 {
		err = errors.Join(err, s.handOver(ctx))
	}
	return err
}

// handOver waits until another node leads the Raft.
func (s *Sidecar) handOver(ctx context.Context) error {
	for {
		current := s.current()
		if current.Controller != s.cfg.Node {
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
