package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"outrigger/broker/topic"
)

const (
	heartbeatBytes = 26
	peerBytes      = 20

	flagDisclaims = 1
)

// Heartbeat claims everything that the image at Applied gives its sender, and refreshes all of it.
type Heartbeat struct {
	// Applied is the index of the image that the sender acts on.
	Applied uint64
	// SentMicros is the sender's own monotonic clock when it sent this; nobody else can read it.
	SentMicros uint64
	// UnsyncedAgeMillis is the age of the oldest group that is not yet on stable storage.
	UnsyncedAgeMillis uint32
	// Disclaims says that the sender's data path hangs: its heart beats, but it must not lead.
	Disclaims bool
	// Peers tells each peer which of its heartbeats the sender has heard.
	Peers []PeerEcho
}

// PeerEcho names the newest heartbeat that was heard from one session. To that session it proves
// that it was heard, and not before when: what has waited on a line, or for a process that was
// stopped, cannot vouch for the present.
type PeerEcho struct {
	Node    topic.NodeID
	Session topic.Session
	// SentMicros is that heartbeat's.
	SentMicros uint64
}

// AppendHeartbeat appends a heartbeat frame to dst.
func AppendHeartbeat(dst []byte, h Header, hb Heartbeat) []byte {
	start := len(dst)
	h.Kind = KindHeartbeat
	h.To = topic.NoNode
	dst = appendHeader(dst, h)
	dst = binary.BigEndian.AppendUint64(dst, hb.Applied)
	dst = binary.BigEndian.AppendUint64(dst, hb.SentMicros)
	dst = binary.BigEndian.AppendUint32(dst, hb.UnsyncedAgeMillis)
	var flags byte
	if hb.Disclaims {
		flags = flagDisclaims
	}
	dst = append(dst, flags, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(hb.Peers)))
	for _, p := range hb.Peers {
		dst = binary.BigEndian.AppendUint32(dst, uint32(p.Node))
		dst = binary.BigEndian.AppendUint64(dst, uint64(p.Session))
		dst = binary.BigEndian.AppendUint64(dst, p.SentMicros)
	}
	seal(dst[start:], 1, crc32.Checksum(dst[start+HeaderBytes:], castagnoli))
	return dst
}

// ParseHeartbeat reads the body of a heartbeat frame.
func ParseHeartbeat(body []byte, sections int) (Heartbeat, error) {
	if sections != 1 || len(body) < heartbeatBytes {
		return Heartbeat{}, fmt.Errorf("%w: heartbeat of %d sections, %d bytes", ErrMalformed, sections, len(body))
	}
	peers := int(binary.BigEndian.Uint16(body[24:]))
	if len(body) != heartbeatBytes+peers*peerBytes {
		return Heartbeat{}, fmt.Errorf("%w: heartbeat with %d peers in %d bytes", ErrMalformed, peers, len(body))
	}
	hb := Heartbeat{
		Applied:           binary.BigEndian.Uint64(body),
		SentMicros:        binary.BigEndian.Uint64(body[8:]),
		UnsyncedAgeMillis: binary.BigEndian.Uint32(body[16:]),
		Disclaims:         body[20]&flagDisclaims != 0,
	}
	for b := body[heartbeatBytes:]; len(b) > 0; b = b[peerBytes:] {
		hb.Peers = append(hb.Peers, PeerEcho{
			Node:       topic.NodeID(binary.BigEndian.Uint32(b)),
			Session:    topic.Session(binary.BigEndian.Uint64(b[4:])),
			SentMicros: binary.BigEndian.Uint64(b[12:]),
		})
	}
	return hb, nil
}
