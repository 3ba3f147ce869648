package natsconf

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogSaysTheSameLineOnceAMinute(t *testing.T) {
	var text bytes.Buffer
	fatal := make(chan *failure, 1)
	l := newLogger(slog.New(slog.NewTextHandler(&text, nil)), fatal)
	now := time.Unix(0, 0)
	l.now = func() time.Time { return now }
	said := func() int {
		defer text.Reset()
		return strings.Count(text.String(), "\n")
	}

	for _, port := range []string{"50001", "50002", "50003"} {
		l.Errorf("10.0.0.7:" + port + " - cid:" + port + " - authentication error")
	}
	if got := said(); got != 1 {
		t.Errorf("got %d lines of three refused logins from one address, want 1", got)
	}
	l.Errorf("10.0.0.8:50001 - cid:4 - authentication error")
	l.Errorf("10.0.0.7:50004 - cid:5 - Slow Consumer")
	if got := said(); got != 2 {
		t.Errorf("got %d lines of another address and another reason, want 2", got)
	}
	now = now.Add(time.Minute)
	l.Errorf("10.0.0.7:50005 - cid:6 - authentication error")
	if got := said(); got != 1 {
		t.Errorf("got %d lines a minute later, want 1", got)
	}
	l.Warnf("Plaintext passwords detected, use nkeys or bcrypt")
	l.Noticef("Route connection created")
	if got := said(); got != 0 {
		t.Errorf("got %d lines of no news, want none", got)
	}
	l.silence()
	l.Errorf("something new")
	if got := said(); got != 0 {
		t.Errorf("got %d lines while shutting down, want none", got)
	}
}

func TestFatalLineBecomesAnErrorAndTheFirstCounts(t *testing.T) {
	fatal := make(chan *failure, 1)
	l := newLogger(slog.New(slog.DiscardHandler), fatal)
	l.Fatalf("Error listening on router port: %d - %v", 6222, "in use")
	l.Fatalf("another")
	if got, want := (<-fatal).Error(), "Error listening on router port: 6222 - in use"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPayloadLimitHoldsAFrameAndTheLargestBatch(t *testing.T) {
	for _, message := range []int{1, 1048588, 10 << 20} {
		got := maxPayload(message)
		if got < message+frameBytes+overheadBytes || got%(1<<20) != 0 {
			t.Errorf("got payload limit %d for batches of %d", got, message)
		}
		o, err := newOptions(Config{MaxMessageBytes: message}.withDefaults(), newCredentials())
		if err != nil {
			t.Fatal(err)
		}
		if o.MaxPending < 2*int64(o.MaxPayload) {
			t.Errorf("got max pending %d for payloads of %d", o.MaxPending, o.MaxPayload)
		}
	}
}

func TestOwnRouteIsLeftOut(t *testing.T) {
	c := Config{ClusterListen: "10.0.0.1:6222", Routes: []string{"10.0.0.1:6222", "10.0.0.2:6222", "10.0.0.1:6223"}}
	var hosts []string
	for _, u := range routeURLs(c) {
		hosts = append(hosts, u.Host)
	}
	if got := strings.Join(hosts, " "); got != "10.0.0.2:6222 10.0.0.1:6223" {
		t.Errorf("got routes %s, want the two others", got)
	}
}

func TestServerNameTellsTheNode(t *testing.T) {
	for _, node := range []int32{0, 1, 2147483647} {
		if got, ok := NodeOf(NodeName(node)); !ok || got != node {
			t.Errorf("got %d, %t, want %d", got, ok, node)
		}
	}
	for _, name := range []string{"", "outrigger-", "outrigger-x", "outrigger--1", "other-1", "outrigger-2147483648"} {
		if got, ok := NodeOf(name); ok {
			t.Errorf("%q: got node %d, want none", name, got)
		}
	}
}
