package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/wire"
)

const (
	// largeRequest is the size from which on a request counts towards the node's memory. Smaller
	// ones do not, so that a node full of produces still answers the small requests.
	largeRequest = 4 << 10
	// lastWord is how long a connection that is to be closed may take to write what it has. It is
	// well below what a node that stops gives its broker: a client that reads nothing must not turn
	// a clean stop into an unclean one.
	lastWord = time.Second
)

// connection is one client's connection. serve runs the reading half, write the other.
type connection struct {
	broker   *Broker
	listener string
	client   string
	number   uint64
	socket   net.Conn
	// queue holds a pending answer per request, in order of arrival. Only the reader sends and
	// closes, only the writer receives, and it receives until the queue is closed.
	queue chan *pending
	// waiting and bytes are what is in the queue or at its head; freed is signalled when they sink.
	waiting atomic.Int64
	bytes   atomic.Int64
	freed   chan struct{}
	// clientID is the last one heard, for the log.
	clientID string
	refusals refusals
}

// errEnd ends a connection without anybody being to blame.
var errEnd = errors.New("connection ended")

func newConnection(b *Broker, listener, client string, socket net.Conn) *connection {
	return &connection{
		broker: b, listener: listener, client: client, number: b.opened.Add(1), socket: socket,
		queue: make(chan *pending, b.config.Connections.InFlight),
		freed: make(chan struct{}, 1),
	}
}

// serve reads and answers until the client leaves, misbehaves or ctx ends, and returns when the
// socket is closed and the writer has ended.
func (c *connection) serve(ctx context.Context) {
	waits, giveUp := context.WithCancel(ctx)
	defer giveUp()
	// A broker that stops wakes the reader; what has been read is answered.
	wake := context.AfterFunc(ctx, func() { _ = c.socket.SetReadDeadline(time.Unix(1, 0)) })
	defer wake()
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write(waits)
	}()

	err := c.read(ctx)
	close(c.queue)
	if ctx.Err() != nil || errors.Is(err, errLastWord) {
		c.finish(ctx, written)
	}
	giveUp()
	_ = c.socket.Close() // unblocks the writer; there is nobody to tell
	<-written
	c.broker.shares.disconnect(c.number)
}

// finish lets the writer write what it has, for a moment.
func (c *connection) finish(ctx context.Context, written <-chan struct{}) {
	timer := time.NewTimer(lastWord)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C:
	case <-ctx.Done():
		// The waits have been given up: what is left is writing.
		select {
		case <-written:
		case <-timer.C:
		}
	}
}

// errLastWord ends the reading half after a request whose answer is to be the last.
var errLastWord = errors.New("nothing is read after this request")

// read takes requests until the connection is to end. Bad input is reported here, and only here.
func (c *connection) read(ctx context.Context) error {
	source := &patientReader{connection: c, ctx: ctx}
	frames := wire.NewFrameReader(source, int(c.broker.config.Requests.BytesMax))
	for {
		if err := c.room(ctx); err != nil {
			return err
		}
		source.frameBegins()
		frame, err := frames.Next()
		if err != nil {
			return c.readFailed(ctx, err, source)
		}
		if err := c.take(ctx, frame); err != nil {
			return err
		}
	}
}

// room waits until the connection may have another request in flight.
func (c *connection) room(ctx context.Context) error {
	for c.bytes.Load() >= c.broker.config.Connections.InFlightBytes {
		select {
		case <-c.freed:
		case <-ctx.Done():
			return errEnd
		}
	}
	return nil
}

// readFailed says why no frame came: the client left, was idle, or sent what is no frame.
func (c *connection) readFailed(ctx context.Context, err error, source *patientReader) error {
	switch {
	case ctx.Err() != nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return errEnd
	case errors.Is(err, errIdle) && source.started:
		return c.blame(reasonStalled, wire.Header{}, err)
	case errors.Is(err, errIdle):
		c.broker.meters.idleClosed.Inc()
		return errEnd
	case isNetwork(err):
		return errEnd
	default:
		return c.blame(reasonFrame, wire.Header{}, err)
	}
}

func isNetwork(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF)
}

// take decodes one frame and starts the work that it asks for.
func (c *connection) take(ctx context.Context, frame []byte) error {
	header, body, err := wire.ParseHeader(frame)
	if header.ClientID != nil {
		c.clientID = *header.ClientID
	}
	if errors.Is(err, wire.ErrUnsupported) {
		return c.refuse(ctx, header)
	}
	if err != nil {
		return c.blame(reasonHeader, header, err)
	}
	decoded, err := wire.Decode(header, body)
	if err != nil {
		return c.blame(reasonRequest, header, err)
	}
	p := &pending{request: request{
		Header: header, body: decoded, listener: c.listener, client: c.client, connection: c.number,
		arrived: time.Now(), frameBytes: len(frame), refusals: &c.refusals,
	}}
	p.meter = c.broker.meters.api(header.Key)
	p.meter.requests.Inc()
	if err := c.hold(ctx, p, int64(len(frame))); err != nil {
		return err
	}
	if produce, ok := decoded.(*kmsg.ProduceRequest); ok {
		return c.takeProduce(ctx, p, produce)
	}
	p.handler = c.broker.handlers[header.Key]
	return c.enqueue(ctx, p)
}

