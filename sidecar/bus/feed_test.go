package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"outrigger/natsconf"
	"outrigger/sidecar/bus"
)

// offered is what one node needs for a feed from another.
func offered(t testing.TB, from, by *node, fromID int32) bus.Feed {
	t.Helper()
	var f bus.Feed
	eventually(t, "an offer", func() bool {
		var err error
		f.Address, f.User, f.Password, err = by.server.FeedFrom(fromID, from.server.FeedOffer())
		return err == nil
	})
	f.Subjects, f.There, f.Here = []string{"wal.from.0.1", "wal.from.0.1.*"}, "feed.0.1.a", "feed.wish.0.1.a"
	f.IsPeer = func(name string) bool { return name == natsconf.NodeName(fromID) }
	return f
}

func TestFeedEndsWithItsServerAndTellsOfTheGap(t *testing.T) {
	nodes := startCluster(t, nil)
	inbox := bus.NewInbox(10)
	feed, err := nodes[1].Feed(t.Context(), offered(t, nodes[0], nodes[1], 0), inbox)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "presence", func() bool {
		return nodes[0].Listened(bus.Replication, "feed.0.1.a") && nodes[0].Listened(bus.Replication, "feed.wish.0.1.a")
	})
	publish(t, nodes[0], bus.Replication, "wal.from.0.1.2", []byte("frame"))
	if got := string(bus.Payload(<-inbox.Messages())); got != "frame" {
		t.Errorf("got %q, want the frame", got)
	}
	ended := make(chan error, 1)
	go func() { ended <- feed.Wait(context.Background()) }()
	nodes[0].server.Shutdown()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the feed ended without an error")
		}
	case <-time.After(patience):
		t.Fatal("the feed never ended")
	}
	if lane := <-nodes[1].gaps; lane != bus.Replication {
		t.Errorf("got a gap of lane %v, want one of the frames", lane)
	}
}

func TestFeedEndsWithItsContext(t *testing.T) {
	nodes := startCluster(t, nil)
	feed, err := nodes[1].Feed(t.Context(), offered(t, nodes[0], nodes[1], 0), bus.NewInbox(10))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := feed.Wait(ctx); err != nil {
		t.Errorf("got %v, want no error", err)
	}
	eventually(t, "nobody listens", func() bool {
		return !nodes[0].Listened(bus.Replication, "feed.0.1.a") && !nodes[0].Listened(bus.Replication, "feed.wish.0.1.a")
	})
}

// Whoever has a feed's login can listen to that node's frames, and say or hear nothing else.
func TestLoginOfAFeedIsForFramesAlone(t *testing.T) {
	nodes := startCluster(t, nil)
	f := offered(t, nodes[0], nodes[1], 0)
	violations := make(chan error, 10)
	conn, err := nats.Connect("nats://"+f.Address, nats.UserInfo(f.User, f.Password),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, subject := range []string{"wal.from.1.2", "wal.2", "ack.0", "wal.>", "feed.>", "feed.wish.0.1.a", "feed.1.2.a", ">", "_INBOX.a"} {
		if _, err := conn.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		refused(t, violations, subject)
	}
	for _, subject := range []string{"wal.1", "wal.from.0.1", "ack.0", "feed.0.1.a"} {
		if err := conn.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		refused(t, violations, subject)
	}
	stranger := f
	stranger.IsPeer = func(string) bool { return false }
	if _, err := nodes[1].Feed(t.Context(), stranger, bus.NewInbox(1)); err == nil || !strings.Contains(err.Error(), "outrigger-0") {
		t.Errorf("another server at the address: got %v, want an error that names it", err)
	}
	f.Password = "guess"
	if _, err := nodes[1].Feed(t.Context(), f, bus.NewInbox(1)); !errors.Is(err, bus.ErrUnauthorized) {
		t.Errorf("wrong password: got %v, want %v", err, bus.ErrUnauthorized)
	}
}

func TestFeedIsOfferedOnlyWhereItCanBeReached(t *testing.T) {
	nodes := startCluster(t, nil)
	address := func(offer string) (string, error) {
		at, _, _, err := nodes[1].server.FeedFrom(0, []byte(offer))
		return at, err
	}
	if got, err := address(`{"host":"","port":7}`); err != nil || got != "127.0.0.1:7" {
		t.Errorf("on all addresses: got %s, %v, want that of the route", got, err)
	}
	if got, err := address(`{"host":"10.1.2.3","port":7}`); err != nil || got != "10.1.2.3:7" {
		t.Errorf("on one address: got %s, %v, want it", got, err)
	}
	if got, err := address(`{"host":"::1","port":7}`); err != nil || got != "[::1]:7" {
		t.Errorf("on loopback: got %s, %v, want it, for the peer is on this machine", got, err)
	}
	for what, offer := range map[string]string{"no offer": "", "no JSON": "{"} {
		if _, err := address(offer); err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
	if _, _, _, err := nodes[1].server.FeedFrom(7, nodes[0].server.FeedOffer()); !errors.Is(err, natsconf.ErrNoFeed) {
		t.Errorf("of a stranger: got %v, want %v", err, natsconf.ErrNoFeed)
	}
	silent := startNode(t, func() natsconf.Config { c := config(9); c.NoFeeds = true; return c }())
	if got := silent.server.FeedOffer(); got != nil {
		t.Errorf("got %s offered, want nothing", got)
	}
	var told struct{ Host string }
	if err := json.Unmarshal(nodes[0].server.FeedOffer(), &told); err != nil || net.ParseIP(told.Host) == nil {
		t.Errorf("got host %q, %v, want the listener's", told.Host, err)
	}
}

// blackHole is a way to a server that can be made to swallow everything.
type blackHole struct {
	listener net.Listener
	full     atomic.Bool
}

func newBlackHole(t testing.TB, to string) *blackHole {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	h := &blackHole{listener: listener}
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				return
			}
			t.Cleanup(func() { _ = in.Close(); _ = out.Close() })
			go h.carry(in, out)
			go h.carry(out, in)
		}
	}()
	return h
}

func (h *blackHole) carry(from io.Reader, to io.Writer) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if h.full.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// failure mode: a feed whose packets vanish is given up soon, and the leader hears of that by the route.
func TestFeedWhosePacketsVanishIsGivenUp(t *testing.T) {
	nodes := startCluster(t, nil)
	f := offered(t, nodes[0], nodes[1], 0)
	hole := newBlackHole(t, f.Address)
	f.Address = hole.listener.Addr().String()
	feed, err := nodes[1].Feed(t.Context(), f, bus.NewInbox(10))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "presence", func() bool { return nodes[0].Listened(bus.Replication, f.Here) })
	ended := make(chan error, 1)
	go func() { ended <- feed.Wait(context.Background()) }()
	hole.full.Store(true)
	from := time.Now()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the feed ended without an error")
		}
	case <-time.After(patience):
		t.Fatal("the feed never ended")
	}
	t.Logf("given up after %v", time.Since(from))
	eventually(t, "no presence by the route", func() bool { return !nodes[0].Listened(bus.Replication, f.Here) })
	if !nodes[0].Listened(bus.Replication, f.There) {
		t.Error("the dead connection is known to be one: the test proves nothing")
	}
}
