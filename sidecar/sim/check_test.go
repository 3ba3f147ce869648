package sim

import (
	"strings"
	"testing"

	"outrigger/broker/batch"
	"outrigger/broker/topic"
	"outrigger/sidecar/raft"
)

// worldOf is a world that has not begun: its hosts are down, and their disks empty.
func worldOf(brokers bool) *World {
	for seed := uint64(1); ; seed++ {
		if draw(randOf(seed)).brokers == brokers {
			return newWorld(seed, Options{})
		}
	}
}

// Mutants show that bugs are caught by whichever promise breaks first. Here each promise is broken by
// itself, so that none of them is an invariant that cannot fail.
func TestEveryPromiseOfTheRaftCanBreak(t *testing.T) {
	ones := func(index, term, value uint64) raft.Entry {
		data := make([]byte, 8)
		data[7] = byte(value)
		return raft.Entry{Index: index, Term: term, Kind: raft.EntryCommand, Data: data}
	}
	vote := func(node topic.NodeID) raft.Member { return raft.Member{Node: node, Disk: topic.DiskID{byte(node)}} }
	for name, c := range map[string]struct {
		do   func(w *World, c *checker, h *host)
		want string
	}{
		"two leaders in a term": {func(w *World, c *checker, h *host) {
			c.leads(h, raft.Brief{Term: 3})
			c.leads(w.hosts[1], raft.Brief{Term: 3})
		}, "both lead term 3"},
		"a term that falls": {func(_ *World, c *checker, h *host) {
			c.hard(h, raft.HardState{Term: 3}, raft.HardState{Term: 2})
		}, "stores"},
		"a vote that changes": {func(_ *World, c *checker, h *host) {
			c.hard(h, raft.HardState{Term: 3, Vote: vote(1)}, raft.HardState{Term: 3, Vote: vote(2)})
		}, "stores"},
		"a commit index that falls": {func(_ *World, c *checker, h *host) {
			c.hard(h, raft.HardState{Term: 3, Commit: 5}, raft.HardState{Term: 4, Commit: 4})
		}, "stores"},
		"a restart that forgets its vote": {func(_ *World, c *checker, h *host) {
			h.disk.now.hard = raft.HardState{Term: 3, Vote: vote(1)}
			c.restarted(h, raft.Brief{Term: 3})
		}, "restarts as"},
		"two entries at one index and term": {func(_ *World, c *checker, h *host) {
			c.saves(h, image{}, raft.Batch{Entries: []raft.Entry{ones(1, 1, 7)}})
			c.saves(h, image{}, raft.Batch{Entries: []raft.Entry{ones(1, 1, 8)}})
		}, "holds another entry 1 of term 1"},
		"one entry behind two others": {func(_ *World, c *checker, h *host) {
			behind := func(term uint64) image {
				return image{entries: []raft.Entry{ones(1, term, 1)}}
			}
			c.saves(h, behind(1), raft.Batch{Entries: []raft.Entry{ones(2, 3, 7)}})
			c.saves(h, behind(2), raft.Batch{Entries: []raft.Entry{ones(2, 3, 7)}})
		}, "holds another entry 2 of term 3"},
		"a term that falls in the log": {func(_ *World, c *checker, h *host) {
			c.saves(h, image{}, raft.Batch{Entries: []raft.Entry{ones(1, 2, 7), ones(2, 1, 8)}})
		}, "appends term 1 behind term 2"},
		"a committed entry that is cut": {func(_ *World, c *checker, h *host) {
			c.saves(h, image{hard: raft.HardState{Commit: 4}}, raft.Batch{TruncateFrom: 4})
		}, "truncates from 4, committed is 4"},
		"two committed entries at one index": {func(w *World, c *checker, h *host) {
			h.disk.now.entries = []raft.Entry{ones(1, 1, 7)}
			w.hosts[1].disk.now.entries = []raft.Entry{ones(1, 1, 8)}
			c.committed(h, 1)
			c.committed(w.hosts[1], 1)
		}, "committed another entry 1"},
		"a commit of what is not held": {func(_ *World, c *checker, h *host) { c.committed(h, 1) }, "does not hold it"},
		"two states at one index": {func(w *World, c *checker, h *host) {
			c.applied(h, 5, 1)
			c.applied(w.hosts[1], 5, 2)
		}, "another state at 5"},
		"a vote before it is durable": {func(w *World, c *checker, h *host) {
			h.disk.synced.hard = raft.HardState{Term: 3}
			c.sends(h, raft.Message{Envelope: raft.Envelope{Type: raft.VoteReply, Term: 3, To: 2}})
		}, "before it is durable"},
		"an acknowledgement before it is durable": {func(w *World, c *checker, h *host) {
			h.disk.synced.hard = raft.HardState{Term: 3}
			c.sends(h, raft.Message{Envelope: raft.Envelope{Type: raft.AppendReply, Term: 3, To: 2}, Index: 1})
		}, "durable is 0"},
		"a stale message that counts": {func(_ *World, c *checker, h *host) {
			c.steps(h, raft.Message{Envelope: raft.Envelope{Type: raft.AppendReply, Term: 2}}, raft.Brief{Term: 3}, raft.Brief{Term: 3, Commit: 1})
		}, "changed by a stale message"},
		"a voter taken from its leader": {func(_ *World, c *checker, h *host) {
			c.steps(h, raft.Message{Envelope: raft.Envelope{Type: raft.Vote, Term: 4}}, raft.Brief{Term: 3, Leader: 2}, raft.Brief{Term: 4})
		}, "leaves leader 2 of term 3"},
		"an acknowledged value that is gone": {func(_ *World, c *checker, h *host) {
			c.ackedAt[9] = 1
			c.finish()
		}, "acknowledged value 9 is not at 1"},
	} {
		w := worldOf(false)
		if len(w.hosts) < 2 {
			w.hosts = append(w.hosts, &host{world: w, at: 1, id: 2, disk: w.newDisk()})
		}
		c.do(w, w.check, w.hosts[0])
		wantViolation(t, name, w, c.want)
	}
}

