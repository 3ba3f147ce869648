package broker

import (
	"context"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/wire"
)

const (
	// flushBytes is how many bytes of answers are gathered into one write, while the answers behind
	// are ready.
	flushBytes = 256 << 10
	// scratchBytesMax is how much encoding space an idle connection keeps.
	scratchBytesMax = 16 << 10
)

// pending is the place of one request in the order of answers. It is done in one of three ways:
// frame is ready, produce is awaited, or handler is run.
type pending struct {
	request
	frame   []byte
	produce *produceWait
	handler handler

	meter *apiMeter
	// bytes count against the connection, shared ones against the node.
	bytes, shared int64
}

// abandon gives up a request that nobody will answer.
func (p *pending) abandon() {
	if p.produce != nil {
		p.produce.abandon()
	}
}

// atOnce reports whether the answer can be had without waiting.
func (p *pending) atOnce() bool {
	if p.produce != nil {
		return p.produce.decided()
	}
	return !p.handler.waits
}

// writer is the writing half of a connection.
type writer struct {
	*connection
	timer *time.Timer
	// out holds encoded answers that are not written yet; scratch is what they were encoded into.
	out      net.Buffers
	outBytes int
	scratch  []byte
	// releases are called when out is written or given up: the answers were lent something, or tell of refusals.
	releases []func()
	// failed: the socket takes no more, or an answer was left out. From then on requests are only
	// released.
	failed bool
}

// write answers requests in their order until the queue is closed. When it cannot write any more it
// ends the connection and goes on releasing what the queue holds.
func (c *connection) write(ctx context.Context) {
	w := &writer{connection: c, timer: time.NewTimer(time.Hour)}
	defer w.timer.Stop()
	for {
		p, ok := w.next()
		if !ok {
			w.flush()
			return
		}
		w.answer(ctx, p)
	}
}

// next is the head of the queue. Before it waits for one, what is encoded goes out.
func (w *writer) next() (*pending, bool) {
	select {
	case p, ok := <-w.queue:
		return p, ok
	default:
		w.flush()
		p, ok := <-w.queue
		return p, ok
	}
}

// answer carries out one request and encodes its answer.
func (w *writer) answer(ctx context.Context, p *pending) {
	defer func() {
		w.waiting.Add(-1)
		w.release(p)
	}()
	if !w.failed && !p.atOnce() {
		w.flush()
	}
	if w.failed {
		p.abandon()
		return
	}
	switch {
	case p.frame != nil:
		w.append(p.frame)
	case p.produce != nil:
		w.encode(p, answer{response: p.produce.await(ctx, w.timer), release: p.produce.told()})
	case ctx.Err() != nil:
		// The broker stops. Nothing is begun any more, and since answers keep their order, this
		// connection has no further ones.
		w.flush()
		w.failed = true
		return
	default:
		w.encode(p, p.handler.run(ctx, &p.request))
	}
	p.meter.observe(time.Since(p.arrived))
	if w.outBytes >= flushBytes {
		w.flush()
	}
}

// encode adds an answer to what will be written.
func (w *writer) encode(p *pending, a answer) {
	a.response.SetVersion(p.Version)
	if a.release != nil {
		w.releases = append(w.releases, a.release)
	}
	if fetched, ok := a.response.(*kmsg.FetchResponse); ok {
		for _, part := range wire.FetchFrame(p.CorrelationID, fetched, a.batches) {
			w.append(part)
		}
		return
	}
	start := len(w.scratch)
	w.scratch = wire.AppendResponse(w.scratch, p.CorrelationID, a.response)
	w.append(w.scratch[start:len(w.scratch):len(w.scratch)])
}

func (w *writer) append(b []byte) {
	w.out = append(w.out, b)
	w.outBytes += len(b)
}

// flush writes what is encoded, in one vectored write. A client that takes nothing for the idle time
// loses its connection.
func (w *writer) flush() {
	if len(w.out) == 0 {
		return
	}
	out := w.out // WriteTo consumes the slice header it is called on
	if !w.failed {
		w.failed = !w.writeOut(out)
	}
	clear(w.out)
	w.out, w.outBytes = w.out[:0], 0
	for _, release := range w.releases {
		release()
	}
	clear(w.releases)
	w.releases = w.releases[:0]
	if cap(w.scratch) > scratchBytesMax {
		w.scratch = nil
	}
	w.scratch = w.scratch[:0]
}

func (w *writer) writeOut(out net.Buffers) bool {
	idle := w.broker.config.Connections.Idle
	if err := w.socket.SetWriteDeadline(time.Now().Add(idle)); err != nil {
		return false
	}
	if _, err := out.WriteTo(w.socket); err != nil {
		_ = w.socket.Close() // wakes the reader, which ends the connection
		return false
	}
	return true
}
