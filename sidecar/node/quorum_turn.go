package node

import (
	"fmt"

	"outrigger/sidecar/raft"
)

// Turn carries out the effects of everything fed since the last Turn. What it returns is final.
//
// Where a crash can fall: before Save, peers have seen at most what a leader ships before its own
// sync, which promises nothing. After Save and before the answers leave, the node knows what it
// would have promised, and is asked again. After the answers, promises are kept by what Save wrote.
func (q *Quorum) Turn() error {
	if q.failed != nil {
		return q.failed
	}
	if err := q.turn(); err != nil {
		q.failed = err
		q.failWaiting(func(uint64) bool { return true })
		return err
	}
	return nil
}

func (q *Quorum) turn() error {
	for {
		r := q.machine.Ready()
		if r.Empty() {
			break
		}
		if err := q.carryOut(r); err != nil {
			return err
		}
	}
	q.failLost()
	return q.snapshotIfDue()
}

// carryOut follows the order that raft.Ready lays down.
func (q *Quorum) carryOut(r raft.Ready) error {
	q.keepEvents(r.Events)
	q.sendAll(r.Messages)
	if !r.Batch.Empty() {
		if err := q.store.Save(r.Batch); err != nil {
			return fmt.Errorf("save raft batch: %w", err)
		}
	}
	q.machine.Persisted()
	q.sendAll(r.AfterPersist)
	for _, c := range r.ChunkReads {
		q.serveChunk(c)
	}
	q.confirm(r.Reads)
	q.apply(r.Committed)
	if r.Install != nil {
		return q.install(*r.Install)
	}
	return nil
}

func (q *Quorum) sendAll(messages []raft.Message) {
	for _, m := range messages {
		q.sender.Send(m.To, m)
	}
}

// serveChunk answers a follower that pulls the snapshot. A snapshot that cannot be read is not
// served; the follower asks again or is offered another.
func (q *Quorum) serveChunk(c raft.ChunkRead) {
	data, err := q.store.ReadSnapshot(c.Index, false, c.Reply.Offset, c.Length)
	c.Reply.Data, c.Reply.Reject = data, err != nil || len(data) == 0
	q.sender.Send(c.Reply.To, c.Reply)
}

// apply hands committed entries to the state machine and the results to whoever proposed them. A
// proposal is known by index and term: what stands at its index under another term is not it.
func (q *Quorum) apply(entries []raft.Entry) {
	for _, e := range entries {
		if e.Index != q.applied+1 {
			panic(fmt.Sprintf("node: apply entry %d behind %d", e.Index, q.applied))
		}
		var result []byte
		if e.Kind == raft.EntryCommand {
			result = q.state.Apply(e.Index, e.Data)
		}
		q.applied = e.Index
		for len(q.proposals) > 0 && q.proposals[0].index <= e.Index {
			p := q.proposals[0]
			q.proposals = q.proposals[1:]
			if p.index == e.Index && p.term == e.Term {
				p.done(result, nil)
			} else {
				p.done(nil, ErrOutcomeUnknown)
			}
		}
	}
	q.completeReads()
}

// confirm notes which reads a majority has confirmed.
func (q *Quorum) confirm(confirmed []raft.Read) {
	for _, c := range confirmed {
		for i := range q.reads {
			if q.reads[i].id == c.ID {
				q.reads[i].confirmed, q.reads[i].index = true, c.Index
			}
		}
	}
}

// completeReads answers the confirmed reads that have been applied.
func (q *Quorum) completeReads() {
	waiting := q.reads[:0]
	for _, r := range q.reads {
		if r.confirmed && r.index <= q.applied {
			r.done(q.applied, nil)
		} else {
			waiting = append(waiting, r)
		}
	}
	clear(q.reads[len(waiting):])
	q.reads = waiting
}

// failLost ends what waits under a leadership that is over.
func (q *Quorum) failLost() {
	b := q.machine.Brief()
	lost := func(term uint64) bool { return b.Role != raft.Leader || b.Term != term }
	// What waits is in the order of its terms, so the first tells whether any is lost.
	if len(q.proposals) > 0 && lost(q.proposals[0].term) || len(q.reads) > 0 && lost(q.reads[0].term) {
		q.failWaiting(lost)
	}
}

// failWaiting ends the proposals and unconfirmed reads of the terms that are lost.
func (q *Quorum) failWaiting(lost func(term uint64) bool) {
	var keptProposals []proposal
	for _, p := range q.proposals {
		if lost(p.term) {
			p.done(nil, ErrOutcomeUnknown)
		} else {
			keptProposals = append(keptProposals, p)
		}
	}
	var keptReads []read
	for _, r := range q.reads {
		switch {
		case !lost(r.term):
			keptReads = append(keptReads, r)
		case q.failed != nil:
			r.done(0, ErrStopped)
		default:
			r.done(0, ErrNotLeader{Leader: q.machine.Brief().Leader})
		}
	}
	q.proposals, q.reads = keptProposals, keptReads
}
