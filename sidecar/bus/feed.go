package bus

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// feedPingInterval times feedPingsOut is how soon a feed notices that its peer is gone.
	feedPingInterval = 2 * time.Second
	feedPingsOut     = 2
	feedDialTimeout  = 2 * time.Second
)

// Feed is how a peer's frames are taken from its server.
type Feed struct {
	Address, User, Password string
	// Subjects are those of the frames, Presence shows the peer that we listen to them.
	Subjects []string
	Presence string
}

// OpenFeed is an open Feed. It is for one goroutine.
type OpenFeed struct {
	bus  *Bus
	conn *nats.Conn
	from string
	lost chan error
}

// Feed connects to a peer and puts what comes into the inbox until Wait has returned. There is no order between that
// and what comes by a lane.
func (b *Bus) Feed(ctx context.Context, f Feed, inbox *Inbox) (*OpenFeed, error) {
	open := &OpenFeed{bus: b, from: f.Address, lost: make(chan error, 1)}
	var err error
	open.conn, err = nats.Connect("nats://"+f.Address,
		nats.Name(fmt.Sprintf("outrigger-%d feed", b.config.Node)), nats.UserInfo(f.User, f.Password),
		nats.Timeout(feedDialTimeout), nats.NoReconnect(), nats.IgnoreDiscoveredServers(),
		nats.PingInterval(feedPingInterval), nats.MaxPingsOutstanding(feedPingsOut),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { b.asyncError(Replication, sub, err) }),
		nats.ClosedHandler(func(conn *nats.Conn) { open.lost <- cmp.Or(conn.LastError(), nats.ErrConnectionClosed) }))
	if err != nil {
		return nil, fmt.Errorf("connect to %s for a feed: %w", f.Address, translate(err))
	}
	// Presence comes last: who is seen there misses no frame.
	for _, subject := range append(slices.Clone(f.Subjects), f.Presence) {
		if _, err := open.conn.ChanSubscribe(subject, inbox.messages); err != nil {
			open.conn.Close()
			return nil, fmt.Errorf("subscribe to %s at %s: %w", subject, f.Address, translate(err))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := open.conn.FlushWithContext(ctx); err != nil {
		open.conn.Close()
		return nil, fmt.Errorf("subscribe at %s: %w", f.Address, translate(err))
	}
	return open, nil
}

// Wait returns once the feed is lost, which is the error and is told to OnGap, or closes it when ctx ends.
func (o *OpenFeed) Wait(ctx context.Context) error {
	defer o.conn.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-o.lost:
		o.bus.config.OnGap(Replication)
		return fmt.Errorf("feed from %s is lost: %w", o.from, translate(err))
	}
}

// Listened reports whether anybody in the lane's account, on any node, listens to the subject.
func (b *Bus) Listened(l Lane, subject string) bool {
	return b.config.Server.Interest(lanes[l].account, subject)
}
