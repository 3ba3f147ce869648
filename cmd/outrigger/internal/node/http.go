package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"outrigger/broker/topic"
)

const (
	httpHeaderTimeout = 5 * time.Second
	httpWriteTimeout  = 30 * time.Second
	httpIdleTimeout   = time.Minute
	httpHeaderBytes   = 16 << 10
)

// Readiness is what /ready answers. Status 200 goes with Ready, 503 with anything else.
type Readiness struct {
	Ready bool         `json:"ready"`
	Node  topic.NodeID `json:"node"`
	// Brokers is how many live brokers this one sees, itself included.
	Brokers int `json:"brokers"`
	// Controller is -1 while this broker knows none.
	Controller topic.NodeID `json:"controller"`
	// Reason says for what or whom it waits.
	Reason string `json:"reason,omitempty"`
}

// health is what /health answers as long as the process lives.
type health struct {
	Status  string       `json:"status"`
	Node    topic.NodeID `json:"node"`
	Session string       `json:"session"`
	PID     int          `json:"pid"`
	Version string       `json:"version"`
}

// web is the HTTP side of a node. Who asks for /ready is answered by whatever stage the node has
// reached.
type web struct {
	listeners []net.Listener
	health    health
	// profiles says whether /debug/pprof/ is served.
	profiles bool
	ready    atomic.Pointer[func() Readiness]
}

// stage sets what /ready answers until the next stage: not ready, for that reason.
func (w *web) stage(reason string) {
	w.answer(func() Readiness { return Readiness{Controller: topic.NoNode, Reason: reason} })
}

func (w *web) answer(ready func() Readiness) { w.ready.Store(&ready) }

func (w *web) addresses() []string {
	var all []string
	for _, listener := range w.listeners {
		all = append(all, listener.Addr().String())
	}
	return all
}

// run serves every listener until ctx ends.
func (w *web) run(ctx context.Context, registry *prometheus.Registry) error {
	server := &http.Server{
		Handler:           w.handler(registry),
		ReadHeaderTimeout: httpHeaderTimeout,
		WriteTimeout:      httpWriteTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    httpHeaderBytes,
	}
	ended := make(chan error, len(w.listeners))
	for _, listener := range w.listeners {
		go func() { ended <- server.Serve(listener) }()
	}
	var errs []error
	running := len(w.listeners)
	select {
	case <-ctx.Done():
	case err := <-ended:
		running--
		errs = append(errs, fmt.Errorf("serve HTTP: %w", err))
	}
	errs = append(errs, server.Close())
	for range running {
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, fmt.Errorf("serve HTTP: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (w *web) handler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(out http.ResponseWriter, _ *http.Request) {
		writeJSON(out, http.StatusOK, w.health)
	})
	mux.HandleFunc("GET /ready", func(out http.ResponseWriter, _ *http.Request) {
		ready := (*w.ready.Load())()
		ready.Node = w.health.Node
		status := http.StatusOK
		if !ready.Ready {
			status = http.StatusServiceUnavailable
		}
		writeJSON(out, status, ready)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	if w.profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func writeJSON(out http.ResponseWriter, status int, value any) {
	out.Header().Set("Content-Type", "application/json")
	out.WriteHeader(status)
	// A client that went away is no news.
	_ = json.NewEncoder(out).Encode(value)
}

func newWeb(node topic.NodeID, session topic.Session, version string) *web {
	w := &web{health: health{Status: "ok", Node: node, Session: session.String(), PID: os.Getpid(), Version: version}}
	w.stage("starting")
	return w
}
