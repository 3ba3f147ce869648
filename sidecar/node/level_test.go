package node

import (
	"errors"
	"testing"

	"outrigger/broker/topic"
	"outrigger/sidecar/cluster"
	"outrigger/sidecar/raft"
)

// A node that has no say in it, since it is not registered, stops once a level is finalized that it does not
// speak, and never shows an image of that.
func TestNodeStopsAtALevelThatItDoesNotSpeak(t *testing.T) {
	const beyond = cluster.Level + 1
	m := newImageMachine(0)
	apply := func(index uint64, c cluster.Command) { m.Apply(index, cluster.Encode(c)) }
	apply(1, cluster.RegisterBroker{Broker: topic.Broker{ID: 1, Session: 1, Disk: topic.DiskID{1},
		Levels: topic.Levels{Min: 1, Max: beyond}}})
	apply(2, cluster.SetLevel{Level: topic.FirstLevel})
	if m.failed != nil {
		t.Fatal(m.failed)
	}
	apply(3, cluster.SetLevel{Level: beyond})
	var level *cluster.LevelError
	if !errors.As(m.failed, &level) || level.Level != beyond {
		t.Errorf("got %v, want that level %d is not supported", m.failed, beyond)
	}
}

// Where a registered broker does not speak it, a level is refused by all alike, and nobody stops.
func TestRefusedLevelStopsNobody(t *testing.T) {
	m := newImageMachine(0)
	m.Apply(1, cluster.Encode(cluster.RegisterBroker{Broker: topic.Broker{ID: 1, Session: 1, Disk: topic.DiskID{1}}}))
	m.Apply(2, cluster.Encode(cluster.SetLevel{Level: cluster.Level + 1}))
	if m.failed != nil || m.publish().Level() != topic.FirstLevel {
		t.Errorf("got %v at level %d, want level %d", m.failed, m.publish().Level(), topic.FirstLevel)
	}
}

// Before anything else is read, a store says that a level is finalized that this build does not speak, if it knows that
// this is committed and was not refused.
func TestStoreOfALaterLevelIsFoundBeforeItIsUsed(t *testing.T) {
	const beyond = cluster.Level + 1
	register := func(most uint16) cluster.Command {
		return cluster.RegisterBroker{Broker: topic.Broker{ID: 1, Session: 1, Disk: topic.DiskID{1},
			Levels: topic.Levels{Min: 1, Max: most}}}
	}
	log := func(commands ...cluster.Command) (entries []raft.Entry) {
		for i, c := range commands {
			entries = append(entries, raft.Entry{Index: uint64(i + 1), Term: 1, Kind: raft.EntryCommand, Data: cluster.Encode(c)})
		}
		return entries
	}
	later := cluster.SetLevel{Level: beyond}
	image := newImageMachine(0)
	image.Apply(1, cluster.Encode(register(beyond)))
	spoken := image.Snapshot()
	image.Apply(2, cluster.Encode(later))
	unspoken := image.Snapshot()
	for _, c := range []struct {
		name     string
		snapshot []byte // of the first entry, or of two
		index    uint64
		entries  []raft.Entry
		commit   uint64
		refused  bool
	}{
		{name: "nothing"},
		{name: "finalized in the log", entries: log(register(beyond), later), commit: 2, refused: true},
		{name: "not known to be committed", entries: log(register(beyond), later), commit: 1},
		{name: "refused", entries: log(register(cluster.Level), later), commit: 2},
		{name: "this level", entries: log(register(beyond), cluster.SetLevel{Level: cluster.Level}), commit: 2},
		{name: "in the snapshot", snapshot: unspoken, index: 2, commit: 2, refused: true},
		{name: "behind the snapshot", snapshot: spoken, index: 1, entries: log(register(beyond), later), commit: 2, refused: true},
		{name: "a snapshot alone", snapshot: spoken, index: 1, commit: 1},
	} {
		store := &memoryStore{}
		if c.snapshot != nil {
			s := raft.Snapshot{Index: c.index, Term: 1, Size: uint64(len(c.snapshot)), Hash: raft.HashOf(c.snapshot)}
			if err := store.SaveSnapshot(s, c.snapshot, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Save(raft.Batch{Entries: c.entries, HardState: &raft.HardState{Term: 1, Commit: c.commit}, Sync: true}); err != nil {
			t.Fatal(err)
		}
		var level *cluster.LevelError
		err := CheckLevel(store)
		if refused := errors.As(err, &level) && level.Level == beyond; refused != c.refused || err != nil && !refused {
			t.Errorf("%s: got %v, want it refused: %v", c.name, err, c.refused)
		}
	}
}
