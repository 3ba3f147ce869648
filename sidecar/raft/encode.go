package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"outrigger/broker/topic"
)

// A message on the wire; u is an unsigned varint, all other integers are big-endian:
//
//	+---------+------+--------+----------+-----------------+-----------------+-----+------+-------+------+
//	| version | type | flags  | id       | cluster         | from  disk  session   | to  disk  session   |
//	| 1 byte  | 1    | 1      | 8        | u + bytes       | 4     16    8         | 4   16    8         |
//	+---------+------+--------+----------+-----------------+-----------------------+---------------------+
//	| term u | index u | log term u | hint u | commit u | round u | leader 4 | offset u | data u + bytes   |
//	+---------------------------------------------------------------------------------------------------+
//	| voters: u + 4 each | membership | snapshot | entries: u + entry each                               |
//	+---------------------------------------------------------------------------------------------------+
//
//	membership: u + (node 4, disk 16) per voter, u + (node 4, disk 16) per learner
//	snapshot:   index u, term u, size u, hash 32, membership
//	entry:      index u, term u, kind 1, u + data
//
// Every part is there in every type; an unused one costs a byte or a few. The first byte counts up
// when the layout changes.
const (
	messageVersion    = 1
	membershipVersion = 1

	membersMax = 1024
	entriesMax = 1 << 16

	flagReject   = 1
	flagTransfer = 2
	flagFounding = 4
	flagBlank    = 8
	flagSnapshot = 16
	flagsAll     = 31
)

// ErrMalformed: bytes that are no message of ours; whoever reads them drops them.
var ErrMalformed = errors.New("malformed raft bytes")

// Encode writes a message.
func Encode(m Message) []byte {
	size := 192 + len(m.Cluster) + len(m.Data) + 4*len(m.Voters) + 20*len(m.Membership.Voters)
	for _, e := range m.Entries {
		size += len(e.Data) + 24
	}
	b := make([]byte, 0, size)
	b = append(b, messageVersion, byte(m.Type), m.flags())
	b = binary.BigEndian.AppendUint64(b, m.ID)
	b = appendBytes(b, []byte(m.Cluster))
	b = binary.BigEndian.AppendUint32(b, uint32(m.From))
	b = append(b, m.Disk[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint32(b, uint32(m.To))
	b = append(b, m.ToDisk[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.ToSession))
	for _, v := range []uint64{m.Term, m.Index, m.LogTerm, m.Hint, m.Commit, m.Round} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(m.Leader))
	b = binary.AppendUvarint(b, m.Offset)
	b = appendBytes(b, m.Data)
	b = binary.AppendUvarint(b, uint64(len(m.Voters)))
	for _, node := range m.Voters {
		b = binary.BigEndian.AppendUint32(b, uint32(node))
	}
	b = appendMembers(b, m.Membership)
	if m.flags()&flagSnapshot != 0 {
		b = appendSnapshot(b, m.Snapshot)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Entries)))
	for _, e := range m.Entries {
		b = AppendEntry(b, e)
	}
	return b
}

func (m Message) flags() byte {
	var flags byte
	add := func(bit byte, set bool) {
		if set {
			flags |= bit
		}
	}
	add(flagReject, m.Reject)
	add(flagTransfer, m.Transfer)
	add(flagFounding, m.Founding)
	add(flagBlank, m.Blank)
	add(flagSnapshot, m.Snapshot.Index != 0)
	return flags
}

