package raft

import (
	"fmt"
	"slices"
)

// memoryLog is the held part of the replicated log: everything behind the compaction point. All of
// it is in memory; the owner bounds it by taking snapshots.
type memoryLog struct {
	// base is the entry before the first held one; (0, 0) is the start of the log.
	base     uint64
	baseTerm uint64
	entries  []Entry
	bytes    int64
	// stable is the last entry that is durable here.
	stable uint64
	// truncated is the lowest index whose stored entry was cut since the last Ready, or 0.
	truncated uint64
}

// newMemoryLog takes over what a store gave back. When a snapshot covers the first entries and the
// term before them is unknown, the first entry itself becomes the base.
func newMemoryLog(snapshot Snapshot, entries []Entry) (memoryLog, error) {
	l := memoryLog{base: snapshot.Index, baseTerm: snapshot.Term}
	if len(entries) > 0 {
		first := entries[0]
		switch {
		case first.Index == 0 || first.Index > snapshot.Index+1:
			return l, fmt.Errorf("%w: log begins at %d behind snapshot %d",
				ErrDamaged, first.Index, snapshot.Index)
		case first.Index == 1:
			l.base, l.baseTerm = 0, 0
		case first.Index <= snapshot.Index:
			l.base, l.baseTerm = first.Index, first.Term
			entries = entries[1:]
		}
	}
	for i, e := range entries {
		if e.Index != l.base+uint64(i)+1 || e.Term < l.lastTerm() {
			return l, fmt.Errorf("%w: entry %d of term %d follows entry %d of term %d",
				ErrDamaged, e.Index, e.Term, l.last(), l.lastTerm())
		}
		l.entries = append(l.entries, e)
		l.bytes += e.Size()
	}
	l.stable = l.last()
	if term, ok := l.term(snapshot.Index); !ok || term != snapshot.Term {
		return l, fmt.Errorf("%w: log %d..%d does not hold the snapshot's last entry %d of term %d",
			ErrDamaged, l.base, l.last(), snapshot.Index, snapshot.Term)
	}
	return l, nil
}

func (l *memoryLog) last() uint64 { return l.base + uint64(len(l.entries)) }

func (l *memoryLog) lastTerm() uint64 {
	if len(l.entries) == 0 {
		return l.baseTerm
	}
	return l.entries[len(l.entries)-1].Term
}

// term is the term of the entry at index; not ok if the log does not reach there.
func (l *memoryLog) term(index uint64) (term uint64, ok bool) {
	switch {
	case index == l.base:
		return l.baseTerm, true
	case index < l.base || index > l.last():
		return 0, false
	}
	return l.entries[index-l.base-1].Term, true
}

// at is a held entry.
func (l *memoryLog) at(index uint64) Entry { return l.entries[index-l.base-1] }

// matches reports whether the log holds an entry of that term at index.
func (l *memoryLog) matches(index, term uint64) bool {
	own, ok := l.term(index)
	return ok && own == term
}

// slice is the held entries from..to (inclusive), cut to bytesMax but never to nothing. The result
// aliases the log, whose entries are never overwritten in place.
func (l *memoryLog) slice(from, to uint64, bytesMax int64) []Entry {
	if from > to {
		return nil
	}
	held := l.entries[from-l.base-1 : to-l.base]
	var bytes int64
	for i, e := range held {
		bytes += e.Size()
		if bytes > bytesMax && i > 0 {
			return held[:i:i]
		}
	}
	return held[:len(held):len(held)]
}

// append adds entries behind the last one.
func (l *memoryLog) append(entries ...Entry) {
	for _, e := range entries {
		if e.Index != l.last()+1 {
			panic(fmt.Sprintf("raft: append entry %d behind %d", e.Index, l.last()))
		}
		l.entries = append(l.entries, e)
		l.bytes += e.Size()
	}
}

// truncateFrom cuts the entry at index and all behind it. What is left is clipped, so that a later
// append cannot write into slices that messages still hold.
func (l *memoryLog) truncateFrom(index uint64) {
	keep := index - l.base - 1
	for _, e := range l.entries[keep:] {
		l.bytes -= e.Size()
	}
	l.entries = slices.Clip(l.entries[:keep])
	if index <= l.stable {
		l.stable = index - 1
		if l.truncated == 0 || index < l.truncated {
			l.truncated = index
		}
	}
}

// compact drops the entries up to index.
func (l *memoryLog) compact(index uint64) {
	if index <= l.base {
		return
	}
	term, ok := l.term(index)
	if !ok {
		panic(fmt.Sprintf("raft: compact to %d beyond %d", index, l.last()))
	}
	for _, e := range l.entries[:index-l.base] {
		l.bytes -= e.Size()
	}
	l.entries = slices.Clone(l.entries[index-l.base:])
	l.base, l.baseTerm = index, term
}

// reset empties the log behind an installed snapshot.
func (l *memoryLog) reset(index, term uint64) {
	*l = memoryLog{base: index, baseTerm: term, stable: index}
}

// unstable is what the next batch must hold.
func (l *memoryLog) unstable() []Entry { return l.slice(l.stable+1, l.last(), 1<<62) }

// lookBack is the last index at or below index whose term is at most term: the skip that lets two
// diverged logs find their common part in one round per term instead of one per entry.
func (l *memoryLog) lookBack(index, term uint64) (uint64, uint64) {
	for index > l.base {
		if own, ok := l.term(index); ok && own <= term {
			return index, own
		}
		index--
	}
	if index == l.base {
		return index, l.baseTerm
	}
	return index, 0
}
