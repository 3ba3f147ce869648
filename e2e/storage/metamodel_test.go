package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/raft"
	"outrigger/sidecar/raftstore"
)

// command is what the node must have on stable storage before it acts: that a partition has a leader
// in an epoch, or that it is removed.
type command struct {
	kind  byte
	index int32
	epoch topic.Epoch
}

const (
	junk byte = iota
	grant
	tombstone
)

const commandBytes = 9

func (c command) append(b []byte) []byte {
	b = append(b, c.kind)
	b = binary.BigEndian.AppendUint32(b, uint32(c.index))
	return binary.BigEndian.AppendUint32(b, uint32(c.epoch))
}

func parseCommand(b []byte) command {
	return command{b[0], int32(binary.BigEndian.Uint32(b[1:])), topic.Epoch(binary.BigEndian.Uint32(b[5:]))}
}

// version is everything that the metadata store holds at one time.
type version struct {
	state raft.State
	// data of the current snapshot, staged what was pulled of the next.
	data, staged []byte
}

// commands lists what the version says was decided, in its snapshot and in its log.
func (v *version) commands() []command { return v.commandsUpTo(^uint64(0)) }

func (v *version) commandsUpTo(index uint64) []command {
	var list []command
	if len(v.data) > 0 {
		list = decodeSnapshot(v.data)
	}
	for _, e := range v.state.Entries {
		if c := parseCommand(e.Data); c.kind != junk && e.Index > v.state.Snapshot.Index && e.Index <= index {
			list = append(list, c)
		}
	}
	return list
}

func encodeSnapshot(list []command, filler []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(list)))
	for _, c := range list {
		b = c.append(b)
	}
	return append(b, filler...)
}

func decodeSnapshot(b []byte) []command {
	list := make([]command, binary.BigEndian.Uint32(b))
	for i := range list {
		list[i] = parseCommand(b[4+i*commandBytes:])
	}
	return list
}

// last is the index of the newest entry, or of what the snapshot covers.
func (v *version) last() uint64 {
	if n := len(v.state.Entries); n > 0 {
		return v.state.Entries[n-1].Index
	}
	return v.state.Snapshot.Index
}

// metaModel is the metadata store as a list of versions: the last that was synced, and those after it.
type metaModel struct {
	now     version
	history []version
	// before holds those since the synced one before the last.
	before []version
	// decided is the highest index that holds a command: what the cluster has committed is not cut.
	decided uint64
	// decisions counts them. pulled is the data of the snapshot that is being staged, pulledAt how many
	// decisions it knows.
	decisions, pulledAt int
	pulled              []byte
	// dead tells whether the power has failed.
	dead func() bool
}

// write makes a version possible before it is written, and certain after, unless the power failed
// meanwhile: what a store says then is heard by nobody.
func (m *metaModel) write(sync bool, write func() error) error {
	m.now.state.Entries = slices.Clone(m.now.state.Entries)
	m.history = append(m.history, m.now)
	err := write()
	if err == nil && sync && !m.dead() {
		last := len(m.history) - 1
		m.before, m.history = m.history[:last], m.history[last:]
	}
	return err
}

func (m *metaModel) save(s *raftstore.Store, b raft.Batch) error {
	st := &m.now.state
	if b.HardState != nil {
		st.Hard = *b.HardState
	}
	if b.TruncateFrom != 0 {
		st.Entries = slices.DeleteFunc(slices.Clone(st.Entries),
			func(e raft.Entry) bool { return e.Index >= b.TruncateFrom })
	}
	st.Entries = append(slices.Clone(st.Entries), b.Entries...)
	for _, c := range b.Chunks {
		if c.Offset == 0 {
			m.now.staged = nil
		}
		st.Staged = c.Snapshot
		m.now.staged = append(bytes.Clone(m.now.staged), c.Data...)
		st.StagedBytes = uint64(len(m.now.staged))
	}
	return m.write(b.Sync, func() error { return s.Save(b) })
}

// decide saves a command, synced, before anybody acts upon it.
func (m *metaModel) decide(s *raftstore.Store, c command) error {
	e := raft.Entry{Index: m.now.last() + 1, Term: m.now.state.Hard.Term + 1, Kind: raft.EntryCommand,
		Data: c.append(nil)}
	hard := m.now.state.Hard
	hard.Term, hard.Commit = e.Term, e.Index
	m.decided = e.Index
	m.decisions++
	return m.save(s, raft.Batch{HardState: &hard, Entries: []raft.Entry{e}, Sync: true})
}

