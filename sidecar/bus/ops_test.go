package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"outrigger/natsconf"
	"outrigger/sidecar/bus"
)

// operator connects from outside. Permission violations arrive on the channel.
func operator(t testing.TB, n *node, user string) (*nats.Conn, <-chan error) {
	t.Helper()
	violations := make(chan error, 10)
	conn, err := nats.Connect(n.server.ClientURL(), nats.UserInfo(user, user),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err != nil {
		t.Fatalf("connect as %s: %v", user, err)
	}
	t.Cleanup(conn.Close)
	return conn, violations
}

func refused(t testing.TB, violations <-chan error, what string) {
	t.Helper()
	select {
	case err := <-violations:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want a permission violation for %s", err, what)
		}
	case <-time.After(patience):
		t.Errorf("%s was not refused", what)
	}
}

func TestNobodyConnectsWithoutALoginOrWithOurs(t *testing.T) {
	n := startNode(t, config(1))
	hbUser, hbPassword := n.server.Credentials("HB")
	sidecarUser, sidecarPassword := n.server.Credentials("OPS")
	for name, option := range map[string]nats.Option{
		"anonymous":                  nats.UserInfo("", ""),
		"wrong password":             nats.UserInfo("ops", "guess"),
		"unknown user":               nats.UserInfo("REPL", "REPL"),
		"in-process user by TCP":     nats.UserInfo(hbUser, hbPassword),
		"the sidecar's login by TCP": nats.UserInfo(sidecarUser, sidecarPassword),
		"route login at client port": nats.UserInfo("outrigger", "s3cret"),
	} {
		conn, err := nats.Connect(n.server.ClientURL(), option)
		if err == nil {
			conn.Close()
			t.Errorf("%s: connected", name)
		} else if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: got %v, want an authorization violation", name, err)
		}
	}
}

func TestOperatorsOnlyAskAndListen(t *testing.T) {
	n := startNode(t, config(1))
	conn, violations := operator(t, n, "ops")
	for _, subject := range []string{
		"wal.1", "hb.1", "raft.vote.1", "ack.1", "local.1.election", "sidecar.event.fenced",
		"sidecar.tap.t.0", "sidecar.status.1.x", "anything", "_INBOX.x.y",
	} {
		if err := conn.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		refused(t, violations, subject)
	}
	for _, subject := range []string{"wal.>", "hb.>", "raft.>", ">", "sidecar.>", "sidecar.status", "$SRV.>", "$SYS.>"} {
		if _, err := conn.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		refused(t, violations, subject)
	}
	for _, subject := range []string{"sidecar.status", "sidecar.status.1", "$SRV.PING"} {
		if err := conn.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"sidecar.event.>", "sidecar.tap.>", "sidecar.tap.t.0"} {
		if _, err := conn.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-violations:
		t.Errorf("got %v for what operators may do", err)
	default:
	}
}

func TestOperatorOnAnotherNodeSeesEventsAndTaps(t *testing.T) {
	nodes := startCluster(t, nil)
	conn, _ := operator(t, nodes[2], "ops")
	const topicName = "a..b"
	if nodes[0].TapInterest(topicName, 3) {
		t.Error("somebody listens before anybody subscribed")
	}
	events, err := conn.SubscribeSync("sidecar.event.>")
	if err != nil {
		t.Fatal(err)
	}
	line, err := conn.SubscribeSync("sidecar.tap.a~~b.3")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tap is asked for", func() bool { return nodes[0].TapInterest(topicName, 3) })
	if nodes[0].TapInterest(topicName, 4) || nodes[0].TapInterest("a.b", 3) {
		t.Error("another partition counts as listened to")
	}
	if !nodes[0].Interest("sidecar.event.fenced") || nodes[0].Interest("sidecar.eventless") {
		t.Error("interest in events is wrong")
	}
	if err := nodes[0].Tap(topicName, 3, []byte(`{"base":7}`)); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].Event("fenced", []byte(`{"node":1}`)); err != nil {
		t.Fatal(err)
	}
	if m, err := line.NextMsg(patience); err != nil || string(m.Data) != `{"base":7}` {
		t.Errorf("got %v, %v, want the tap's line", m, err)
	}
	if m, err := events.NextMsg(patience); err != nil || m.Subject != "sidecar.event.fenced" {
		t.Errorf("got %v, %v, want the event", m, err)
	}
	if err := line.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tap is left", func() bool { return !nodes[0].TapInterest(topicName, 3) })
	if _, err := conn.SubscribeSync("sidecar.tap.>"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all taps are asked for", func() bool { return nodes[1].TapInterest("other", 0) })
}

