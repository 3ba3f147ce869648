package topic

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
)

// ID is a topic's 128-bit identity (KIP-516). A topic deleted and created again under its old name
// has another ID. The zero ID names no topic.
type ID [16]byte

// String is the URL-safe base64 form that Kafka's tools print: 22 characters.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// IsZero reports whether id names no topic.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads the form that String writes.
func ParseID(text string) (ID, error) {
	var id ID
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return id, fmt.Errorf("parse topic id %q: %w", text, err)
	}
	if len(raw) != len(id) {
		return id, fmt.Errorf("parse topic id %q: %d bytes, want %d", text, len(raw), len(id))
	}
	copy(id[:], raw)
	return id, nil
}

// Partition names one partition of one topic, by the topic's ID: a name may be reused, an ID not.
type Partition struct {
	Topic ID
	Index int32
}

// String is "<topic id>/<index>".
func (p Partition) String() string { return p.Topic.String() + "/" + strconv.Itoa(int(p.Index)) }

// Offset is the position of a record in its partition. A log end is the offset after the last
// record: ends are exclusive everywhere.
type Offset int64

// Epoch is a partition's leader epoch (KIP-101). It grows by at least one at each election.
type Epoch int32

// NodeID is a broker's number, `node.id` in its configuration.
type NodeID int32

// Session names one run of one broker process. It is random, never zero for a running process, and
// unordered: two sessions of a node are different, not older or newer.
type Session uint64

// String is the 16 hexadecimal digits of the session.
func (s Session) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// DiskID is made at random with a data directory. A node that comes back with another one has lost
// its disk.
type DiskID [16]byte

// String is the 32 hexadecimal digits of the disk id.
func (d DiskID) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether no disk is named.
func (d DiskID) IsZero() bool { return d == DiskID{} }

// Values that stand for "none".
const (
	NoNode   NodeID = -1
	NoEpoch  Epoch  = -1
	NoOffset Offset = -1
)
