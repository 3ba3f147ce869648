package sidecar

import (
	"context"
	"log/slog"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/frame"
	"outrigger/sidecar/node"
)

// beatHeart publishes a heartbeat at every interval, on an account and connection of its own: frames
// of a megabyte must not delay it.
func (s *Sidecar) beatHeart(ctx context.Context) error {
	ticker := newPace(s.cfg.HeartbeatInterval)
	defer ticker.stop()
	subject := heartbeatSubject(s.cfg.Node)
	var buf []byte
	disclaimed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			ticker.fired()
			ticker.next(1)
		}
		current := s.current()
		unsynced := s.replication.unsyncedAge()
		disclaims := unsynced > s.hangAfter()
		if disclaims != disclaimed {
			s.log.Warn("data path hangs, or hangs no more", slog.Bool("hangs", disclaims),
				slog.Int64("unsynced_ms", unsynced.Milliseconds()))
			disclaimed = disclaims
		}
		buf = frame.AppendHeartbeat(buf[:0], frame.Header{
			Cluster: frame.ClusterOf(current.Image.ClusterID()), From: s.cfg.Node, FromSession: s.cfg.Session,
			Level: current.Image.Level(),
		}, frame.Heartbeat{
			Applied:           current.Told(),
			UnsyncedAgeMillis: uint32(unsynced.Milliseconds()),
			Disclaims:         disclaims,
			SentMicros:        uint64(s.cfg.Now() / time.Microsecond),
			Peers:             s.echoes(),
		})
		if err := s.bus.Publish(bus.Heartbeat, subject, buf); err != nil {
			s.log.Warn("heartbeat not published", slog.String("error", err.Error()))
		}
	}
}

// disclaims reports whether this node's data path hangs: then it must lead nothing, although its heart
// beats.
func (s *Sidecar) disclaims() bool { return s.replication.unsyncedAge() > s.hangAfter() }

// hangAfter is how old a group on its way to the disk makes a data path that hangs. Disks of the cloud
// stall for seconds and go on; moving leaderships to and fro for that would cost more than waiting.
func (s *Sidecar) hangAfter() time.Duration { return 4 * s.cfg.LeaderTimeout }

// subscribeHeartbeats takes the peers' heartbeats, and answers whoever asks whether this session is
// there.
func (s *Sidecar) subscribeHeartbeats() error {
	err := s.bus.Subscribe(bus.Heartbeat, "hb.*", func(m bus.Message) {
		h, sections, body, err := frame.ParseHeader(m.Data)
		if err != nil || h.Kind != frame.KindHeartbeat {
			s.metrics.malformed.WithLabelValues("heartbeat").Inc()
			return
		}
		if h.From == s.cfg.Node || h.Cluster != frame.ClusterOf(s.current().Image.ClusterID()) {
			return
		}
		hb, err := frame.ParseHeartbeat(body, sections)
		if err != nil {
			s.metrics.malformed.WithLabelValues("heartbeat").Inc()
			return
		}
		from := topic.Member{Node: h.From, Session: h.FromSession}
		if heard := node.HeardAt(s.cfg.Now(), from, hb); heard.Newer(s.lastBeat(h.From)) {
			s.beatAt.Store(h.From, heard)
		}
		s.beats.put(node.Beat{From: from, Heartbeat: hb})
	})
	if err != nil {
		return err
	}
	return s.bus.Subscribe(bus.Heartbeat, pingSubject(s.cfg.Node), func(m bus.Message) {
		if s.disclaims() {
			return
		}
		if err := s.bus.Respond(bus.Heartbeat, m, []byte(s.cfg.Session.String())); err != nil {
			s.log.Debug("ping not answered", slog.String("error", err.Error()))
		}
	})
}

// echoes tells each peer what was heard of it.
func (s *Sidecar) echoes() []frame.PeerEcho {
	var echoes []frame.PeerEcho
	s.beatAt.Range(func(_, last any) bool {
		echoes = append(echoes, last.(*node.Heartbeat).Echo())
		return true
	})
	return echoes
}