func TestTapsThatAreOffCannotBeListenedTo(t *testing.T) {
	c := config(1)
	c.DebugTap = natsconf.TapOff
	n := startNode(t, c)
	conn, violations := operator(t, n, "ops")
	if _, err := conn.SubscribeSync("sidecar.tap.>"); err != nil {
		t.Fatal(err)
	}
	refused(t, violations, "sidecar.tap.>")
	if n.TapInterest("t", 0) {
		t.Error("a refused subscription counts as interest")
	}
}

func TestPayloadTapReadsTheWireAndCannotWriteIt(t *testing.T) {
	nodes := startCluster(t, func(c *natsconf.Config) { c.DebugTap = natsconf.TapPayload })
	follower := subscribe(t, nodes[1], bus.Replication, "REPL", "wal.1", nodes[0])
	conn, violations := operator(t, nodes[2], "ops")
	tapped, err := conn.SubscribeSync("wal.>")
	if err != nil {
		t.Fatal(err)
	}
	beats, err := conn.SubscribeSync("hb.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tap is open", func() bool {
		return nodes[0].server.Interest("REPL", "wal.9") && nodes[0].server.Interest("HB", "hb.9")
	})
	publish(t, nodes[0], bus.Replication, "wal.1", []byte("frame"))
	publish(t, nodes[0], bus.Heartbeat, "hb.1", []byte("beat"))
	for sub, want := range map[*nats.Subscription]string{tapped: "frame", beats: "beat"} {
		if m, err := sub.NextMsg(patience); err != nil || string(m.Data) != want {
			t.Errorf("got %v, %v, want %q", m, err, want)
		}
	}
	if m := receive(t, follower); string(m.Data) != "frame" {
		t.Errorf("follower got %q", m.Data)
	}
	if err := conn.Publish("wal.1", []byte("forged")); err != nil {
		t.Fatal(err)
	}
	refused(t, violations, "wal.1")
	publish(t, nodes[0], bus.Replication, "wal.1", []byte("genuine"))
	if m := receive(t, follower); string(m.Data) != "genuine" {
		t.Errorf("follower got %q, want only what nodes send", m.Data)
	}
}

func serve(t testing.TB, n *node, id string) {
	t.Helper()
	err := n.Service(bus.ServiceConfig{
		Name: "sidecar", Version: "0.1.0", Description: "node " + id,
		Metadata: map[string]string{"node": id, "kafka_addr": "127.0.0.1:9092"},
		Status:   func() []byte { return []byte(`{"node":` + id + `}`) },
		Stats:    func() any { return map[string]int{"applied": 42} },
	})
	if err != nil {
		t.Fatal(err)
	}
}

