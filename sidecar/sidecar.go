package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"outrigger/broker/topic"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/election"
	"outrigger/sidecar/node"
	"outrigger/sidecar/raftstore"
)

// Sidecar is the replication side of one node. It implements broker.Cluster.
type Sidecar struct {
	cfg     Config
	log     *slog.Logger
	bus     *bus.Bus
	store   *raftstore.Store
	metrics *metrics

	meta        *metadata
	proposing   *proposing
	replication *replication
	feeds       *feeds

	beats    *mailbox[node.Beat]
	triggers *mailbox[election.Request]
	asks     *mailbox[topic.Member]
	events   *mailbox[event]
	table    atomic.Pointer[election.Table]
	view     atomic.Pointer[published]
	status   atomic.Pointer[node.Status]
	// beatAt is when each node's heart was last heard, registered or not: node id to heardBeat.
	beatAt sync.Map
	// led: this node was ready once. Later it may lose its lease and still serves what is committed.
	led atomic.Bool
	// resigning stops this node from registering again.
	resigning atomic.Bool
}

// published is one state of the cluster as this node shows it.
type published struct {
	node.View
	// changed is closed when a newer state is published.
	changed chan struct{}
}

// Bounds of the sidecar's mailboxes. What does not fit is lost, and comes again: heartbeats, triggers
// and questions all repeat; events are told at best.
const (
	beatsMax    = 4096
	triggersMax = 1024
	asksMax     = 256
)

// New joins the parts. Nothing runs, and nothing is heard or said, until Run. It takes over cfg.Metadata, and
// closes it if there is an error.
func New(cfg Config) (*Sidecar, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, errors.Join(err, cfg.Metadata.Close())
	}
	s := &Sidecar{
		cfg: cfg, log: cfg.Logger, bus: cfg.Bus,
		beats: newMailbox[node.Beat](beatsMax), triggers: newMailbox[election.Request](triggersMax),
		asks: newMailbox[topic.Member](asksMax), events: newMailbox[event](eventsMax),
	}
	s.feeds = newFeeds(s)
	s.metrics = newMetrics(s, cfg.Registerer)
	s.table.Store(&election.Table{})
	s.view.Store(&published{View: node.View{Image: cluster.Empty(), Controller: topic.NoNode}, changed: make(chan struct{})})
	s.status.Store(&node.Status{})
	s.store = cfg.Metadata.store
	var err error
	if s.meta, err = newMetadata(s, s.store); err != nil {
		return nil, errors.Join(refuseLevel(err), s.store.Close())
	}
	s.replication = newReplication(s)
	s.proposing = newProposing(s)
	cfg.Logs.SetObserver(s.replication)
	return s, nil
}

func (s *Sidecar) self() topic.Member {
	return topic.Member{Node: s.cfg.Node, Session: s.cfg.Session}
}

func (s *Sidecar) current() *published { return s.view.Load() }

// publish shows a newer state. It is called from the metadata goroutine.
func (s *Sidecar) publish(v node.View, status node.Status) {
	s.status.Store(&status)
	before := s.view.Load()
	if before.View == v {
		return
	}
	s.view.Store(&published{View: v, changed: make(chan struct{})})
	close(before.changed)
	s.replication.wake()
	s.beats.wake()
	if v.Controller == s.cfg.Node && before.Image != v.Image {
		s.tellChanges(before.Image, v.Image)
	}
}

// Run does the sidecar's work until the context ends, and returns when every goroutine has. An error
// means that this node must stop.
func (s *Sidecar) Run(ctx context.Context) error {
	defer func() {
		if err := s.store.Close(); err != nil {
			s.log.Error("metadata store not closed", slog.String("error", err.Error()))
		}
	}()
	for _, subscribe := range []func() error{s.subscribeHeartbeats, s.replication.subscribe, s.subscribeRaft, s.feeds.subscribe} {
		if err := subscribe(); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
	}
	// Whoever hears the first message of this node can reach its subscriptions.
	for _, lane := range []bus.Lane{bus.Heartbeat, bus.Raft, bus.Replication, bus.Acks, bus.Catchup} {
		if err := s.bus.Flush(ctx, lane); err != nil {
			return fmt.Errorf("announce subscriptions: %w", err)
		}
	}
	if err := s.serve(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{
		s.meta.run, s.proposing.run, s.replication.run, s.replication.scan, s.replication.proposeChanges,
		newWatch(s).run, s.pullTriggers, s.electionWorker, s.askSuspects, s.beatHeart,
		s.register, s.tellEvents, s.quarantine, s.claim, s.feeds.run,
	} {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}
