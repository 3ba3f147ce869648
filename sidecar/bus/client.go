package bus

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	defaultOpsUser     = "ops"
	defaultOpsPassword = "ops"
	dialTimeout        = 2 * time.Second
)

// Client is an operator's connection from outside, by TCP.
type Client struct {
	conn *nats.Conn
}

// Dial connects to a node's client listener, or to the first that answers of several addresses with
// commas between. The login is user and password if user is set, else the address's own, else ops
// and ops, which are right for `outrigger dev`.
func Dial(address, user, password string) (*Client, error) {
	options := []nats.Option{
		nats.Name("outrigger"), nats.Timeout(dialTimeout), nats.NoReconnect(), nats.DontRandomize(),
	}
	var servers, shown []string
	for one := range strings.SplitSeq(address, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		parsed, err := url.Parse(one)
		if err != nil {
			return nil, fmt.Errorf("read NATS address: %w", err)
		}
		if user != "" {
			parsed.User = nil
		}
		servers, shown = append(servers, parsed.String()), append(shown, parsed.Redacted())
	}
	if user == "" {
		user, password = defaultOpsUser, defaultOpsPassword
	}
	// an address's own login goes before this one
	options = append(options, nats.UserInfo(user, password))
	conn, err := nats.Connect(strings.Join(servers, ","), options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", strings.Join(shown, ","), translate(err))
	}
	return &Client{conn: conn}, nil
}

// RequestMany publishes an empty request and collects answers until answersMax arrived (0: no
// limit), wait is over or ctx ends. Fewer answers than hoped for are no error; nobody listening is.
func (c *Client) RequestMany(
	ctx context.Context, subject string, wait time.Duration, answersMax int,
) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	inbox := c.conn.NewRespInbox()
	sub, err := c.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("await answers: %w", translate(err))
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.conn.PublishRequest(subject, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask %s: %w", subject, translate(err))
	}
	var answers [][]byte
	for answersMax <= 0 || len(answers) < answersMax {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return answers, nil
		case err != nil:
			return answers, fmt.Errorf("ask %s: %w", subject, translate(err))
		}
		answers = append(answers, m.Data)
	}
	return answers, nil
}

// Close drops the connection.
func (c *Client) Close() { c.conn.Close() }
