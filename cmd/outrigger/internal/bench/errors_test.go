package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestErrorsAreNamedByTheirCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("produce: %w", kerr.NotEnoughReplicas), "NOT_ENOUGH_REPLICAS"},
		{kgo.ErrClientClosed, "no answer until the client was closed"},
		{kgo.ErrRecordTimeout, "delivery timeout"},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), "request timeout"},
		{fmt.Errorf("read: %w", io.EOF), "connection closed"},
		{errors.New("else"), "else"},
	} {
		if got := codeOf(c.err); got != c.want {
			t.Errorf("got %q for %v, want %q", got, c.err, c.want)
		}
	}
}

// The client tells of retries in a line of its debug log only.
func TestRetriesAreFoundInWhatTheClientSays(t *testing.T) {
	counts := newCounter()
	l := retryLogger{counts}
	l.Log(kgo.LogLevelDebug, "produced", "broker", "1", "to",
		"t[0{retrying@-1,5(NOT_ENOUGH_REPLICAS: Messages are rejected since there are fewer in-sync replicas than required.)}, "+
			"1{12=>13}, 2{move:2:3@-1,4}, 3{retrying@-1,1(REQUEST_TIMED_OUT)}, ]")
	l.Log(kgo.LogLevelDebug, "other", "to", "t[0{retrying@-1,5(X)}, ]")
	got := countsText(counts.counts())
	if want := "1 x NOT_ENOUGH_REPLICAS, 1 x NOT_LEADER_FOR_PARTITION, 1 x REQUEST_TIMED_OUT"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReadyLineNamesServersAndProcesses(t *testing.T) {
	c, ok := parseReady("ready kafka=127.0.0.1:1,127.0.0.1:2 nats=nats://ops:ops@127.0.0.1:3 http=127.0.0.1:4 pids=7,8")
	if !ok || !slices.Equal(c.servers, []string{"127.0.0.1:1", "127.0.0.1:2"}) || !slices.Equal(c.pids, []int{7, 8}) {
		t.Errorf("got %+v %t, want two servers and processes 7 and 8", c, ok)
	}
	for _, line := range []string{"", "ready", "ready kafka=a:1", "ready kafka=a:1 pids=x", "not ready kafka=a:1 pids=1"} {
		if c, ok := parseReady(line); ok {
			t.Errorf("got %+v from %q, want a refusal", c, line)
		}
	}
}

func TestKilledProcessIsThatOfTheNode(t *testing.T) {
	if pid, err := pidOf(5, []int32{2, 5, 9}, []int{20, 50, 90}); pid != 50 || err != nil {
		t.Errorf("got %d, %v, want 50", pid, err)
	}
	if _, err := pidOf(5, []int32{2, 5, 9}, []int{20, 50}); err == nil {
		t.Error("two processes of three brokers were accepted: the wrong one may die")
	}
	if _, err := pidOf(4, []int32{2, 5, 9}, []int{20, 50, 90}); err == nil {
		t.Error("a broker that is none of them has a process")
	}
}

func TestProcessTimesAreReadBehindAnyName(t *testing.T) {
	used, resident, err := parseStat([]byte("42 (a b) c) S 1 42 42 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 9 0 100 1000000 10 18446744073709551615 1 1"))
	if used.Seconds() != 2 || resident <= 0 || err != nil {
		t.Errorf("got %v, %d bytes, %v, want 2 s and ten pages", used, resident, err)
	}
	if _, _, err := parseStat([]byte("42 (x) S 1")); err == nil {
		t.Error("a short line was accepted")
	}
}

func TestFlushPolicyIsReadFromEitherKindOfBroker(t *testing.T) {
	const forever = "9223372036854775807"
	for _, c := range []struct {
		broker, topic map[string]string
		want          string
	}{
		{map[string]string{"log.flush.policy": "always"}, map[string]string{"flush.messages": forever}, "always: synced before it is acknowledged"},
		{map[string]string{"log.flush.policy": "interval"}, nil, "interval"},
		{nil, map[string]string{"flush.messages": forever, "flush.ms": forever}, "left to the operating system, not before it is acknowledged"},
		{nil, map[string]string{"flush.messages": "1"}, "synced after every batch (flush.messages=1)"},
		{map[string]string{"log.flush.interval.messages": "10"}, nil, "synced every 10 messages"},
		{nil, map[string]string{"flush.messages": forever, "flush.ms": "50"}, "synced every 50 ms, not before it is acknowledged"},
		{nil, nil, unknown},
	} {
		if got := flushPolicy(c.broker, c.topic); got != c.want {
			t.Errorf("got %q for %v %v, want %q", got, c.broker, c.topic, c.want)
		}
	}
}