// Decode reads a message. It refuses more than MessageBytesMax, and never allocates more than a
// small multiple of what it was given. Data and entries alias b.
func Decode(b []byte) (Message, error) {
	var m Message
	if len(b) > MessageBytesMax {
		return m, fmt.Errorf("%w: message of %d bytes, at most %d", ErrMalformed, len(b), MessageBytesMax)
	}
	r := reader{b: b}
	if version := r.byte(); version != messageVersion {
		return m, fmt.Errorf("%w: message version %d, known is %d", ErrMalformed, version, messageVersion)
	}
	m.Type = Type(r.byte())
	flags := r.byte()
	m.Reject, m.Transfer = flags&flagReject != 0, flags&flagTransfer != 0
	m.Founding, m.Blank = flags&flagFounding != 0, flags&flagBlank != 0
	m.ID = r.fixed64()
	m.Cluster = string(r.bytes(ClusterBytesMax))
	m.From, m.Disk, m.Session = topic.NodeID(r.fixed32()), r.disk(), topic.Session(r.fixed64())
	m.To, m.ToDisk, m.ToSession = topic.NodeID(r.fixed32()), r.disk(), topic.Session(r.fixed64())
	for _, field := range []*uint64{&m.Term, &m.Index, &m.LogTerm, &m.Hint, &m.Commit, &m.Round} {
		*field = r.uvarint()
	}
	m.Leader = topic.NodeID(r.fixed32())
	m.Offset = r.uvarint()
	m.Data = r.bytes(MessageBytesMax)
	for range r.count(membersMax, 4) {
		m.Voters = append(m.Voters, topic.NodeID(r.fixed32()))
	}
	m.Membership = r.members()
	if flags&flagSnapshot != 0 {
		m.Snapshot = r.snapshot()
	}
	for range r.count(entriesMax, 4) {
		m.Entries = append(m.Entries, r.entry())
	}
	if flags&^flagsAll != 0 || m.Type == 0 || m.Type > TimeoutNow ||
		flags&flagSnapshot != 0 && m.Snapshot.Index == 0 {
		r.fail("unknown type or flags")
	}
	if err := r.finish(); err != nil {
		return Message{}, err
	}
	return m, m.check()
}

// check refuses what no honest sender writes and a machine must not meet.
func (m Message) check() error {
	for i, e := range m.Entries {
		if m.Type != Append || e.Index != m.Index+uint64(i)+1 || e.Term > m.Term {
			return fmt.Errorf("%w: entry %d of term %d in an append behind %d of term %d",
				ErrMalformed, e.Index, e.Term, m.Index, m.Term)
		}
		if e.Kind == EntryMembership {
			if _, err := DecodeMembership(e.Data); err != nil {
				return err
			}
		}
	}
	if m.Type == Offer && (m.Snapshot.IsZero() || m.Snapshot.Membership.IsZero()) ||
		m.Index == math.MaxUint64 {
		return fmt.Errorf("%w: offer without a snapshot, or index out of range", ErrMalformed)
	}
	return nil
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

// AppendEntry writes an entry in the form that messages and stores share.
func AppendEntry(b []byte, e Entry) []byte {
	b = binary.AppendUvarint(b, e.Index)
	b = binary.AppendUvarint(b, e.Term)
	b = append(b, byte(e.Kind))
	return appendBytes(b, e.Data)
}

// DecodeEntry reads what AppendEntry wrote; its data aliases b.
func DecodeEntry(b []byte) (Entry, error) {
	r := reader{b: b}
	e := r.entry()
	return e, r.finish()
}

// AppendSnapshotInfo writes a snapshot's description in the form that messages and stores share.
func AppendSnapshotInfo(b []byte, s Snapshot) []byte { return appendSnapshot(b, s) }

// DecodeSnapshotInfo reads what AppendSnapshotInfo wrote.
func DecodeSnapshotInfo(b []byte) (Snapshot, error) {
	r := reader{b: b}
	s := r.snapshot()
	return s, r.finish()
}

// AppendHardState writes a hard state: term u, vote (node 4, disk 16), commit u, cluster u + bytes.
func AppendHardState(b []byte, h HardState) []byte {
	b = binary.AppendUvarint(b, h.Term)
	b = appendMember(b, h.Vote)
	b = binary.AppendUvarint(b, h.Commit)
	return appendBytes(b, []byte(h.Cluster))
}

// DecodeHardState reads what AppendHardState wrote.
func DecodeHardState(b []byte) (HardState, error) {
	r := reader{b: b}
	h := HardState{Term: r.uvarint(), Vote: r.member(), Commit: r.uvarint(),
		Cluster: string(r.bytes(ClusterBytesMax))}
	return h, r.finish()
}

func appendSnapshot(b []byte, s Snapshot) []byte {
	b = binary.AppendUvarint(b, s.Index)
	b = binary.AppendUvarint(b, s.Term)
	b = binary.AppendUvarint(b, s.Size)
	b = append(b, s.Hash[:]...)
	return appendMembers(b, s.Membership)
}

func appendMembers(b []byte, s Membership) []byte {
	for _, list := range [][]Member{s.Voters, s.Learners} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, member := range list {
			b = appendMember(b, member)
		}
	}
	return b
}