// scribble makes a random write of a Raft that decides nothing.
func (m *metaModel) scribble(s *raftstore.Store, random *rand.Rand) error {
	switch random.IntN(8) {
	case 0:
		return m.compact(s, random)
	case 1, 2, 3:
		return m.pull(s, random)
	}
	hard := m.now.state.Hard
	hard.Vote = raft.Member{Node: topic.NodeID(random.IntN(3))}
	b := raft.Batch{HardState: &hard, Sync: random.IntN(2) == 0}
	if random.IntN(2) == 0 {
		hard.Term++
		next := m.now.last() + 1
		if floor := max(m.decided, m.now.state.Snapshot.Index) + 1; next > floor && random.IntN(2) == 0 {
			next = floor + random.Uint64N(next-floor)
			b.TruncateFrom = next
		}
		for range random.IntN(4) {
			data := append(command{kind: junk}.append(nil), noise(random, random.IntN(2000))...)
			b.Entries = append(b.Entries, raft.Entry{Index: next, Term: hard.Term, Kind: raft.EntryCommand,
				Data: data})
			next++
		}
	}
	return m.save(s, b)
}

// compact takes a snapshot and drops the log behind it.
func (m *metaModel) compact(s *raftstore.Store, random *rand.Rand) error {
	st := &m.now.state
	if len(st.Entries) == 0 {
		return nil
	}
	at := st.Entries[random.IntN(len(st.Entries))]
	if at.Index <= st.Snapshot.Index {
		return nil
	}
	data := encodeSnapshot(m.now.commandsUpTo(at.Index), noise(random, random.IntN(20_000)))
	snapshot := raft.Snapshot{Index: at.Index, Term: at.Term, Size: uint64(len(data)),
		Hash: raft.HashOf(data), Membership: raft.Membership{Voters: []raft.Member{{Node: 1}}}}
	to := at.Index - min(at.Index-st.Entries[0].Index, uint64(random.IntN(4)))
	st.Snapshot, m.now.data = snapshot, data
	st.Entries = slices.DeleteFunc(slices.Clone(st.Entries),
		func(e raft.Entry) bool { return e.Index <= to })
	return m.write(true, func() error { return s.SaveSnapshot(snapshot, data, to) })
}

// pull takes the next piece of a snapshot from a leader, and installs it when all is there.
func (m *metaModel) pull(s *raftstore.Store, random *rand.Rand) error {
	st := m.now.state
	next, have := st.Staged, st.StagedBytes
	if next.IsZero() || m.pulledAt != m.decisions || next.Index <= m.now.last() ||
		!next.Same(describe(next.Index, m.pulled)) {
		m.pulled = encodeSnapshot(m.now.commands(), noise(random, random.IntN(20_000)))
		m.pulledAt = m.decisions
		next, have = describe(m.now.last()+100, m.pulled), 0
	}
	if have < next.Size || have == 0 {
		data := m.pulled[have:min(next.Size, have+7000)]
		return m.save(s, raft.Batch{Chunks: []raft.Chunk{{Snapshot: next, Offset: have, Data: data}},
			Sync: random.IntN(3) == 0})
	}
	hard := st.Hard
	hard.Commit = max(hard.Commit, next.Index)
	m.now = version{state: raft.State{Hard: hard, Snapshot: next}, data: m.now.staged}
	m.decided = max(m.decided, next.Index)
	return m.write(true, func() error { return s.InstallSnapshot(next, hard) })
}

func describe(index uint64, data []byte) raft.Snapshot {
	return raft.Snapshot{Index: index, Term: 1, Size: uint64(len(data)), Hash: raft.HashOf(data),
		Membership: raft.Membership{Voters: []raft.Member{{Node: 2}}}}
}

// settle finds the version that a store holds after a crash. It is the only one from now on.
func (m *metaModel) settle(s *raftstore.Store) error {
	got, err := s.Load()
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	var last error
	for _, v := range slices.Backward(m.history) {
		if last = v.compare(s, got); last == nil {
			m.now, m.history, m.before = v, []version{v}, nil
			return nil
		}
	}
	return fmt.Errorf("metadata is none of %d possible versions: %w", len(m.history), last)
}

// compare reads back all that a version holds.
func (v *version) compare(s *raftstore.Store, got raft.State) error {
	want := v.state
	if len(got.Entries) == 0 && len(want.Entries) == 0 {
		got.Entries, want.Entries = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("got %s, want %s", brief(got), brief(want))
	}
	for _, staged := range []bool{false, true} {
		index, data := want.Snapshot.Index, v.data
		if staged {
			index, data = want.Staged.Index, v.staged
		}
		var read []byte
		for len(read) < len(data) {
			piece, err := s.ReadSnapshot(index, staged, uint64(len(read)), 9_000)
			if err != nil || len(piece) == 0 {
				return fmt.Errorf("read snapshot %d at %d: %d bytes, %w", index, len(read), len(piece), err)
			}
			read = append(read, piece...)
		}
		if !bytes.Equal(read, data) {
			return fmt.Errorf("snapshot %d holds other bytes", index)
		}
	}
	return nil
}

func brief(s raft.State) string {
	first, last := uint64(0), uint64(0)
	if len(s.Entries) > 0 {
		first, last = s.Entries[0].Index, s.Entries[len(s.Entries)-1].Index
	}
	return fmt.Sprintf("%+v snapshot %d staged %d/%d log %d..%d", s.Hard, s.Snapshot.Index,
		s.Staged.Index, s.StagedBytes, first, last)
}

func noise(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}
