package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
)

const (
	// peerRequestsMax is how many requests to one broker are under way; further ones wait.
	peerRequestsMax = 16
	// peerAnswerMax bounds an answer of another broker.
	peerAnswerMax = 16 << 20
)

// errPeer: another broker could not be asked, or gave no answer; whether it has acted is not known. All
// that is asked of brokers may be asked again.
var errPeer = errors.New("another broker did not answer")

// peers asks other brokers over the Kafka protocol, as clients do, at the address that their listener of
// the name in Config.PeerListener is advertised at.
type peers struct {
	broker *Broker
	mu     sync.Mutex
	byNode map[topic.NodeID]*peer
}

// peer is one other broker.
type peer struct {
	// turns holds a token for each request under way, idle the connections that no request uses.
	turns chan struct{}
	idle  chan peerConn
}

// peerConn is a connection to an address that a broker may have left since.
type peerConn struct {
	net.Conn
	address string
}

func newPeers(b *Broker) *peers { return &peers{broker: b, byNode: map[topic.NodeID]*peer{}} }

// close closes the connections that nobody uses.
func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.byNode {
		for {
			select {
			case c := <-one.idle:
				_ = c.Close() // nothing was asked on it
				continue
			default:
			}
			break
		}
	}
}

func (p *peers) of(node topic.NodeID) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.byNode[node]
	if one == nil {
		one = &peer{turns: make(chan struct{}, peerRequestsMax), idle: make(chan peerConn, peerRequestsMax)}
		p.byNode[node] = one
	}
	return one
}

// ask sends a request to another broker and waits for the answer until ctx ends, which must have a
// deadline.
func (p *peers) ask(ctx context.Context, node topic.NodeID, q kmsg.Request) (kmsg.Response, error) {
	address, err := p.address(node)
	if err != nil {
		return nil, err
	}
	one := p.of(node)
	select {
	case one.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: broker %d is busy: %w", errPeer, node, context.Cause(ctx))
	}
	defer func() { <-one.turns }()
	var c peerConn
	for c.Conn == nil {
		select {
		case c = <-one.idle:
			if c.address != address {
				_ = c.Close() // it leads to where the broker was
				c = peerConn{}
				continue
			}
			if response, err := exchange(ctx, c, q); err == nil {
				one.idle <- c
				return response, nil
			}
			// The broker may have closed it meanwhile: a new connection tells.
			_ = c.Close()
			c = peerConn{}
		default:
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, fmt.Errorf("%w: broker %d: %w", errPeer, node, err)
			}
			c = peerConn{conn, address}
		}
	}
	response, err := exchange(ctx, c, q)
	if err != nil {
		_ = c.Close() // the error that counts is this one
		return nil, fmt.Errorf("%w: broker %d: %w", errPeer, node, err)
	}
	one.idle <- c
	return response, nil
}

func (p *peers) address(node topic.NodeID) (string, error) {
	known, ok := p.broker.cluster.View().Broker(node)
	if !ok || known.Fenced {
		return "", fmt.Errorf("%w: broker %d is not live", errPeer, node)
	}
	e, ok := endpointOf(known, p.broker.config.PeerListener)
	if !ok {
		return "", fmt.Errorf("%w: broker %d has no listener %s", errPeer, node, p.broker.config.PeerListener)
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), nil
}

// exchange writes one request and reads its answer.
func exchange(ctx context.Context, c net.Conn, q kmsg.Request) (kmsg.Response, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	const correlation = 1
	if _, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("broker")).AppendRequest(nil, q, correlation)); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	size, got := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if size < 4 || size > peerAnswerMax || got != correlation {
		return nil, fmt.Errorf("answer %d of %d bytes", got, size)
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, err
	}
	response := q.ResponseKind()
	response.SetVersion(q.GetVersion())
	if response.IsFlexible() {
		if len(body) == 0 || body[0] != 0 {
			return nil, errors.New("answer with tags in its header")
		}
		body = body[1:]
	}
	if err := response.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("decode answer: %w", err)
	}
	return response, nil
}
