package frame

import (
	"encoding/binary"
	"fmt"

	"outrigger/broker/topic"
)

const (
	heartbeatBytes = 18
	peerBytes      = 16

	flagDisclaims = 1
)

// Heartbeat claims everything that the image at Applied gives its sender, and refreshes all of it.
type Heartbeat struct {
	// Applied is the index of the image that the sender acts on.
	Applied uint64
	// UnsyncedAgeMillis is the age of the oldest group that is not yet on stable storage.
	UnsyncedAgeMillis uint32
	// Disclaims says that the sender's data path hangs: its heart beats, but it must not lead.
	Disclaims bool
	// Peers tells when the sender last heard each peer on the data path.
	Peers []PeerEcho
}

// PeerEcho is what a heartbeat says about one peer.
type PeerEcho struct {
	Node        topic.NodeID
	Session     topic.Session
	SilentMilli uint32
}

// AppendHeartbeat appends a heartbeat frame to dst.
func AppendHeartbeat(dst []byte, h Header, hb Heartbeat) []byte {
	start := len(dst)
	h.Kind = KindHeartbeat
	h.To = topic.NoNode
	dst = appendHeader(dst, h)
	dst = binary.BigEndian.AppendUint64(dst, hb.Applied)
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
		dst = binary.BigEndian.AppendUint32(dst, p.SilentMilli)
	}
	seal(dst[start:], 1)
	return dst
}

// ParseHeartbeat reads the body of a heartbeat frame.
func ParseHeartbeat(body []byte, sections int) (Heartbeat, error) {
	if sections != 1 || len(body) < heartbeatBytes {
		return Heartbeat{}, fmt.Errorf("%w: heartbeat of %d sections, %d bytes", ErrMalformed, sections, len(body))
	}
	peers := int(binary.BigEndian.Uint16(body[16:]))
	if len(body) != heartbeatBytes+peers*peerBytes {
		return Heartbeat{}, fmt.Errorf("%w: heartbeat with %d peers in %d bytes", ErrMalformed, peers, len(body))
	}
	hb := Heartbeat{
		Applied:           binary.BigEndian.Uint64(body),
		UnsyncedAgeMillis: binary.BigEndian.Uint32(body[8:]),
		Disclaims:         body[12]&flagDisclaims != 0,
	}
	for b := body[heartbeatBytes:]; len(b) > 0; b = b[peerBytes:] {
		hb.Peers = append(hb.Peers, PeerEcho{
			Node:        topic.NodeID(binary.BigEndian.Uint32(b)),
			Session:     topic.Session(binary.BigEndian.Uint64(b[4:])),
			SilentMilli: binary.BigEndian.Uint32(b[12:]),
		})
	}
	return hb, nil
}
