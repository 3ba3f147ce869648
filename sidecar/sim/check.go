package sim

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"outrigger/broker/topic"
	"outrigger/sidecar/raft"
)

// Violation is a broken promise; its text says which.
type Violation struct {
	Seed uint64
	At   int64
	Text string
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d at %d ms: %s", v.Seed, v.At/1000, v.Text)
}

// position is a place in the log under a term.
type position struct{ index, term uint64 }

// link is an entry's content and what stands before it.
type link struct {
	hash     uint64
	previous uint64 // term
}

// checker remembers everything that was ever promised in a run.
type checker struct {
	w         *World
	violation *Violation

	leaders map[uint64]raft.Member // by term
	log     map[position]link
	ledger  []committedEntry // by index-1
	// ledgerTerms are the terms in which the ledger's entries were first seen committed.
	ledgerTerms []uint64
	states      map[uint64]uint64
	// ackedIndex is the highest acknowledged index.
	ackedIndex uint64
	ackedAt    map[uint64]uint64 // value to index

	records
}

type committedEntry struct {
	term, hash uint64
	value      uint64
}

func newChecker(w *World) *checker {
	return &checker{w: w, leaders: make(map[uint64]raft.Member), log: make(map[position]link),
		states: make(map[uint64]uint64), ackedAt: make(map[uint64]uint64), records: newRecords()}
}

// fail keeps the first violation.
func (c *checker) fail(format string, args ...any) {
	if c.violation == nil {
		c.violation = &Violation{Seed: c.w.seed, At: c.w.now, Text: fmt.Sprintf(format, args...)}
	}
}

// after looks at a host after an event.
func (c *checker) after(h *host) {
	if !h.up() {
		return
	}
	b := h.quorum.Brief()
	if b.Term < h.seen.Term || b.Commit < h.seen.Commit ||
		b.Term == h.seen.Term && !h.seen.Vote.IsZero() && b.Vote != h.seen.Vote {
		c.fail("%s went from %+v back to %+v", h, h.seen, b)
	}
	if b.Role == raft.Leader && b.Commit > h.seen.Commit {
		if e, ok := h.quorum.EntryAt(b.Commit); ok && e.Term != b.Term {
			c.fail("%s leads term %d and commits entry %d of term %d", h, b.Term, b.Commit, e.Term)
		}
	}
	if b.Role == raft.Leader && h.leading != b.Term {
		h.leading = b.Term
		c.leads(h, b)
	}
	h.seen = b
	// Commands are applied only once the batch that commits them is written, so the disk tells.
	c.committed(h, h.disk.now.hard.Commit)
}

// steps looks at what one message changed: nobody may take a voter from a leader that it heard
// within the minimum election timeout, but the leader itself.
func (c *checker) steps(h *host, m raft.Message, before, after raft.Brief) {
	if (m.Type == raft.Append || m.Type == raft.Offer) && m.ToDisk == h.disk.id &&
		after.Term == m.Term && after.Leader == m.From {
		h.heardAt = h.ticks
	}
	sticky := before.Role == raft.Leader ||
		before.Leader != topic.NoNode && h.ticks-h.heardAt < electionTicks
	if m.Type == raft.Vote && !m.Transfer && sticky && before.Term != after.Term {
		c.fail("%s leaves leader %d of term %d, heard %d ticks ago, for %s",
			h, before.Leader, before.Term, h.ticks-h.heardAt, m)
	}
	// A pre-vote is granted for the term it asks for, whatever term the voter is in.
	stale := m.Term < before.Term && m.Type != raft.PreVoteReply
	if stale && (before.Term != after.Term || before.Role != after.Role ||
		before.Commit != after.Commit || before.Vote != after.Vote) {
		c.fail("%s is changed by a stale message: %+v, %s, %+v", h, before, m, after)
	}
}

func (c *checker) leads(h *host, b raft.Brief) {
	self := raft.Member{Node: h.id, Disk: h.disk.id}
	if other, ok := c.leaders[b.Term]; ok && other != self {
		c.fail("%s and %s both lead term %d", other, self, b.Term)
	}
	c.leaders[b.Term] = self
	c.w.count.leaders++
	// A leader of a term that is long over may still be elected by late answers. What later terms
	// have committed is not asked of it: it can commit nothing any more.
	last := uint64(len(c.ledger))
	for last > 0 && c.ledgerTerms[last-1] >= b.Term {
		last--
	}
	if last > h.disk.now.snapshot.Index {
		e, ok := h.quorum.EntryAt(last)
		if want := c.ledger[last-1]; !ok || e.Term != want.term || entryHash(e) != want.hash {
			c.fail("%s leads term %d without the committed entry %d of term %d", h, b.Term, last, want.term)
		}
	}
}

