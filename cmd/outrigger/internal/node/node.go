package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"outrigger/broker"
	"outrigger/broker/catalog"
	"outrigger/broker/partition"
	"outrigger/broker/topic"
	"outrigger/cmd/outrigger/internal/config"
	"outrigger/cmd/outrigger/internal/datadir"
	"outrigger/natsconf"
	"outrigger/sidecar"
	"outrigger/sidecar/bus"
)

// How long the steps of a stop may take. Together they stay below the 8 s that an operator is
// promised, majority or not.
const (
	stopWithin    = 7 * time.Second
	resignWithin  = 2500 * time.Millisecond
	brokerWithin  = 1500 * time.Millisecond
	sidecarWithin = 1500 * time.Millisecond
	// tickEvery is a multiple of the default heartbeat interval, and the ticks fall on the clock's
	// multiples of it as the heartbeats do: an idle process is not woken for them.
	tickEvery = 1200 * time.Millisecond
)

// Attribute keys of this package's log lines.
const (
	attrError   = "error"
	attrNode    = "node"
	attrSession = "session"
	attrCluster = "cluster"
	attrDir     = "dir"
	attrFile    = "file"
	attrKafka   = "kafka"
	attrNATS    = "nats"
	attrHTTP    = "http"
	attrTask    = "task"
	attrTook    = "took_ms"
	attrVersion = "version"
	attrClean   = "clean_stop"
)

// errStopTooSlow ends a stop that has run out of time.
var errStopTooSlow = errors.New("it took too long")

// Options are what a node is started on.
type Options struct {
	Config  *config.Config
	Version string
	Logger  *slog.Logger
	// Died ends the process, saying why: storage failed where no caller can be told.
	Died func(error)
}

// replication is what the node wants of the sidecar, beside what the broker wants of it. Run ends
// with its context. Ready and Resign may be called at any time by any goroutine.
type replication interface {
	broker.Cluster
	Run(context.Context) error
	// Ready is nil once this broker is registered, unfenced and knows a controller; otherwise it says
	// what is missing.
	Ready() error
	// Resign moves leadership away before a stop. It gives up when its context ends.
	Resign(context.Context) error
	// Event tells operators what happened here. It never blocks.
	Event(kind string, fields map[string]any)
}

// node is one broker process. Its fields are filled in the order of assemble; whatever is still nil
// when a step fails has nothing to be taken apart.
type node struct {
	Options
	session  topic.Session
	registry *prometheus.Registry
	failed   chan failure

	sockets *broker.Sockets
	dir     *datadir.Dir
	// guard watches the space of its disk; low is what was last told of it.
	guard   *datadir.Guard
	low     bool
	web     *web
	nats    *natsconf.Server
	bus     *bus.Bus
	logs    *partition.Store
	catalog *catalog.Catalog
	// metadata is there until the sidecar takes it over.
	metadata *sidecar.MetadataStore
	sidecar  replication
	// level tells the cluster's finalized format level. It is nil until the sidecar is there.
	level  atomic.Pointer[func() uint16]
	broker *broker.Broker

	tasks struct{ http, wal, sidecar, broker, cluster *task }
}

// tasksMax is how many tasks a node has, and the NATS server's voice.
const tasksMax = 6

// Run starts the broker and returns when ctx has ended and everything is stopped, or with the reason
// why it could not start or go on.
func Run(ctx context.Context, o Options) error {
	n := &node{Options: o, session: newSession(), registry: prometheus.NewRegistry(), failed: make(chan failure, tasksMax)}
	n.Logger = o.Logger.With(attrNode, o.Config.Node.ID)
	n.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := n.claim(ctx); err != nil {
		return errors.Join(err, n.takeApart(err))
	}
	if err := n.assemble(ctx); err != nil {
		return errors.Join(err, n.takeApart(err))
	}
	n.Logger.Info("broker started", attrSession, n.session.String(), attrVersion, o.Version,
		attrKafka, n.addresses(), attrNATS, n.nats.ClientAddr(), attrHTTP, n.web.addresses())
	cause := n.wait(ctx)
	return errors.Join(cause, n.takeApart(cause))
}

// addresses are what Kafka clients are told, one for each listener.
func (n *node) addresses() []string {
	var all []string
	for _, e := range n.sockets.Endpoints() {
		all = append(all, fmt.Sprintf("%s://%s", e.Listener, net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))))
	}
	return all
}

