package sidecar

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"outrigger/broker/topic"
	"outrigger/natsconf"
	"outrigger/sidecar/bus"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/node"
)

// wired is a stage with NATS: frames and feeds run, nothing else.
type wired struct {
	*stage
	server *natsconf.Server
	// unplug ends the node's feeds and waits for that.
	unplug func()
}

func startWired(t *testing.T, id int32, change func(*natsconf.Config), routes ...string) *wired {
	t.Helper()
	config := natsconf.Config{NodeID: id, ClusterName: "test", ClientListen: "127.0.0.1:0",
		ClusterListen: "127.0.0.1:0", ClusterSecret: "s3cret", Routes: routes,
		OpsUser: "ops", OpsPassword: "ops", DebugTap: natsconf.TapPayload}
	change(&config)
	server, err := natsconf.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	b, err := bus.Open(t.Context(), bus.Config{Server: server, Node: topic.NodeID(id)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	w := &wired{stage: newStage(t, 3), server: server}
	began := time.Now()
	w.cfg.Node, w.cfg.Now = topic.NodeID(id), func() time.Duration { return time.Since(began) }
	w.cfg.FeedOffer, w.cfg.FeedFrom = server.FeedOffer, server.FeedFrom
	w.cfg.Session, w.cfg.NodeOf = topic.Session(11*id), natsconf.NodeOf
	w.bus, w.feeds = b, newFeeds(w.Sidecar)
	for _, subscribe := range []func() error{w.replication.subscribe, w.feeds.subscribe} {
		if err := subscribe(); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// plug has the node keep feeds until it is unplugged.
func (w *wired) plug(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.feeds.run(ctx); err != nil {
			t.Error(err)
		}
	})
	w.unplug = func() { cancel(); running.Wait() }
	t.Cleanup(w.unplug)
}

func startThree(t *testing.T, change func(*natsconf.Config)) (nodes [3]*wired) {
	t.Helper()
	var routes []string
	for i := range nodes {
		nodes[i] = startWired(t, int32(i+1), change, routes...)
		routes = append(routes, nodes[i].server.ClusterAddr())
	}
	eventually(t, "full mesh", func() bool {
		return nodes[0].server.RouteCount() == 2 && nodes[1].server.RouteCount() == 2 && nodes[2].server.RouteCount() == 2
	})
	for _, w := range nodes {
		for _, other := range nodes {
			if subjects := walSubjects(other.cfg.Node); other != w {
				last := strings.Replace(subjects[len(subjects)-1], "*", "0", 1)
				eventually(t, "subscriptions", func() bool { return w.bus.Listened(bus.Replication, last) })
			}
		}
		w.plug(t)
	}
	return nodes
}

// eventually polls, since nothing announces what a server has heard of its peers.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		case <-ticker.C:
		}
	}
}

// hears wants this frame to be the next that comes to the node.
func (w *wired) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case m := <-w.replication.frames.Messages():
		if got := string(bus.Payload(m)); got != want {
			t.Fatalf("node %d got frame %q, want %q", w.cfg.Node, got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("node %d never got frame %q", w.cfg.Node, want)
	}
}

// fed is how many frames went by feeds.
func (w *wired) fed() int64 { return int64(w.metrics.framesFed.Load()) }

// send sends frames to nodes 2 and 3, each of which must come to each of them once, and returns how many went by
// feeds.
func send(t *testing.T, nodes [3]*wired, frames ...string) int64 {
	t.Helper()
	before := nodes[0].fed()
	for _, text := range frames {
		nodes[0].replication.SendData([]topic.NodeID{2, 3}, [][]byte{[]byte(text)})
		nodes[1].hears(t, text)
		nodes[2].hears(t, text)
	}
	return nodes[0].fed() - before
}

// Frames go by feeds while all followers that they are for have one, and by the route otherwise; each comes once,
// also while an operator taps all frames.
func TestFramesTakeFeedsThatAreThere(t *testing.T) {
	nodes := startThree(t, func(*natsconf.Config) {})
	leader := nodes[0]
	both := []topic.NodeID{2, 3}
	eventually(t, "feeds of both", func() bool { return leader.feeds.reach(both) })
	if got := send(t, nodes, "a", "b", "c"); got != 3 {
		t.Errorf("%d of 3 frames went by feeds", got)
	}
	nodes[2].unplug()
	eventually(t, "the feed's end", func() bool { return !leader.feeds.reach(both) })
	if got := send(t, nodes, "d", "e"); got != 0 {
		t.Errorf("%d frames went by feeds that one follower lacks", got)
	}
	leader.replication.SendData(both[:1], [][]byte{[]byte("f")})
	nodes[1].hears(t, "f")
	if !leader.feeds.reach(both[:1]) || leader.feeds.reach(nil) {
		t.Error("the feed that is left is not seen, or one of nobody is")
	}
	nodes[2].plug(t)
	eventually(t, "the feed again", func() bool { return leader.feeds.reach(both) })
	if got := send(t, nodes, "g"); got != 1 {
		t.Error("the frame did not go by the feed that came back")
	}
	for _, w := range nodes {
		eventually(t, "two feeds of each", func() bool { return w.feeds.up.Load() == 2 })
	}
}