// takeProduce appends at once: the order of the connection is the order of the log.
func (c *connection) takeProduce(ctx context.Context, p *pending, q *kmsg.ProduceRequest) error {
	p.produce = c.broker.produce(ctx, &p.request, q)
	if q.Acks != 0 {
		return c.enqueue(ctx, p)
	}
	// acks=0 has no answer. The client learns of a failure by losing its connection.
	failed := p.produce.firstError()
	c.release(p)
	if failed != codeNone {
		return errEnd
	}
	return nil
}

// refuse answers an API or version that is not served. ApiVersions gets the answer that every
// client knows how to read (KIP-511) and may go on. Of any other, the shape that the client expects
// is not known, so the answer is the correlation id and UNSUPPORTED_VERSION, and then the end.
func (c *connection) refuse(ctx context.Context, h wire.Header) error {
	p := &pending{request: request{Header: h, arrived: time.Now()}}
	p.meter = c.broker.meters.api(h.Key)
	if h.Key == kmsg.ApiVersions.Int16() {
		p.frame = wire.AppendUnsupportedAPIVersions(nil, h.CorrelationID)
		c.broker.meters.failure("ApiVersions", codeUnsupportedVersion)
		return c.enqueue(ctx, p)
	}
	reason := reasonVersion
	if _, known := wire.Lookup(h.Key); !known {
		reason = reasonAPI
	}
	//	size (6) | correlation id | error code
	p.frame = binary.BigEndian.AppendUint32(nil, 6)
	p.frame = binary.BigEndian.AppendUint32(p.frame, uint32(h.CorrelationID))
	p.frame = binary.BigEndian.AppendUint16(p.frame, uint16(codeUnsupportedVersion))
	_ = c.blame(reason, h, fmt.Errorf("key %d version %d", h.Key, h.Version))
	if err := c.enqueue(ctx, p); err != nil {
		return err
	}
	return errLastWord
}

// hold counts the request as in flight.
func (c *connection) hold(ctx context.Context, p *pending, bytes int64) error {
	if bytes >= largeRequest {
		// More than the whole budget is one request's turn alone.
		shared := min(bytes, c.broker.config.Connections.NodeInFlightBytes)
		if err := c.broker.memory.Acquire(ctx, shared); err != nil {
			return errEnd
		}
		p.shared = shared
	}
	p.bytes = bytes
	c.bytes.Add(bytes)
	return nil
}

// release gives back what hold took. It is called once for each pending that was held.
func (c *connection) release(p *pending) {
	if p.shared > 0 {
		c.broker.memory.Release(p.shared)
	}
	c.bytes.Add(-p.bytes)
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// enqueue gives the request its place in the order of answers. A full queue stops the reader.
func (c *connection) enqueue(ctx context.Context, p *pending) error {
	c.waiting.Add(1)
	select {
	case c.queue <- p:
		return nil
	case <-ctx.Done():
		c.waiting.Add(-1)
		p.abandon()
		c.release(p)
		return errEnd
	}
}

// blame reports bad input and returns the error that ends the connection.
func (c *connection) blame(reason string, h wire.Header, err error) error {
	api := ""
	if known, ok := wire.Lookup(h.Key); ok && reason != reasonHeader && reason != reasonFrame &&
		reason != reasonStalled {
		api = known.Name
	}
	c.broker.offenders.report(offence{
		Address: c.client, Reason: reason, ClientID: c.clientID, API: api, Version: h.Version, Err: err,
	})
	return fmt.Errorf("%s: %w", reason, err)
}

// errIdle: nothing came for connections.max.idle.ms.
var errIdle = errors.New("connection was idle")

// patientReader reads from the socket and gives up when nothing came for too long. A client that
// waits for its answers is not idle; one that stops in the middle of a frame is.
type patientReader struct {
	*connection
	ctx context.Context
	// started: bytes of the frame that is being read have come.
	started bool
}

func (r *patientReader) frameBegins() { r.started = false }

// Read implements io.Reader.
func (r *patientReader) Read(into []byte) (int, error) {
	for {
		if err := r.socket.SetReadDeadline(time.Now().Add(r.broker.config.Connections.Idle)); err != nil {
			return 0, err
		}
		if r.ctx.Err() != nil {
			// Its callback may have set the deadline before ours.
			return 0, errEnd
		}
		n, err := r.socket.Read(into)
		if n > 0 {
			r.started = true
			return n, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		if r.ctx.Err() != nil {
			return 0, errEnd
		}
		if r.started || r.waiting.Load() == 0 {
			return 0, errIdle
		}
	}
}
