package sidecar

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
)

// feeds are this node's connections to its peers' servers, by which their frames come past its own server, one
// goroutine for each peer:
//
//	ask the peer, by its route, what it offers ─> connect ─> subscribe ─> show presence ─ until it is lost ─┐
//	      ^─────────────────────────── wait, longer each time that it was short ──────────────────────────<─┘
//
// A leader looks for each frame whether all for whom it is are present; if not, the route carries it. So a feed that
// comes or goes needs no agreement: frames that are lost with it, or overtake each other, are asked for again.
type feeds struct {
	s *Sidecar
	// up counts those that are there.
	up atomic.Int32
}

// feedRetryLeast and feedRetryMost are how long the node waits before it asks a peer again, a feed that lasted for
// feedLasting counts as one that works.
const (
	feedRetryLeast = 500 * time.Millisecond
	feedRetryMost  = 10 * time.Second
	feedLasting    = 10 * time.Second
	feedAskTimeout = 2 * time.Second
)

func newFeeds(s *Sidecar) *feeds { return &feeds{s: s} }

// reach reports whether all these followers take our frames by feeds.
func (f *feeds) reach(followers []topic.NodeID) bool {
	image := f.s.current().Image
	for _, node := range followers {
		broker, ok := image.Broker(node)
		there, here := presenceSubjects(f.s.cfg.Node, topic.Member{Node: node, Session: broker.Session})
		if !ok || !f.s.bus.Listened(bus.Replication, there) || !f.s.bus.Listened(bus.Replication, here) {
			return false
		}
	}
	return len(followers) > 0
}

// subscribe answers peers that ask for what we offer.
func (f *feeds) subscribe() error {
	return f.s.bus.Subscribe(bus.Catchup, offerSubject(f.s.cfg.Node), func(m bus.Message) {
		if err := f.s.bus.Respond(bus.Catchup, m, f.s.cfg.FeedOffer()); err != nil {
			f.s.log.Debug("feed not offered", slog.String("error", err.Error()))
		}
	})
}

// run keeps a feed from each broker of the cluster.
func (f *feeds) run(ctx context.Context) error {
	if f.s.cfg.FeedFrom == nil {
		return nil
	}
	var kept sync.WaitGroup
	defer kept.Wait()
	known := map[topic.NodeID]context.CancelFunc{}
	for {
		current := f.s.current()
		gone := known
		known = map[topic.NodeID]context.CancelFunc{}
		for _, broker := range current.Image.Brokers() {
			node := broker.ID
			if node == f.s.cfg.Node {
				continue
			}
			end := gone[node]
			if delete(gone, node); end == nil {
				var keeping context.Context
				keeping, end = context.WithCancel(ctx)
				kept.Go(func() { f.keep(keeping, node) })
			}
			known[node] = end
		}
		for _, end := range gone {
			end()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-current.changed:
		}
	}
}

// keep has a feed from a peer until ctx ends.
func (f *feeds) keep(ctx context.Context, peer topic.NodeID) {
	wait := feedRetryLeast
	for ctx.Err() == nil {
		from := f.s.cfg.Now()
		err := f.feed(ctx, peer)
		if f.s.cfg.Now()-from >= feedLasting {
			wait = feedRetryLeast
		}
		if ctx.Err() != nil {
			return
		}
		f.s.log.Debug("no feed, routes carry the frames", slog.Int("peer", int(peer)), slog.String("error", err.Error()))
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, feedRetryMost)
	}
}

// feed takes a peer's frames until the feed is lost, which is the error, or ctx ends.
func (f *feeds) feed(ctx context.Context, peer topic.NodeID) error {
	asking, cancel := context.WithTimeout(ctx, feedAskTimeout)
	defer cancel()
	offer, err := f.s.bus.Request(asking, bus.Catchup, offerSubject(peer), nil)
	if err != nil {
		return err
	}
	to := bus.Feed{Subjects: feedSubjects(peer, f.s.cfg.Node), IsPeer: func(serverName string) bool {
		node, ok := f.s.cfg.NodeOf(serverName)
		return ok && topic.NodeID(node) == peer
	}}
	to.There, to.Here = presenceSubjects(peer, f.s.self())
	if to.Address, to.User, to.Password, err = f.s.cfg.FeedFrom(int32(peer), offer); err != nil {
		return err
	}
	open, err := f.s.bus.Feed(ctx, to, f.s.replication.frames)
	if err != nil {
		return err
	}
	f.up.Add(1)
	defer f.up.Add(-1)
	f.s.log.Info("frames come by a feed", slog.Int("peer", int(peer)), slog.String("address", to.Address))
	return open.Wait(ctx)
}
