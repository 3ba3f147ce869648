package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"outrigger/broker/topic"
)

const (
	// reconnectWait is short: the server is in our own process, and each millisecond without a
	// lane is lost traffic.
	reconnectWait = 20 * time.Millisecond
	// flushTimeout bounds a Flush whose context has no deadline.
	flushTimeout = 2 * time.Second
)

// Server is the embedded server. All methods may be called concurrently.
type Server interface {
	// InProcessConn opens a connection without a socket.
	InProcessConn() (net.Conn, error)
	// Credentials are the login for an account from inside.
	Credentials(account string) (user, password string)
	// Interest reports whether anybody in account, on any node, subscribes to the subject.
	Interest(account, subject string) bool
	// InterestVersion changes whenever the answers of Interest may have changed.
	InterestVersion(account string) uint64
}

// Config is what Open needs.
type Config struct {
	Server Server
	// Node is our own; it names the connections.
	Node topic.NodeID
	// Logger receives lost connections and dropped messages. nil discards.
	Logger *slog.Logger
	// OnGap is told that messages of a lane were lost on their way to us, or may have been: a
	// backlog overflowed, or the connection was made anew. It is called from nats.go's goroutines
	// and must only enqueue. nil ignores.
	OnGap func(Lane)
}

// Message is one message that arrived. Data belongs to the receiver and is never written to again.
type Message struct {
	Subject string
	Data    []byte
	// Reply is where an answer goes, or "".
	Reply string
}

// Bus is the sidecar's connections to its own server. All methods may be called concurrently; those
// that publish to Replication or Catchup may wait for the pipe to take the bytes.
type Bus struct {
	config Config
	conns  [laneCount]*nats.Conn
	// frames is the replication lane's connection.
	frames atomic.Pointer[frameConn]
	taps   taps

	closing chan struct{}
	once    sync.Once
}

// Open connects every lane. The server must be started.
func Open(ctx context.Context, c Config) (*Bus, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnGap == nil {
		c.OnGap = func(Lane) {}
	}
	b := &Bus{config: c, closing: make(chan struct{})}
	for lane := range laneCount {
		if err := ctx.Err(); err != nil {
			b.closeConns()
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		conn, err := b.connect(lane)
		if err != nil {
			b.closeConns()
			return nil, fmt.Errorf("connect lane %s to NATS: %w", lane, err)
		}
		b.conns[lane] = conn
	}
	b.taps.init(c.Server)
	return b, nil
}

func (b *Bus) connect(lane Lane) (*nats.Conn, error) {
	spec := lanes[lane]
	user, password := b.config.Server.Credentials(spec.account)
	server := b.config.Server
	if lane == Replication {
		server = frameServer{server, &b.frames}
	}
	options := []nats.Option{
		nats.InProcessServer(server),
		nats.Name(fmt.Sprintf("outrigger-%d %s", b.config.Node, spec.name)),
		nats.UserInfo(user, password),
		// what was published while the lane was down would arrive late and stale
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.IgnoreAuthErrorAbort(),
		nats.IgnoreDiscoveredServers(),
		nats.WriteBufferSize(spec.writeBufferBytes),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { b.asyncError(lane, sub, err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.disconnected(lane, err) }),
		nats.ReconnectHandler(func(conn *nats.Conn) { b.reconnected(lane, conn) }),
	}
	if spec.noEcho {
		options = append(options, nats.NoEcho())
	}
	return nats.Connect("", options...)
}

// asyncError runs on nats.go's callback goroutine.
func (b *Bus) asyncError(lane Lane, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	if errors.Is(err, nats.ErrSlowConsumer) {
		b.dropped(lane, subject)
		return
	}
	b.config.Logger.Warn("bus lane failed", "lane", lane.String(), "subject", subject, "error", err)
}

// dropped tells that an inbox was full.
func (b *Bus) dropped(lane Lane, subject string) {
	b.config.Logger.Warn("bus dropped messages", "lane", lane.String(), "subject", subject)
	b.config.OnGap(lane)
}

func (b *Bus) disconnected(lane Lane, err error) {
	select {
	case <-b.closing:
	default:
		b.config.Logger.Warn("bus lane lost its connection", "lane", lane.String(), "error", err)
	}
}

// reconnected tells of the gap when it is over: the server knows the lane's subscriptions again. If it does not answer,
// the connection is lost once more, and what follows will be told as well.
func (b *Bus) reconnected(lane Lane, conn *nats.Conn) {
	if err := conn.FlushTimeout(flushTimeout); err != nil {
		b.config.Logger.Warn("bus lane is connected again, and silent", "lane", lane.String(), "error", err)
	} else {
		b.config.Logger.Info("bus lane is connected again", "lane", lane.String())
	}
	b.config.OnGap(lane)
}

// Publish hands data to the lane's connection, which copies it. nil says that it is in a buffer.
func (b *Bus) Publish(l Lane, subject string, data []byte) error {
	return translate(b.conns[l].Publish(subject, data))
}

// Flush waits until the server has taken everything that was published and subscribed on the lane
// before. Subscribe, Flush, then announce: whoever hears of us can then reach us.
func (b *Bus) Flush(ctx context.Context, l Lane) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, flushTimeout)
		defer cancel()
	}
	if err := b.conns[l].FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush lane %s: %w", l, translate(err))
	}
	return nil
}