func TestEveryPromiseOfTheDataCanBreak(t *testing.T) {
	p := topic.Partition{Topic: topic.ID{1}}
	sent := func(values ...uint64) *sending { return &sending{partition: p, values: values} }
	commit, abort := markerValue(batch.Marker{Commit: true}), markerValue(batch.Marker{})
	// compacted has values committed from offset 0 on, the first of which one producer's transaction has, but for those that
	// are in none; and a log of which a compaction has left the offsets of some.
	compacted := func(c *checker, h *host, left []topic.Offset, values ...uint64) {
		has := held{end: topic.Offset(len(values)), present: map[topic.Offset]bool{}, newest: map[byte]topic.Offset{}}
		for at, v := range values {
			c.learn(h, p, topic.Offset(at), record{v, 1})
		}
		d := c.decide(p)
		for _, at := range left {
			has.present[at] = true
			if v := values[at]; !isMarker(v) && d.counts(at) {
				has.newest[keyOf(v)] = at
			}
		}
		c.dropped(h, p, has, d)
	}
	for name, c := range map[string]struct {
		do   func(w *World, c *checker, h *host)
		want string
	}{
		"two values at one offset": {func(w *World, c *checker, h *host) {
			c.learn(h, p, 3, record{7, 1})
			c.learn(w.hosts[1], p, 3, record{8, 1})
		}, "where value 7 of epoch 1 is committed"},
		"two epochs at one offset": {func(w *World, c *checker, h *host) {
			c.learn(h, p, 3, record{7, 1})
			c.learn(w.hosts[1], p, 3, record{7, 2})
		}, "where value 7 of epoch 1 is committed"},
		"one value at two offsets": {func(_ *World, c *checker, h *host) {
			c.learn(h, p, 3, record{7, 1})
			c.learn(h, p, 4, record{7, 1})
		}, "value 7 is at"},
		"a refused value that is read": {func(_ *World, c *checker, h *host) {
			c.failed(sent(7))
			c.learn(h, p, 3, record{7, 1})
		}, "was refused for good"},
		"a value that is refused after it was read": {func(_ *World, c *checker, h *host) {
			c.learn(h, p, 3, record{7, 1})
			c.failed(sent(7))
		}, "was refused and is at"},
		"an acknowledged value that is elsewhere": {func(_ *World, c *checker, h *host) {
			c.learn(h, p, 3, record{7, 1})
			c.ackedRecords(sent(7), 2)
		}, "was acknowledged at"},
		"a member in sync that lacks what was promised": {func(w *World, c *checker, h *host) {
			c.promisedEnd[p] = 5
			h.disk.kept = map[topic.Partition]topic.Offset{p: 4}
			h.disk.since = 0
			c.entitled(p, &topic.Placement{ISR: []topic.Member{{Node: h.id, Session: 1}}})
		}, "may lead"},
		"an eligible member that lacks what was promised": {func(w *World, c *checker, h *host) {
			c.promisedEnd[p] = 5
			h.disk.kept = map[topic.Partition]topic.Offset{p: 4}
			h.disk.since = 0
			c.entitled(p, &topic.Placement{Eligible: []topic.Member{{Node: h.id, Session: 1}}})
		}, "may lead"},
		"a value that only an aborted one supersedes": {func(_ *World, c *checker, h *host) {
			c.members[7+2*keys], c.members[abort] = 1, 1
			compacted(c, h, []topic.Offset{1, 2}, 7, 7+2*keys, abort)
		}, "dropped value 7 at"},
		"a value of a transaction that is not over": {func(_ *World, c *checker, h *host) {
			c.members[7] = 1
			compacted(c, h, []topic.Offset{1}, 7, 7+2*keys)
		}, "whose transaction is not over"},
		"a committed value of a transaction that nothing supersedes": {func(_ *World, c *checker, h *host) {
			c.members[7], c.members[commit] = 1, 1
			compacted(c, h, []topic.Offset{1}, 7, commit)
		}, "which nothing supersedes"},
		"a marker of which a record is left": {func(_ *World, c *checker, h *host) {
			c.members[7], c.members[abort] = 1, 1
			compacted(c, h, []topic.Offset{0}, 7, abort)
		}, "has dropped the marker"},
		"an aborted record that nobody leaves out": {func(w *World, c *checker, h *host) {
			c.members[7], c.members[abort] = 1, 1
			c.learn(h, p, 0, record{7, 1})
			c.learn(h, p, 1, record{abort, 1})
			b := batch.NewBuilder(batch.CodecNone)
			b.Add(w.record(7))
			bytes, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			c.left(h, p, bytes, c.decide(p), false)
		}, "lets readers leave out"},
	} {
		w := worldOf(true)
		w.mix.compacts = true
		c.do(w, w.check, w.hosts[0])
		wantViolation(t, name, w, c.want)
	}
}

