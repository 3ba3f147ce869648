package natsconf

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// The accounts of the embedded server.
const (
	AccountHeartbeat   = "HB"
	AccountRaft        = "RAFT"
	AccountReplication = "REPL"
	AccountCatchup     = "CATCHUP"
	AccountOps         = "OPS"
	AccountSystem      = "SYS"
)

// Values of Config.DebugTap: what operators may read of the node's traffic.
const (
	// TapOff lets operators listen to no taps, so that none is published.
	TapOff = "off"
	// TapFacts is the default: `sidecar.tap.>` tells epochs, offsets and sizes.
	TapFacts = "facts"
	// TapPayload also lets operators read `wal.>`, `hb.>` and `raft.>`: everything that producers
	// wrote, past Kafka's access rules.
	TapPayload = "payload"
)

const (
	// frameBytes is the largest WAL frame that the sidecar fills on purpose.
	frameBytes = 512 << 10
	// overheadBytes is room for a frame's header and sections around the bytes of records.
	overheadBytes = 64 << 10
	// payloadBytesMax is the largest payload that nats-server's documentation allows.
	payloadBytesMax = 64 << 20
	// maxMessageBytesDefault is Kafka's default of message.max.bytes.
	maxMessageBytesDefault = 1048588
	// readyTimeoutDefault is ample for opening two sockets.
	readyTimeoutDefault = 10 * time.Second
)

// Config says how the embedded server listens, whom it joins and who may look inside.
type Config struct {
	// NodeID names the server: "outrigger-<id>", unique in the cluster.
	NodeID int32
	// ClusterName is the same on every node; a peer with another one is refused. Default
	// "outrigger".
	ClusterName string
	// ClientListen is the host:port for operators; port 0 or -1 takes any free one. The listener
	// cannot be left out: without it nats-server opens no route listener either. Default
	// "127.0.0.1:4222".
	ClientListen string
	// ClusterListen is the host:port for peers; port 0 or -1 takes any free one. Default
	// "127.0.0.1:6222".
	ClusterListen string
	// ClusterSecret is the password that peers show each other. A peer is trusted with everything,
	// so it may be empty only while ClusterListen is a loopback address.
	ClusterSecret string
	// Routes are the host:port cluster addresses of every voter; our own may be among them. They
	// are retried for ever, also while a name does not resolve.
	Routes []string
	// OpsUser and OpsPassword log an operator in, over TCP. No user: nobody can.
	OpsUser, OpsPassword string
	// SysUser and SysPassword log into the system account, for `nats server ...`. No user: nobody
	// can.
	SysUser, SysPassword string
	// OperatorFile is the path of a nats.conf to merge below our settings, or "".
	OperatorFile string
	// MaxMessageBytes is the largest batch that any topic may allow itself. Default 1,048,588. The payload limit follows
	// from it: what this node may publish.
	MaxMessageBytes int
	// NoFeeds offers peers no feeds: routes carry all frames.
	NoFeeds bool
	// DebugTap is TapOff, TapFacts (default) or TapPayload.
	DebugTap string
	// ReadyTimeout bounds the wait in Start for both listeners. Default 10 s.
	ReadyTimeout time.Duration
	// Logger receives the server's log; nil discards it.
	Logger *slog.Logger
	// Fatal is told, at most once, of an error that stopped a part of the server after Start had
	// returned. It must not block. nil: such an error is only logged.
	Fatal func(error)
}

// ErrInsecureCluster refuses a cluster listener that strangers can reach and join. The operator
// sets a secret.
var ErrInsecureCluster = errors.New("nats.cluster.secret is not set")

