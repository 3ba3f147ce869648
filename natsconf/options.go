package natsconf

import (
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	routeUser = "outrigger"

	// maxPendingBytes closes a client whose backlog passes it. The sidecar's followers keep at most
	// 32 MiB in flight each; operators that fall this far behind are better cut off.
	maxPendingBytes = 128 << 20
	// peerPingInterval times peerPingsOut bounds how long a black-holed peer keeps its route, or its feed. The
	// server's default is a minute or more; a shorter one shows in the cost of an idle cluster, since
	// every account has a connection to every peer.
	peerPingInterval = 5 * time.Second
	peerPingsOut     = 2
	// clientWriteDeadline closes a client, a feed above all, that took not one byte for so long.
	clientWriteDeadline = 10 * time.Second
	// reservedConnections are for the sidecar's lanes and the peers' feeds, beside those that an operator's file allows.
	reservedConnections = 64
	// routeWriteDeadline closes a route that took not one byte for so long. Its queue is unbounded,
	// but the sidecar's windows bound what goes in; closing it sooner would make a peer that only
	// paused wait another second for its routes.
	routeWriteDeadline = 5 * time.Second
	// routePool is the number of connections shared by the accounts that are not pinned. With one
	// alone, nats-server 2.15 forgets to drop its record of a closed route.
	routePool = 2
	// implicitRetries is for routes learned by gossip: two learners have no explicit route to each
	// other. The default, 0, would give up at the first refused connection; at one a second this is
	// a day.
	implicitRetries = 24 * 60 * 60
	// connectReports is every how many failed attempts (one a second) a silent peer is logged again.
	connectReports = 600
)

// newOptions builds what the server runs with: defaults, then the operator's file, then ours.
func newOptions(c Config, secrets credentials) (*server.Options, error) {
	o := &server.Options{
		ConnectErrorReports:   connectReports,
		ReconnectErrorReports: connectReports,
	}
	if c.OperatorFile != "" {
		if err := mergeOperatorFile(o, c); err != nil {
			return nil, err
		}
	}
	return o, lock(o, c, secrets)
}

// lock sets what no file may change: who we are, where we listen, whom we trust, and every limit
// that replication relies on.
func lock(o *server.Options, c Config, secrets credentials) error {
	// errors were ruled out by validate
	o.Host, o.Port, _ = splitListen("", c.ClientListen)
	o.ServerName = NodeName(c.NodeID)
	o.DontListen = false
	o.NoSigs = true
	o.NoLog = true
	o.JetStream = false
	o.NoAuthUser = ""
	o.NoSystemAccount = false
	o.NoHeaderSupport = false
	// drops messages where the stall would only delay them
	o.NoFastProducerStall = false
	o.PingInterval, o.MaxPingsOut = peerPingInterval, peerPingsOut
	o.WriteDeadline, o.WriteTimeout = clientWriteDeadline, server.WriteTimeoutPolicyClose
	if o.MaxConn > 0 {
		o.MaxConn += reservedConnections
	}
	o.MaxSubs = 0
	o.MaxSubTokens = 0
	o.MaxPayload = int32(maxPayload(c.MaxMessageBytes))
	o.MaxPending = max(maxPendingBytes, 2*int64(o.MaxPayload))
	if err := addAccounts(o, c, secrets); err != nil {
		return err
	}
	lockCluster(&o.Cluster, c)
	o.Routes = routeURLs(c)
	o.RoutesStr = ""
	return nil
}

func lockCluster(o *server.ClusterOpts, c Config) {
	o.Host, o.Port, _ = splitListen("", c.ClusterListen)
	o.Name = c.ClusterName
	o.Username, o.Password = "", ""
	if c.ClusterSecret != "" {
		o.Username, o.Password = routeUser, c.ClusterSecret
	}
	o.NoAdvertise = true
	o.ConnectRetries = implicitRetries
	o.ConnectBackoff = false
	o.PoolSize = routePool
	o.PinnedAccounts = append([]string(nil), pinnedAccounts...)
	o.PingInterval = peerPingInterval
	o.MaxPingsOut = peerPingsOut
	o.WriteDeadline = routeWriteDeadline
	// The subject of a node's own election worker. Queue groups pick members on any node of the
	// cluster, so such a request must not be able to leave.
	deny := &server.SubjectPermission{Deny: []string{"local.>"}}
	o.Permissions = &server.RoutePermissions{Import: deny, Export: deny}
}

// routeURLs leaves our own address out where its text says so; a route to ourselves by another
// name is closed by the server.
func routeURLs(c Config) []*url.URL {
	var urls []*url.URL
	for _, route := range c.Routes {
		if sameAddress(route, c.ClusterListen) {
			continue
		}
		u := &url.URL{Scheme: "nats-route", Host: route}
		if c.ClusterSecret != "" {
			u.User = url.UserPassword(routeUser, c.ClusterSecret)
		}
		urls = append(urls, u)
	}
	return urls
}

func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB {
		return false
	}
	return hostA == hostB
}