// Request publishes data and waits for one answer. A context error leaves open whether the request
// arrived and what it did.
func (b *Bus) Request(ctx context.Context, l Lane, subject string, data []byte) ([]byte, error) {
	answer, err := b.conns[l].RequestWithContext(ctx, subject, data)
	if err != nil {
		return nil, translate(err)
	}
	return answer.Data, nil
}

// PublishRequest publishes data with a subject for the answer and does not wait: the answer is a
// message like any other to whoever subscribes to reply. When nobody subscribes to subject, the
// server itself answers at once, with a message without data.
func (b *Bus) PublishRequest(l Lane, subject, reply string, data []byte) error {
	return translate(b.conns[l].PublishRequest(subject, reply, data))
}

// Respond answers a request that came by the lane.
func (b *Bus) Respond(l Lane, m Message, data []byte) error {
	if m.Reply == "" {
		return ErrNoReply
	}
	return translate(b.conns[l].Publish(m.Reply, data))
}

// Subscribe calls fn with every message to subject, one at a time, in order. fn must only enqueue:
// while it runs, the lane's backlog for this subject grows. The subscription lasts as long as the
// bus and survives reconnects.
func (b *Bus) Subscribe(l Lane, subject string, fn func(Message)) error {
	return b.subscribe(l, subject, "", fn)
}

// QueueSubscribe is Subscribe, but each message goes to one member of the queue group only, anywhere
// in the cluster that the subject reaches.
func (b *Bus) QueueSubscribe(l Lane, subject, queue string, fn func(Message)) error {
	return b.subscribe(l, subject, queue, fn)
}

func (b *Bus) subscribe(l Lane, subject, queue string, fn func(Message)) error {
	sub, err := b.conns[l].QueueSubscribe(subject, queue, func(m *nats.Msg) {
		fn(Message{Subject: m.Subject, Data: m.Data, Reply: m.Reply})
	})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, translate(err))
	}
	if err := sub.SetPendingLimits(-1, lanes[l].pendingBytesMax); err != nil {
		return fmt.Errorf("bound backlog of %s: %w", subject, translate(err))
	}
	return nil
}

// Close drops every connection at once. A subscriber's function may still be running.
func (b *Bus) Close() error {
	b.once.Do(func() {
		close(b.closing)
		b.closeConns()
	})
	return nil
}

func (b *Bus) closeConns() {
	for _, conn := range b.conns {
		if conn != nil {
			conn.Close()
		}
	}
}