func dial(t testing.TB, address, user, password string) *bus.Client {
	t.Helper()
	client, err := bus.Dial(address, user, password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestEveryNodeAnswersStatusAndOneItsOwn(t *testing.T) {
	nodes := startCluster(t, nil)
	for i, n := range nodes {
		serve(t, n, string(rune('0'+i)))
	}
	client := dial(t, nodes[1].server.ClientURL(), "", "")
	eventually(t, "three answers", func() bool {
		answers, err := client.RequestMany(t.Context(), "sidecar.status", 2*time.Second, 3)
		return err == nil && slices.Equal(sorted(answers), []string{`{"node":0}`, `{"node":1}`, `{"node":2}`})
	})
	answers, err := client.RequestMany(t.Context(), "sidecar.status.2", patience, 1)
	if err != nil || !slices.Equal(sorted(answers), []string{`{"node":2}`}) {
		t.Errorf("got %q, %v, want node 2 alone", answers, err)
	}
	began := time.Now()
	if _, err := client.RequestMany(t.Context(), "sidecar.status.9", patience, 1); !errors.Is(err, bus.ErrNoResponders) {
		t.Errorf("got %v for a node that is not there, want ErrNoResponders", err)
	}
	if waited := time.Since(began); waited > patience/2 {
		t.Errorf("told after %s that nobody listens, want at once", waited)
	}
	answers, err = client.RequestMany(t.Context(), "sidecar.status", 300*time.Millisecond, 0)
	if err != nil || len(answers) != 3 {
		t.Errorf("got %d answers, %v, without a limit, want 3", len(answers), err)
	}
}

func sorted(answers [][]byte) []string {
	var list []string
	for _, answer := range answers {
		list = append(list, string(answer))
	}
	slices.Sort(list)
	return list
}

func TestServiceShowsLiveNumbers(t *testing.T) {
	n := startNode(t, config(1))
	serve(t, n, "1")
	client := dial(t, n.server.ClientURL(), "ops", "ops")
	if _, err := client.RequestMany(t.Context(), "sidecar.status.1", patience, 1); err != nil {
		t.Fatal(err)
	}
	answers, err := client.RequestMany(t.Context(), "$SRV.STATS.sidecar", patience, 1)
	if err != nil || len(answers) != 1 {
		t.Fatalf("got %d answers, %v", len(answers), err)
	}
	var stats struct {
		Name      string
		Metadata  map[string]string
		Endpoints []struct {
			Subject     string
			NumRequests int            `json:"num_requests"`
			QueueGroup  string         `json:"queue_group"`
			Data        map[string]int `json:"data"`
		}
	}
	if err := json.Unmarshal(answers[0], &stats); err != nil {
		t.Fatal(err)
	}
	if stats.Name != "sidecar" || stats.Metadata["node"] != "1" || len(stats.Endpoints) != 2 {
		t.Errorf("got %s", answers[0])
	}
	for _, endpoint := range stats.Endpoints {
		if endpoint.Data["applied"] != 42 || endpoint.QueueGroup != "" {
			t.Errorf("got endpoint %+v, want live numbers and no queue group", endpoint)
		}
		if endpoint.Subject == "sidecar.status.1" && endpoint.NumRequests != 1 {
			t.Errorf("got %d requests at %s, want 1", endpoint.NumRequests, endpoint.Subject)
		}
	}
}

func TestDialTakesTheLoginOfTheAddressElseTheDefault(t *testing.T) {
	n := startNode(t, config(1))
	at := n.server.ClientAddr()
	withLogin := (&url.URL{Scheme: "nats", Host: at, User: url.UserPassword("ops", "ops")}).String()
	wrongLogin := (&url.URL{Scheme: "nats", Host: at, User: url.UserPassword("ops", "wrong")}).String()
	for _, c := range []struct{ address, user, password string }{
		{at, "", ""},
		{"nats://" + at, "", ""},
		{withLogin, "", ""},
		{"nats://127.0.0.1:1, " + withLogin, "", ""},
		{wrongLogin, "ops", "ops"},
	} {
		dial(t, c.address, c.user, c.password)
	}
	for _, c := range []struct{ address, user, password string }{
		{wrongLogin, "", ""},
		{at, "ops", "wrong"},
	} {
		client, err := bus.Dial(c.address, c.user, c.password)
		if err == nil {
			client.Close()
			t.Errorf("%v: connected", c)
		} else if !errors.Is(err, bus.ErrUnauthorized) || strings.Contains(err.Error(), "wrong@") {
			t.Errorf("%v: got %v, want ErrUnauthorized and no password", c, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dial(t, at, "", "").RequestMany(ctx, "sidecar.status", patience, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
