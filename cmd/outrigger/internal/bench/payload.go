package bench

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"outrigger/e2e/history"
)

// A payload is
//
//	value      8 bytes, big endian: producer in the upper 24 bits, number in the lower 40
//	intended   8 bytes, big endian: nanoseconds from the start of the load until it was due
//	body       the rest: bytes of the random pool, from a place that the value decides
//
// so that a reader knows every byte of it, and for how long it was on its way. Where nobody will look at what is
// read, a payload is a piece of the pool as it is: to write one costs a client as much as to send it.
const (
	headerBytes  = 16
	numberBits   = 40
	poolBytesMin = 4 << 20
	// producerStride sets producers apart in the pool.
	producerStride = 1_048_583
)

// payloads makes and reads payloads of one size. Records of one producer take the pool in turn: a
// codec that looks no further back than the pool is long finds nothing twice.
type payloads struct {
	pool   []byte
	places uint64
	body   int
}

func newPayloads(seed uint64, recordBytes int) *payloads {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	body := recordBytes - headerBytes
	places := max(poolBytesMin, 8*body)
	pool := make([]byte, places+recordBytes)
	_, _ = rand.NewChaCha8(key).Read(pool) // it cannot fail
	return &payloads{pool: pool, places: uint64(places), body: body}
}

// valueAt is the value of a producer's record.
func valueAt(producer int, number uint64) history.Value {
	return history.Value(uint64(producer)<<numberBits | number)
}

func (p *payloads) bodyOf(v history.Value) []byte { return p.piece(v, p.body) }

// unread is what a payload is that nobody looks at. It is not to be written to.
func (p *payloads) unread(v history.Value) []byte { return p.piece(v, headerBytes+p.body) }

func (p *payloads) piece(v history.Value, bytes int) []byte {
	number, producer := uint64(v)&(1<<numberBits-1), uint64(v)>>numberBits
	at := (number*uint64(bytes) + producer*producerStride) % p.places
	return p.pool[at : at+uint64(bytes)]
}

// fill writes a payload, to a slice that has its size.
func (p *payloads) fill(to []byte, v history.Value, intended time.Duration) {
	binary.BigEndian.PutUint64(to, uint64(v))
	binary.BigEndian.PutUint64(to[8:], uint64(intended))
	copy(to[headerBytes:], p.bodyOf(v))
}

// read returns the value of a payload and when it was due. What was not made here, or was changed by
// one bit, has the value of its bytes, which nobody sent.
func (p *payloads) read(from []byte) (history.Value, time.Duration, bool) {
	if len(from) == headerBytes+p.body {
		v := history.Value(binary.BigEndian.Uint64(from))
		if bytes.Equal(from[headerBytes:], p.bodyOf(v)) {
			return v, time.Duration(binary.BigEndian.Uint64(from[8:])), true
		}
	}
	return history.ValueOf(from), 0, false
}