// failure mode: whoever listens to frames without being the follower, as an operator who taps them does, must not pass
// for it.
func TestTapOfFramesIsNoFeed(t *testing.T) {
	nodes := startThree(t, func(c *natsconf.Config) { c.NoFeeds = true })
	tap := make(chan bus.Message, 10)
	if err := nodes[1].bus.Subscribe(bus.Ops, "wal.>", func(m bus.Message) { tap <- m }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tap", func() bool {
		return nodes[0].bus.Listened(bus.Replication, feedSubject(1, []topic.NodeID{2}))
	})
	if got := send(t, nodes, "a", "b"); got != 0 {
		t.Errorf("%d frames went by feeds that nobody offers", got)
	}
	for range 2 {
		select {
		case <-tap:
		case <-time.After(20 * time.Second):
			t.Fatal("the operator does not see the frames")
		}
	}
}

// A feed is lost with its server, and is there again once that is back.
func TestFeedComesBackWithItsServer(t *testing.T) {
	nodes := startThree(t, func(*natsconf.Config) {})
	follower := nodes[1]
	eventually(t, "two feeds", func() bool { return follower.feeds.up.Load() == 2 })
	nodes[2].unplug()
	nodes[2].server.Shutdown()
	eventually(t, "one feed", func() bool { return follower.feeds.up.Load() == 1 })
	again := startWired(t, 3, func(*natsconf.Config) {}, nodes[0].server.ClusterAddr(), follower.server.ClusterAddr())
	again.plug(t)
	eventually(t, "two feeds again", func() bool { return follower.feeds.up.Load() == 2 && again.feeds.up.Load() == 2 })
	again.replication.SendData([]topic.NodeID{2}, [][]byte{[]byte("a")})
	follower.hears(t, "a")
}

// A broker that leaves the cluster is asked for no feed any more.
func TestFeedsFollowTheClustersBrokers(t *testing.T) {
	nodes := startThree(t, func(*natsconf.Config) {})
	follower := nodes[1]
	eventually(t, "two feeds", func() bool { return follower.feeds.up.Load() == 2 })
	before := follower.current()
	follower.publishImage(2)
	close(before.changed)
	eventually(t, "one feed", func() bool { return follower.feeds.up.Load() == 1 })
	eventually(t, "the feed of node 1 alone", func() bool {
		return nodes[0].feeds.reach([]topic.NodeID{2}) && !nodes[2].feeds.reach([]topic.NodeID{2})
	})
}

// failure mode: a follower's earlier run, whose connection is not yet found to be dead, must not pass for the present
// one, nor one that is connected and has given its feed up.
func TestPresenceOfAnotherRunIsNoFeed(t *testing.T) {
	nodes := startThree(t, func(*natsconf.Config) {})
	leader, two := nodes[0], []topic.NodeID{2}
	eventually(t, "the feed", func() bool { return leader.feeds.reach(two) })
	there, here := presenceSubjects(1, nodes[1].self())
	nodes[1].unplug()
	eventually(t, "the feed's end", func() bool { return !leader.feeds.reach(two) })
	// What a dead connection leaves: anybody may listen to what the login allows, the follower alone to the rest.
	if err := nodes[2].bus.Subscribe(bus.Replication, there, func(bus.Message) {}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "presence at the leader", func() bool { return leader.bus.Listened(bus.Replication, there) })
	if leader.bus.Listened(bus.Replication, here) || leader.feeds.reach(two) {
		t.Error("a connection that is dead passes for a feed")
	}
	if err := nodes[1].bus.Subscribe(bus.Replication, here, func(bus.Message) {}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both", func() bool { return leader.feeds.reach(two) })
	b := leader.current().Image.Edit()
	b.Apply(leader.current().Image.AppliedIndex()+1, cluster.RegisterBroker{Unconditional: true,
		Broker: topic.Broker{ID: 2, Session: 99, Disk: topic.DiskID{2}}})
	leader.view.Store(&published{View: node.View{Image: b.Image(), Controller: 2}, changed: make(chan struct{})})
	if broker, _ := leader.current().Image.Broker(2); broker.Session != 99 {
		t.Fatalf("got session %v, want the new one", broker.Session)
	}
	if leader.feeds.reach(two) {
		t.Error("presence of a run that has ended passes for the present one's")
	}
}

// Feeds know no version of IP: on one address of version 6, and on all addresses with routes of version 6.
func TestFeedsGoOverIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for listen, name := range map[string]string{"[::1]:0": "one address", "[::]:0": "all addresses"} {
		t.Run(name, func(t *testing.T) {
			nodes := startThree(t, func(c *natsconf.Config) { c.ClientListen, c.ClusterListen = listen, "[::1]:0" })
			both := []topic.NodeID{2, 3}
			eventually(t, "feeds of both", func() bool { return nodes[0].feeds.reach(both) })
			if got := send(t, nodes, "a", "b", "c"); got != 3 {
				t.Errorf("%d of 3 frames went by feeds", got)
			}
		})
	}
}
