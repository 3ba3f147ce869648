package partition

import "outrigger/broker/wal"

// Of what is live, nothing lies nowhere: what was not needed is not there.
const (
	live     = true
	shadowed = false
)

// relocatesMost is how many extents are pointed elsewhere while others wait for the log.
const relocatesMost = chunkLength

// relocate points the extents that were copied to their new places, and calls between after some of them.
func (l *Log) relocate(moves []moved, live bool, between func()) {
	for len(moves) > 0 {
		if moves = l.relocateNext(moves, live); len(moves) > 0 {
			between()
		}
	}
}

// relocateNext points some of the extents that were copied to their new places, and returns the other moves. One that is gone, or
// that is another batch by now, is left alone. It is done from the end from which the extents lie in their order all the time.
func (l *Log) relocateNext(moves []moved, live bool) (rest []moved) {
	n := min(len(moves), relocatesMost)
	if moves[0].to.Compare(moves[0].from) > 0 {
		rest, moves = moves[:len(moves)-n], moves[len(moves)-n:]
	} else {
		rest, moves = moves[n:], moves[:n]
	}
	l.relocateSome(moves, live)
	return rest
}

// adopted has some of the batches of a file lie in the pack that it became, and reports whether there may be more.
func (l *Log) adopted(pack wal.Pack) (more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := wal.AdoptedFile(pack.Number)
	i := l.placedLocked(wal.Position{File: from})
	return i < l.mu.settled && l.mu.index.refile(i, from, pack.Number|wal.PackBit) > 0
}

func (l *Log) relocateSome(moves []moved, live bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(moves) > 0 {
		i := l.mu.index.covering(moves[0].base)
		if i >= l.mu.settled || l.mu.index.at(i).base != moves[0].base {
			moves = moves[1:]
			continue
		}
		for ; len(moves) > 0 && i < l.mu.settled && l.mu.index.at(i).base == moves[0].base; i++ {
			if e := l.mu.index.at(i); e.at == moves[0].from && (!live || moves[0].to != nowhere) {
				e.at = moves[0].to
				l.mu.index.set(i, e)
			}
			moves = moves[1:]
		}
	}
}
