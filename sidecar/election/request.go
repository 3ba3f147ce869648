package election

import (
	"encoding/binary"
	"errors"
	"fmt"

	"outrigger/broker/topic"
)

// ErrFormat: bytes are not a request of a version that we know. The message is dropped and counted;
// a request that mattered comes again.
var ErrFormat = errors.New("election request is malformed")

// Request says that its reporter has not heard the suspect. It travels on the node-internal subject
// from the watcher to the worker, and from there to the controller as a report.
type Request struct {
	// Reporter is who did not hear, in its session: a dead process's report must not count for the
	// next.
	Reporter topic.Member
	// Suspect is who was not heard. Its session keeps an old request from hitting a new process.
	Suspect topic.Member
	// SilentTicks is for how long, in the reporter's ticks.
	SilentTicks int
}

const (
	requestVersion = 1
	requestBytes   = 29
)

// Encode writes the request, 29 bytes, big-endian:
//
//	 0       1                5                   13              17                 25             29
//	+-------+----------------+-------------------+---------------+------------------+--------------+
//	| v = 1 | reporter node  | reporter session  | suspect node  | suspect session  | silent ticks |
//	+-------+----------------+-------------------+---------------+------------------+--------------+
func (r Request) Encode() []byte {
	b := make([]byte, 0, requestBytes)
	b = append(b, requestVersion)
	b = appendMember(b, r.Reporter)
	b = appendMember(b, r.Suspect)
	return binary.BigEndian.AppendUint32(b, uint32(max(0, min(r.SilentTicks, silentTicksMax))))
}

// silentTicksMax bounds what a request can say: weeks.
const silentTicksMax = 1<<31 - 1

// DecodeRequest reads what Request.Encode wrote, and nothing else.
func DecodeRequest(b []byte) (Request, error) {
	if len(b) != requestBytes || b[0] != requestVersion {
		return Request{}, fmt.Errorf("decode election request of %d bytes: %w", len(b), ErrFormat)
	}
	r := Request{
		Reporter:    memberAt(b[1:]),
		Suspect:     memberAt(b[13:]),
		SilentTicks: int(binary.BigEndian.Uint32(b[25:])),
	}
	if r.Reporter.Node < 0 || r.Suspect.Node < 0 || r.Reporter.Session == 0 ||
		r.Suspect.Session == 0 || r.SilentTicks > silentTicksMax {
		return Request{}, fmt.Errorf("decode election request %+v: %w", r, ErrFormat)
	}
	return r, nil
}

func appendMember(b []byte, m topic.Member) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(m.Node))
	return binary.BigEndian.AppendUint64(b, uint64(m.Session))
}

func memberAt(b []byte) topic.Member {
	return topic.Member{
		Node:    topic.NodeID(int32(binary.BigEndian.Uint32(b))),
		Session: topic.Session(binary.BigEndian.Uint64(b[4:])),
	}
}
