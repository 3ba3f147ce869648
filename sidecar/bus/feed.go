package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// feedLook is how long nothing may come before the peer is asked whether it is there, and how long it has for the
	// answer: more than one frame takes on a slow line, for the answer waits behind frames.
	feedLook        = 2 * time.Second
	feedAnswer      = 4 * time.Second
	feedDialTimeout = 2 * time.Second
)

// Feed is how a peer's frames are taken from its server.
type Feed struct {
	Address, User, Password string
	// IsPeer tells the peer's server from another one that listens at that address.
	IsPeer func(serverName string) bool
	// Subjects are those of the frames.
	Subjects []string
	// There and Here show the peer that we listen to them: the first is listened to at its server, the second at ours.
	There, Here string
}

// OpenFeed is an open Feed. It is for one goroutine.
type OpenFeed struct {
	bus  *Bus
	conn *nats.Conn
	here *nats.Subscription
	from string
	lost chan error
	// stream is what comes by the connection.
	stream *feedStream
	// full: the inbox took nothing more when a frame came last. It is the stream's reader's.
	full bool
	// over: what is still read is nobody's, for nats.go does not wait for its reader.
	over atomic.Bool
}

// feedDialer makes the feed's connection, once.
type feedDialer struct {
	open  *OpenFeed
	inbox *Inbox
}

// feedConn is a connection whose frames go past who reads it.
type feedConn struct {
	net.Conn
	stream *feedStream
}

// Read is for nats.go.
func (c feedConn) Read(p []byte) (int, error) { return c.stream.Read(p) }

// Dial implements nats.CustomDialer.
func (d *feedDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: feedDialTimeout}).Dial(network, address)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn) // nats.go says "tcp"
	stream := &feedStream{deliver: func(subject string, payload []byte) { d.open.take(d.inbox, subject, payload) }}
	if stream.socket, err = newSocket(tcp, &stream.came); err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	d.open.stream = stream
	return feedConn{tcp, stream}, nil
}

// take puts a frame into the inbox, or drops it and tells, once until there is room again.
func (o *OpenFeed) take(inbox *Inbox, subject string, payload []byte) {
	if o.over.Load() {
		return
	}
	select {
	case inbox.messages <- &nats.Msg{Subject: subject, Data: payload}:
		o.full = false
	default:
		if !o.full {
			o.full = true
			o.bus.dropped(Replication, subject)
		}
	}
}

// Feed connects to a peer and puts what comes into the inbox until Wait has returned. There is no order between that
// and what comes by a lane.
func (b *Bus) Feed(ctx context.Context, f Feed, inbox *Inbox) (*OpenFeed, error) {
	open := &OpenFeed{bus: b, from: f.Address, lost: make(chan error, 1)}
	dialer := &feedDialer{open: open, inbox: inbox}
	var err error
	open.conn, err = nats.Connect("nats://"+f.Address, nats.SetCustomDialer(dialer),
		nats.Name(fmt.Sprintf("outrigger-%d feed", b.config.Node)), nats.UserInfo(f.User, f.Password),
		nats.Timeout(feedDialTimeout), nats.NoReconnect(), nats.IgnoreDiscoveredServers(),
		nats.PingInterval(-1), // its own would take a line full of frames for a dead one; Wait asks
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { b.asyncError(Replication, sub, err) }),
		nats.ClosedHandler(func(conn *nats.Conn) { open.lost <- cmp.Or(conn.LastError(), nats.ErrConnectionClosed) }))
	if err != nil {
		return nil, fmt.Errorf("connect to %s for a feed: %w", f.Address, translate(err))
	}
	if err := open.subscribe(ctx, f, inbox); err != nil {
		open.conn.Close()
		return nil, fmt.Errorf("open a feed from %s: %w", f.Address, translate(err))
	}
	return open, nil
}

func (o *OpenFeed) subscribe(ctx context.Context, f Feed, inbox *Inbox) (err error) {
	if name := o.conn.ConnectedServerName(); !f.IsPeer(name) {
		return fmt.Errorf("the server there is %s", name)
	}
	// Presence comes last: who is seen there misses no frame.
	for _, subject := range append(slices.Clone(f.Subjects), f.There) {
		if _, err := o.conn.ChanSubscribe(subject, inbox.messages); err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := o.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	o.here, err = o.bus.conns[Replication].SubscribeSync(f.Here)
	return err
}

// Wait returns once the feed is lost, which is the error and is told to OnGap, or closes it when ctx ends.
func (o *OpenFeed) Wait(ctx context.Context) error {
	err := o.watch(ctx)
	if gone := o.here.Unsubscribe(); gone != nil {
		o.bus.config.Logger.Debug("presence not taken back", slog.String("error", gone.Error()))
	}
	o.over.Store(true)
	o.conn.Close()
	if err == nil {
		return nil
	}
	o.bus.config.OnGap(Replication)
	return fmt.Errorf("feed from %s is lost: %w", o.from, translate(err))
}

// watch returns when the connection is lost, or silent although the peer was asked; nil when ctx ends.
func (o *OpenFeed) watch(ctx context.Context) error {
	ticker := time.NewTicker(feedLook)
	defer ticker.Stop()
	for last := uint64(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case err := <-o.lost:
			return err
		case <-ticker.C:
		}
		came := o.stream.came.Load()
		if came == last {
			if err := o.ask(ctx); err != nil && o.stream.came.Load() == came && ctx.Err() == nil {
				return err
			}
		}
		last = came
	}
}

// ask returns once the peer has answered.
func (o *OpenFeed) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, feedAnswer)
	defer cancel()
	return o.conn.FlushWithContext(ctx)
}

// Listened reports whether anybody in the lane's account, on any node, listens to the subject.
func (b *Bus) Listened(l Lane, subject string) bool {
	return b.config.Server.Interest(lanes[l].account, subject)
}