// saves looks at a batch before it is written.
func (c *checker) saves(h *host, before image, b raft.Batch) {
	if b.HardState != nil {
		c.hard(h, before.hard, *b.HardState)
	}
	if b.TruncateFrom != 0 {
		c.w.count.truncations++
		if b.TruncateFrom <= before.hard.Commit {
			c.fail("%s truncates from %d, committed is %d", h, b.TruncateFrom, before.hard.Commit)
		}
		if e, ok := before.entry(b.TruncateFrom); ok && before.entries[len(before.entries)-1].Term != e.Term {
			c.w.count.deepTruncations++
		}
		for i := b.TruncateFrom; i <= before.last(); i++ {
			if e, ok := before.entry(i); ok && e.Kind == raft.EntryMembership {
				c.w.count.revertedMemberships++
			}
		}
	}
	if len(b.Entries) == 0 {
		return
	}
	previous, ok := before.termOf(b.Entries[0].Index - 1)
	if !ok {
		return // behind a compacted tail
	}
	for _, e := range b.Entries {
		at, is := position{e.Index, e.Term}, link{entryHash(e), previous}
		if was, ok := c.log[at]; ok && was != is {
			c.fail("%s holds another entry %d of term %d", h, e.Index, e.Term)
		}
		c.log[at] = is
		if e.Term < previous {
			c.fail("%s appends term %d behind term %d", h, e.Term, previous)
		}
		previous = e.Term
	}
}

// hard compares stored hard states.
func (c *checker) hard(h *host, before, after raft.HardState) {
	if after.Term < before.Term || after.Commit < before.Commit ||
		after.Term == before.Term && !before.Vote.IsZero() && before.Vote != after.Vote ||
		before.Cluster != "" && before.Cluster != after.Cluster {
		c.fail("%s stores %+v over %+v", h, after, before)
	}
}

// committed compares what a host holds as committed with what anybody ever held so.
func (c *checker) committed(h *host, upTo uint64) {
	for i := h.checked + 1; i <= upTo; i++ {
		e, ok := h.disk.now.entry(i)
		if !ok {
			if i > h.disk.now.snapshot.Index {
				c.fail("%s committed %d but does not hold it", h, i)
				return
			}
			continue
		}
		is := committedEntry{term: e.Term, hash: entryHash(e)}
		if e.Kind == raft.EntryCommand && len(e.Data) >= 8 {
			is.value = binary.BigEndian.Uint64(e.Data)
		}
		switch at := int(i) - 1; {
		case at < len(c.ledger) && c.ledger[at] != is:
			c.fail("%s committed another entry %d of term %d, known is one of term %d",
				h, i, e.Term, c.ledger[at].term)
		case at == len(c.ledger):
			c.ledger = append(c.ledger, is)
			c.ledgerTerms = append(c.ledgerTerms, h.disk.now.hard.Term)
		case at > len(c.ledger):
			c.fail("%s committed %d, but %d is not known to be committed", h, i, len(c.ledger)+1)
			return
		}
	}
	h.checked = max(h.checked, upTo)
}

// applied compares states at an index.
func (c *checker) applied(h *host, index, hash uint64) {
	if was, ok := c.states[index]; ok && was != hash {
		c.fail("%s has another state at %d", h, index)
	}
	c.states[index] = hash
}

// acked checks the answer to a proposal.
func (c *checker) acked(h *host, value uint64, result []byte) {
	index := h.state.index
	if len(result) != 8 || binary.BigEndian.Uint64(result) != c.states[index] {
		c.fail("%s answers value %d with the result of another index", h, value)
	}
	c.ackedIndex = max(c.ackedIndex, index)
	c.ackedAt[value] = index
}

// restarted compares what a host remembers with what it had made durable.
func (c *checker) restarted(h *host, b raft.Brief) {
	if stored := h.disk.now.hard; b.Term != stored.Term || b.Vote != stored.Vote || b.Commit < stored.Commit {
		c.fail("%s restarts as %+v from %+v", h, b, stored)
	}
}

// sends checks that a promise is durable before it leaves. One batch may hold more than the promise,
// even a later term: then it is as if the promise had been kept and then overtaken.
func (c *checker) sends(h *host, m raft.Message) {
	stored := h.disk.synced
	if stored.hard.Term > m.Term {
		return
	}
	self := raft.Member{Node: h.id, Disk: h.disk.id}
	behind := stored.hard.Term < m.Term
	switch {
	case m.Type == raft.VoteReply && !m.Reject && (behind || stored.hard.Vote.Node != m.To),
		m.Type == raft.Vote && (behind || stored.hard.Vote != self):
		c.fail("%s sends %s before it is durable: %+v", h, m, stored.hard)
	case m.Type == raft.AppendReply && !m.Reject && (behind || m.Index > stored.last()):
		c.fail("%s acknowledges %s, durable is %d", h, m, stored.last())
	}
}

// finish looks at the whole history once more.
func (c *checker) finish() {
	c.keepsNewest()
	for _, value := range slices.Sorted(maps.Keys(c.ackedAt)) {
		index := c.ackedAt[value]
		if index > uint64(len(c.ledger)) || c.ledger[index-1].value != value {
			c.fail("acknowledged value %d is not at %d", value, index)
			return
		}
	}
}
