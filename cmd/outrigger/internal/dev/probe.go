package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	probeEvery    = 50 * time.Millisecond
	probeSlowly   = 500 * time.Millisecond
	probeTimeout  = 2 * time.Second
	probeBytesMax = 64 << 10
	// probeEager is how long a broker is asked often.
	probeEager = 30 * time.Second
)

// readiness is what /ready answers, as far as dev cares.
type readiness struct {
	Ready   bool   `json:"ready"`
	Brokers int    `json:"brokers"`
	Reason  string `json:"reason"`
}

// serves reports whether the broker serves as one of so many: it is in the cluster and sees as many
// live brokers, so that topics can be created on all of them.
func (r readiness) serves(brokers int) bool { return r.Ready && r.Brokers >= brokers }

// prober asks one broker.
type prober struct {
	client *http.Client
	url    string
}

func newProber(address string) *prober {
	return &prober{
		client: &http.Client{Timeout: probeTimeout, Transport: &http.Transport{MaxIdleConns: 1, Proxy: nil}},
		url:    "http://" + address + "/ready",
	}
}

// ask returns what the broker answers; not to answer is not to be ready.
func (p *prober) ask(ctx context.Context) readiness {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return readiness{Reason: err.Error()}
	}
	response, err := p.client.Do(request)
	if err != nil {
		return readiness{Reason: "it does not answer yet"}
	}
	defer func() { _ = response.Body.Close() }() // it was read, or will not be
	var r readiness
	if err := json.NewDecoder(io.LimitReader(response.Body, probeBytesMax)).Decode(&r); err != nil {
		return readiness{Reason: fmt.Sprintf("its answer cannot be read: %v", err)}
	}
	return r
}

// watch tells of every change in the answers until ctx ends, and once the broker is ready, until it
// sees so many brokers.
func (p *prober) watch(ctx context.Context, brokers int, tell func(readiness)) {
	defer p.client.CloseIdleConnections()
	var last readiness
	for started := time.Now(); ; {
		now := p.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if now != last {
			tell(now)
			last = now
		}
		if now.serves(brokers) {
			return
		}
		every := probeEvery
		if time.Since(started) > probeEager {
			every = probeSlowly
		}
		if !pause(ctx, every) {
			return
		}
	}
}