func appendMember(b []byte, m Member) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(m.Node))
	return append(b, m.Disk[:]...)
}

// encodeMembership writes the data of a membership entry: version 1, then as in messages.
func encodeMembership(b []byte, s Membership) []byte {
	return appendMembers(append(b, membershipVersion), s)
}

// DecodeMembership reads the data of a membership entry.
func DecodeMembership(b []byte) (Membership, error) {
	r := reader{b: b}
	if version := r.byte(); version != membershipVersion {
		return Membership{}, fmt.Errorf("%w: membership version %d", ErrMalformed, version)
	}
	s := r.members()
	if err := r.finish(); err != nil {
		return Membership{}, err
	}
	if s.IsZero() {
		return s, fmt.Errorf("%w: membership without voters", ErrMalformed)
	}
	return s, nil
}

// reader takes bytes apart; after the first lack it reads zeroes.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	r.b = nil
}

func (r *reader) finish() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail(fmt.Sprintf("%d bytes too many", len(r.b)))
	}
	return r.err
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("too short")
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) fixed32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) fixed64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads a counted string of at most limit bytes; nil for an empty one.
func (r *reader) bytes(limit uint64) []byte {
	n := r.uvarint()
	if n > limit || n > uint64(len(r.b)) {
		r.fail("string too long")
		return nil
	}
	if n == 0 {
		return nil
	}
	return r.take(int(n))
}

// count reads the number of items that follow, each of at least itemBytes.
func (r *reader) count(limit, itemBytes uint64) int {
	n := r.uvarint()
	if n > limit || n*itemBytes > uint64(len(r.b)) {
		r.fail("list too long")
		return 0
	}
	return int(n)
}

func (r *reader) disk() (d topic.DiskID) {
	copy(d[:], r.take(len(d)))
	return d
}

func (r *reader) member() Member {
	return Member{Node: topic.NodeID(r.fixed32()), Disk: r.disk()}
}

// members reads a membership, in which every node is sorted and once.
func (r *reader) members() Membership {
	var s Membership
	seen := make([]topic.NodeID, 0, 8)
	for _, list := range []*[]Member{&s.Voters, &s.Learners} {
		for range r.count(membersMax, 20) {
			*list = append(*list, r.member())
		}
		if !slices.IsSortedFunc(*list, compareMembers) {
			r.fail("members out of order")
		}
		for _, member := range *list {
			seen = append(seen, member.Node)
		}
	}
	slices.Sort(seen)
	if len(slices.Compact(seen)) != len(s.Voters)+len(s.Learners) {
		r.fail("member listed twice")
	}
	return s
}

func (r *reader) snapshot() Snapshot {
	s := Snapshot{Index: r.uvarint(), Term: r.uvarint(), Size: r.uvarint()}
	copy(s.Hash[:], r.take(len(s.Hash)))
	s.Membership = r.members()
	return s
}

func (r *reader) entry() Entry {
	e := Entry{Index: r.uvarint(), Term: r.uvarint(), Kind: EntryKind(r.byte())}
	e.Data = r.bytes(MessageBytesMax)
	if e.Kind == 0 || e.Kind > EntryMembership {
		r.fail("unknown kind of entry")
	}
	return e
}
