package bus

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	eventPrefix = "sidecar.event."
	tapPrefix   = "sidecar.tap."
	// interestPeriod is how often the bus looks whether somebody came to listen or left, while anybody
	// asks: an idle process is not woken for it.
	interestPeriod = time.Second
	// interestEntriesMax bounds the remembered answers; past it they start afresh.
	interestEntriesMax = 1 << 16
)

// TapSubject is where facts about a partition's frames are published. Topic names may hold dots,
// even two in a row, which NATS reads as separators; '~' cannot occur in a topic name.
func TapSubject(topicName string, partition int32) string {
	return tapPrefix + strings.ReplaceAll(topicName, ".", "~") + "." + strconv.Itoa(int(partition))
}

// Event tells operators what happened: `sidecar.event.<kind>`, json one object. It is lost if nobody
// listens.
func (b *Bus) Event(kind string, json []byte) error {
	return b.Publish(Ops, eventPrefix+kind, json)
}

// Tap publishes one JSON line about a frame's section. Ask TapInterest first.
func (b *Bus) Tap(topicName string, partition int32, json []byte) error {
	return b.Publish(Ops, TapSubject(topicName, partition), json)
}

// TapInterest reports whether anybody, on any node, listens to the partition's tap. It is cheap
// enough for every section of every frame, and late by interestPeriod at most.
func (b *Bus) TapInterest(topicName string, partition int32) bool {
	return b.taps.interest(topicName, partition)
}

// Interest reports whether anybody among the operators, on any node, listens to the subject.
func (b *Bus) Interest(subject string) bool {
	return b.Listened(Ops, subject)
}

// taps remembers which partitions somebody listens to, per version of the server's subscriptions.
type taps struct {
	server  Server
	current atomic.Pointer[tapAnswers]
	// fresh: the version was looked at within interestPeriod.
	fresh atomic.Bool
}

// tapAnswers hold under one version.
type tapAnswers struct {
	version uint64
	sync.RWMutex
	known map[tapKey]bool
}

type tapKey struct {
	topicName string
	partition int32
}

func (t *taps) init(server Server) {
	t.server = server
	t.reset(server.InterestVersion(lanes[Ops].account))
}

func (t *taps) reset(version uint64) {
	t.current.Store(&tapAnswers{version: version, known: make(map[tapKey]bool)})
}

// refresh forgets remembered answers when somebody subscribed or unsubscribed.
func (t *taps) refresh() {
	version := t.server.InterestVersion(lanes[Ops].account)
	if version != t.current.Load().version {
		t.reset(version)
	}
}

// interest may remember an answer newer than the version it is filed under: the next refresh drops
// it, no harm done. It never remembers an older one.
func (t *taps) interest(topicName string, partition int32) bool {
	if !t.fresh.Load() && t.fresh.CompareAndSwap(false, true) {
		t.refresh()
		time.AfterFunc(interestPeriod, func() { t.fresh.Store(false) })
	}
	answers := t.current.Load()
	key := tapKey{topicName, partition}
	answers.RLock()
	listening, known := answers.known[key]
	answers.RUnlock()
	if known {
		return listening
	}
	listening = t.server.Interest(lanes[Ops].account, TapSubject(topicName, partition))
	answers.Lock()
	defer answers.Unlock()
	if len(answers.known) >= interestEntriesMax {
		clear(answers.known)
	}
	answers.known[key] = listening
	return listening
}