// What a compaction may take of transactions, and does in each run, is no violation.
func TestCompactionMayTakeWhatTransactionsLeave(t *testing.T) {
	p := topic.Partition{Topic: topic.ID{1}}
	w := worldOf(true)
	w.mix.compacts = true
	c := w.check
	commit, abort := markerValue(batch.Marker{Commit: true, CoordinatorEpoch: 1}), markerValue(batch.Marker{CoordinatorEpoch: 2})
	// A committed value that another one supersedes, an aborted one, and a marker of which nothing is left.
	values := []uint64{7, commit, 7 + 2*keys, 7 + 4*keys, abort}
	for _, v := range []uint64{7, commit, 7 + 4*keys, abort} {
		c.members[v] = 1
	}
	for at, v := range values {
		c.learn(w.hosts[0], p, topic.Offset(at), record{v, 1})
	}
	c.dropped(w.hosts[0], p, held{end: 5, present: map[topic.Offset]bool{2: true},
		newest: map[byte]topic.Offset{keyOf(7): 2}}, c.decide(p))
	if c.violation != nil {
		t.Error(c.violation)
	}
}

func wantViolation(t *testing.T, name string, w *World, want string) {
	t.Helper()
	if v := w.check.violation; v == nil || !strings.Contains(v.Text, want) {
		t.Errorf("%s: got %v, want a violation with %q", name, v, want)
	}
}
