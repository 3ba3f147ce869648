package partition

import (
	"cmp"
	"slices"
	"sort"

	"outrigger/broker/topic"
)

// AbortedTransaction is a transaction whose records a reader of committed ones is to leave out: those
// of the producer from First to the marker at Last.
type AbortedTransaction struct {
	ProducerID  int64
	First, Last topic.Offset
	// stable: no transaction that ends later began below it.
	stable topic.Offset
}

// abortedMax is how many aborted transactions a partition remembers, 32 MiB of them. None of those that
// the log holds can be forgotten, or their records would be read as committed: a full partition takes
// no new transaction until its log start moves.
const abortedMax = 1 << 20

// ReadCommitted is Read for a reader of decided transactions: it ends at the last stable offset, and
// the result tells which transactions to leave out, by first offset.
func (l *Log) ReadCommitted(from topic.Offset, bytesMax int, minOne bool) (ReadResult, error) {
	return l.readOwned(Query{From: from, BytesMax: bytesMax, MinOne: minOne, Decided: true})
}

// within lists the aborted transactions with batches at or above from and below until, by first offset.
func (t *transactionTable) within(from, until topic.Offset) []AbortedTransaction {
	var found []AbortedTransaction
	at := sort.Search(len(t.aborted), func(i int) bool { return t.aborted[i].Last >= from })
	for ; at < len(t.aborted); at++ {
		one := t.aborted[at]
		if one.First < until {
			found = append(found, one)
		}
		if one.stable >= until {
			break // so did all that ended later
		}
	}
	slices.SortFunc(found, func(a, b AbortedTransaction) int { return cmp.Compare(a.First, b.First) })
	return found
}

// drop forgets the aborted transactions that lie wholly below start.
func (t *transactionTable) drop(start topic.Offset) {
	gone := sort.Search(len(t.aborted), func(i int) bool { return t.aborted[i].Last >= start })
	t.aborted = slices.Delete(t.aborted, 0, gone)
}

// dropBegun forgets those too of which something is left: it is for StartsForgetAborted.
func (t *transactionTable) dropBegun(start topic.Offset) {
	t.aborted = slices.DeleteFunc(t.aborted, func(a AbortedTransaction) bool { return a.First < start })
}
