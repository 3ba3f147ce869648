package natsconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// A feed is a connection by which a follower takes WAL frames from the server of the node that leads. It spares
// each frame a hop, and half of the copies that are made of it on its way:
//
//	route  leader ── pipe ──> its server ── route ──> follower's server ── pipe ──> follower
//	feed   leader ── pipe ──> its server ── client connection ───────────────────> follower
//
// Its login is made at random at every start and told to peers only, on an account that no one else reaches.
// It can listen to this node's frames and say nothing. Nor can it keep them from others: a follower that takes frames
// by a feed shows that by its route as well.
const feedUser = "outrigger-feed"

// ErrNoFeed: a peer offers no feed, or one that we cannot reach. Routes carry its frames.
var ErrNoFeed = errors.New("no feed is offered")

// offer is what a peer is told of a feed from us.
type offer struct {
	// Host is where the client listener is bound, "" for all addresses.
	Host string `json:"host"`
	Port int    `json:"port"`
	// User and Password are its login.
	User     string `json:"user"`
	Password string `json:"password"`
}

// FeedOffer is for peers' FeedFrom, and secret. It is empty if there is none: because of Config.NoFeeds, or because a
// listener uses TLS, for which a feed would need certificates that routes do not.
func (s *Server) FeedOffer() []byte {
	address, ok := s.server.Addr().(*net.TCPAddr)
	if !ok || s.config.NoFeeds || s.options.TLSConfig != nil || s.options.Cluster.TLSConfig != nil {
		return nil
	}
	o := offer{Port: address.Port, User: feedUser, Password: s.secrets[feedUser]}
	if !address.IP.IsUnspecified() {
		o.Host = address.IP.String()
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and a number
	}
	return text
}

// FeedFrom says where and how a feed is opened that a peer has offered. ErrNoFeed: it offers none, has no route to us
// now, or listens on loopback and is another machine.
func (s *Server) FeedFrom(peer int32, offered []byte) (address, user, password string, err error) {
	if len(offered) == 0 {
		return "", "", "", ErrNoFeed
	}
	var o offer
	if err := json.Unmarshal(offered, &o); err != nil {
		return "", "", "", fmt.Errorf("read what %s offers: %w", NodeName(peer), err)
	}
	ip := s.peerIP(NodeName(peer))
	switch {
	case !ip.IsValid():
		return "", "", "", fmt.Errorf("%w by %s: it has no route to us", ErrNoFeed, NodeName(peer))
	case o.Host == "":
		o.Host = ip.String()
	case isLoopback(o.Host) && !isOurs(ip):
		return "", "", "", fmt.Errorf("%w by %s: its nats.client.listen is %s", ErrNoFeed, NodeName(peer), o.Host)
	}
	return net.JoinHostPort(o.Host, strconv.Itoa(o.Port)), o.User, o.Password, nil
}

// peerIP is where a peer's routes come from, or go to; not valid without a route.
func (s *Server) peerIP(name string) netip.Addr {
	routes, err := s.server.Routez(nil)
	if err != nil {
		return netip.Addr{}
	}
	for _, route := range routes.Routes {
		if ip, err := netip.ParseAddr(route.IP); err == nil && route.RemoteName == name {
			return ip
		}
	}
	return netip.Addr{}
}

// isOurs reports whether the address is one of this machine.
func isOurs(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false // routes will do
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr() == ip.Unmap().WithZone("")
	})
}

// feedPermissions let a peer listen to this node's frames, show that it does, and nothing else.
func feedPermissions(node int32) *server.Permissions {
	from := strconv.Itoa(int(node))
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: []string{">"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"wal.from." + from + ".>", "feed." + from + ".*.*"}},
	}
}