func (c Config) withDefaults() Config {
	defaultTo(&c.ClusterName, "outrigger")
	defaultTo(&c.ClientListen, "127.0.0.1:4222")
	defaultTo(&c.ClusterListen, "127.0.0.1:6222")
	defaultTo(&c.DebugTap, TapFacts)
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = maxMessageBytesDefault
	}
	if c.ReadyTimeout == 0 {
		c.ReadyTimeout = readyTimeoutDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func defaultTo(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// validate expects defaults to be filled in. Every error names the key that an operator sets.
func (c Config) validate() error {
	if c.NodeID < 0 {
		return fmt.Errorf("node.id %d is negative", c.NodeID)
	}
	if strings.ContainsAny(c.ClusterName, " \t\r\n") {
		return fmt.Errorf("cluster name %q contains a space", c.ClusterName)
	}
	if _, _, err := splitListen("nats.client.listen", c.ClientListen); err != nil {
		return err
	}
	host, _, err := splitListen("nats.cluster.listen", c.ClusterListen)
	if err != nil {
		return err
	}
	if c.ClusterSecret == "" && !isLoopback(host) {
		return fmt.Errorf("nats.cluster.listen %s can be reached from other machines, but %w: "+
			"whoever connects there would be trusted with everything", c.ClusterListen, ErrInsecureCluster)
	}
	for _, route := range c.Routes {
		if _, port, err := splitListen("controller.quorum.voters", route); err != nil {
			return err
		} else if port <= 0 {
			return fmt.Errorf("controller.quorum.voters %q: a peer needs a port", route)
		}
	}
	if err := c.validateLogins(); err != nil {
		return err
	}
	return c.validateSizes()
}

func (c Config) validateLogins() error {
	if c.OpsUser != "" && c.OpsPassword == "" {
		return fmt.Errorf("nats.ops.password is empty for user %q", c.OpsUser)
	}
	if c.SysUser != "" && c.SysPassword == "" {
		return fmt.Errorf("nats.sys.password is empty for user %q", c.SysUser)
	}
	if c.OpsUser != "" && c.OpsUser == c.SysUser {
		return fmt.Errorf("nats.ops.user and nats.sys.user are both %q", c.OpsUser)
	}
	for _, name := range ourUsers() {
		if c.OpsUser == name || c.SysUser == name {
			return fmt.Errorf("NATS user %q is Outrigger's own, choose another name", name)
		}
	}
	return nil
}

func (c Config) validateSizes() error {
	if c.MaxMessageBytes < 0 || maxPayload(c.MaxMessageBytes) > payloadBytesMax {
		return fmt.Errorf("message.max.bytes %d: a batch must fit a NATS message, at most %d",
			c.MaxMessageBytes, payloadBytesMax-frameBytes-overheadBytes)
	}
	switch c.DebugTap {
	case TapOff, TapFacts, TapPayload:
		return nil
	default:
		return fmt.Errorf("nats.debug.tap %q: want %s, %s or %s", c.DebugTap, TapOff, TapFacts, TapPayload)
	}
}

// maxPayload leaves room for a frame that was nearly full when the largest batch joined it, rounded
// up to whole MiB. Kafka's default batch limit alone is larger than nats-server's default payload.
func maxPayload(maxMessageBytes int) int {
	const unit = 1 << 20
	bytes := maxMessageBytes + frameBytes + overheadBytes
	return (bytes + unit - 1) / unit * unit
}

// splitListen reads host:port. Port 0 and -1 both mean any free port and come back as -1, the
// form that nats-server takes.
func splitListen(key, address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%s %q: want host:port", key, address)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < -1 || port > 65535 {
		return "", 0, fmt.Errorf("%s %q: port is not a number from 0 to 65535", key, address)
	}
	if port == 0 {
		port = -1
	}
	return host, port, nil
}

// isLoopback is false for every name but localhost: where another name leads may change.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// NodeName is the server name of a node, as peers and the nats CLI see it.
func NodeName(node int32) string { return serverNamePrefix + strconv.Itoa(int(node)) }

// NodeOf is the node behind a server name that NodeName made.
func NodeOf(serverName string) (node int32, ok bool) {
	text, ok := strings.CutPrefix(serverName, serverNamePrefix)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseInt(text, 10, 32)
	return int32(number), err == nil && number >= 0
}

const serverNamePrefix = "outrigger-"