// wait returns nil when ctx ends, and the reason when a part fails first.
func (n *node) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		n.Logger.Info("broker stops")
		return nil
	case f := <-n.failed:
		err := f.err
		if err == nil {
			err = errors.New("it ended by itself")
		}
		n.Logger.Error("broker cannot go on", attrTask, f.task.name, attrError, err)
		return fmt.Errorf("run %s: %w", f.task.name, err)
	}
}

// readiness is what /ready answers once everything is assembled.
func (n *node) readiness() Readiness {
	view := n.sidecar.View()
	r := Readiness{Ready: true, Brokers: len(view.Brokers()), Controller: view.Controller()}
	if err := n.sidecar.Ready(); err != nil {
		r.Ready, r.Reason = false, err.Error()
	}
	return r
}

// takeApart stops the parts in the order in which they lean on each other. cause is why the node
// stops, nil if it was asked to. The mark of a clean stop is left only if the log was drained and
// nothing went wrong: it promises that all that was ever acknowledged is on this disk.
func (n *node) takeApart(cause error) error {
	started := time.Now()
	ctx, cancel := context.WithTimeoutCause(context.Background(), stopWithin, errStopTooSlow)
	defer cancel()
	if n.web != nil {
		n.web.stage("stopping")
	}
	var errs []error
	step := func(budget time.Duration, stop func(context.Context) error) {
		bounded, cancel := context.WithTimeoutCause(ctx, budget, errStopTooSlow)
		defer cancel()
		if err := stop(bounded); err != nil {
			n.Logger.Warn("stop is not clean", attrError, err)
			errs = append(errs, err)
		}
	}
	n.resign(ctx)
	step(brokerWithin, n.tasks.broker.stop)
	step(brokerWithin, func(context.Context) error { return n.closeSockets() })
	step(sidecarWithin, n.tasks.sidecar.stop)
	step(sidecarWithin, n.tasks.cluster.stop)
	step(stopWithin, n.stopLogs)
	step(stopWithin, n.stopNATS)
	step(stopWithin, n.stopHTTP)
	drained := n.tasks.wal != nil && cause == nil && len(errs) == 0
	if n.dir != nil {
		step(stopWithin, func(context.Context) error { return n.dir.Close(drained) })
		n.Logger.Info("broker stopped", attrClean, drained, attrTook, time.Since(started).Milliseconds())
	}
	if cause != nil {
		return nil // said above; the cause is what matters
	}
	return errors.Join(errs...)
}

// resign hands leadership over. That nobody was there to take it is no fault of this stop: whoever
// is left elects, as after a crash.
func (n *node) resign(ctx context.Context) {
	if n.tasks.sidecar == nil {
		return
	}
	bounded, cancel := context.WithTimeoutCause(ctx, resignWithin, errStopTooSlow)
	defer cancel()
	if err := n.sidecar.Resign(bounded); err != nil {
		n.Logger.Warn("leadership was not handed over", attrError, err)
	}
}

func (n *node) closeSockets() error {
	if n.sockets == nil {
		return nil
	}
	return n.sockets.Close()
}

// stopLogs writes what the write-ahead log still has to write, and closes the catalog behind it.
func (n *node) stopLogs(ctx context.Context) error {
	var err error
	switch {
	case n.tasks.wal != nil:
		if err = n.tasks.wal.stop(ctx); errors.Is(err, errStopTooSlow) {
			return err // The catalog is still in use.
		}
	case n.logs != nil:
		err = n.logs.Close()
	}
	if n.catalog != nil {
		err = errors.Join(err, n.catalog.Close())
	}
	err = errors.Join(err, n.metadata.Close())
	return err
}

func (n *node) stopNATS(ctx context.Context) error {
	var errs []error
	if n.bus != nil {
		var closing error
		if err := within(ctx, "bus", func() { closing = n.bus.Close() }); err != nil {
			return err // closing still belongs to the step that was given up
		}
		errs = append(errs, closing)
	}
	if n.nats != nil {
		errs = append(errs, within(ctx, "NATS server", n.nats.Shutdown))
	}
	return errors.Join(errs...)
}

// stopHTTP comes last, so that /health answers for as long as there is something to ask about.
func (n *node) stopHTTP(ctx context.Context) error {
	if n.tasks.http != nil {
		return n.tasks.http.stop(ctx)
	}
	var errs []error
	if n.web != nil {
		for _, listener := range n.web.listeners {
			errs = append(errs, listener.Close())
		}
	}
	return errors.Join(errs...)
}
