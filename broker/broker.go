package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"outrigger/broker/partition"
	"outrigger/broker/topic"
)

// Broker serves Kafka clients on one node.
type Broker struct {
	config    Config
	cluster   Cluster
	logs      *partition.Store
	logger    *slog.Logger
	sockets   *Sockets
	handlers  map[int16]handler
	meters    *meters
	offenders *offenders
	troubles  *troubles
	creations creations
	ids       producerIDs
	groups    *coordinator
	txns      *txnCoordinator
	// shareStates keeps what share groups make of partitions, shares is what those make of the ones that
	// this broker leads.
	shareStates *shareCoordinator
	shares      *sharePartitions
	// letters writes what those have given up to dead-letter queues.
	letters *deadLetters
	opened  atomic.Uint64 // connections, to number them
	peers   *peers
	// memory holds the bytes of large requests in flight.
	memory   *semaphore.Weighted
	census   census
	sessions *fetchSessions
	settings settings
}

// New opens the listeners, unless cfg brings them along, and registers the metrics. Clients may
// connect from now on and are served from Run on.
func New(
	cfg Config, cluster Cluster, logs *partition.Store, logger *slog.Logger,
	registerer prometheus.Registerer,
) (*Broker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure broker: %w", err)
	}
	b := &Broker{config: cfg, cluster: cluster, logs: logs, logger: logger, sockets: cfg.Sockets}
	b.memory = semaphore.NewWeighted(cfg.Connections.NodeInFlightBytes)
	b.meters = newMeters(cfg.Metrics)
	b.offenders = newOffenders(logger, b.meters.badInput)
	b.troubles = newTroubles(logger)
	b.creations.inFlight = map[string]*creation{}
	b.ids.turn = make(chan struct{}, 1)
	if !cfg.Topics.CleanerOff {
		logs.CompactBy(b.compaction)
	}
	b.census.perIP = map[string]int{}
	b.sessions = newFetchSessions(cfg.Requests.FetchSessionsMax, rand.Uint64())
	b.groups = newCoordinator(b)
	b.txns = newTxnCoordinator(b)
	b.shareStates = newShareCoordinator(b)
	b.shares = newSharePartitions(b)
	b.letters = newDeadLetters(b)
	b.peers = newPeers(b)
	b.logs.WatchRoles(func() {
		b.groups.look()
		b.txns.look()
		b.shareStates.look()
		b.shares.look()
	})
	b.handlers = b.handlerTable()
	if b.sockets == nil {
		sockets, err := Listen(context.Background(), cfg.Listeners)
		if err != nil {
			return nil, err
		}
		b.sockets = sockets
	}
	for _, collector := range slices.Concat(b.meters.collectors(), b.sessions.collectors(), []prometheus.Collector{newInventory(b), newCoordination(b)}) {
		if err := registerer.Register(collector); err != nil {
			return nil, errors.Join(fmt.Errorf("register metrics: %w", err), b.sockets.Close())
		}
	}
	return b, nil
}

// Endpoints are what to register for this broker, ports resolved.
func (b *Broker) Endpoints() []topic.Endpoint { return b.sockets.Endpoints() }

// Run serves until ctx ends, then lets every connection write the answers it has, and returns when
// all goroutines have.
func (b *Broker) Run(ctx context.Context) error {
	var acceptors, connections, coordination sync.WaitGroup
	coordination.Go(func() { b.groups.run(ctx) })
	coordination.Go(func() { b.retain(ctx) })
	coordination.Go(func() { b.txns.run(ctx) })
	coordination.Go(func() { b.txns.markers.run(ctx) })
	coordination.Go(func() { b.shareStates.run(ctx) })
	coordination.Go(func() { b.shares.run(ctx) })
	coordination.Go(func() { b.letters.run(ctx) })
	for _, open := range b.sockets.open {
		acceptors.Go(func() { b.accept(ctx, open, &connections) })
	}
	<-ctx.Done()
	err := b.sockets.Close()
	acceptors.Wait()
	connections.Wait()
	coordination.Wait()
	b.peers.close()
	return err
}

// acquainted waits until the image names a live broker, and is false if ctx ends first. A broker that has
// just started knows nobody: a client that were told so would have nobody left to ask (kafkajs never asks
// again). Until then connections wait to be accepted.
func (b *Broker) acquainted(ctx context.Context) bool {
	for {
		changed := b.cluster.Changed()
		if len(b.cluster.View().Brokers()) > 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

const (
	acceptBackOffMin = 5 * time.Millisecond
	acceptBackOffMax = time.Second
)

// accept takes connections from one socket until it is closed. Any other error (no descriptors
// left) passes; it is waited out with growing pauses, since the socket stays readable meanwhile.
func (b *Broker) accept(ctx context.Context, from socket, connections *sync.WaitGroup) {
	if !b.acquainted(ctx) {
		return
	}
	pause := acceptBackOffMin
	for {
		accepted, err := from.Accept()
		if err == nil {
			pause = acceptBackOffMin
			b.admit(ctx, from.listener, accepted, connections)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		b.meters.acceptErrors.Inc()
		b.logger.Warn("accept connection", keyListener, from.listener, keyError, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, acceptBackOffMax)
		}
	}
}

// admit serves the connection on a goroutine of its own, or closes it if there are too many.
func (b *Broker) admit(
	ctx context.Context, listener string, accepted net.Conn, connections *sync.WaitGroup,
) {
	ip := addressOf(accepted.RemoteAddr())
	if !b.census.enter(ip, b.connectionLimits()) {
		b.meters.refused.Inc()
		b.offenders.report(offence{Address: ip, Reason: reasonTooMany})
		_ = accepted.Close() // it was never ours
		return
	}
	gauge := b.meters.connections.WithLabelValues(listener)
	gauge.Inc()
	b.meters.accepted.WithLabelValues(listener).Inc()
	connections.Go(func() {
		defer gauge.Dec()
		defer b.census.leave(ip)
		newConnection(b, listener, ip, accepted).serve(ctx)
	})
}

// addressOf is the host part: a client that comes back from another port is the same offender.
func addressOf(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	return a.String()
}

// census counts connections.
type census struct {
	mu    sync.Mutex
	open  int
	perIP map[string]int
}

func (c *census) enter(ip string, limits ConnectionLimits) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= limits.Max || c.perIP[ip] >= limits.MaxPerIP {
		return false
	}
	c.open++
	c.perIP[ip]++
	return true
}

func (c *census) leave(ip string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.perIP[ip]--; c.perIP[ip] == 0 {
		delete(c.perIP, ip)
	}
}
