package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"outrigger/broker/txn"
)

// manyTransactions runs something for each of n transactional ids at once, and tells how long each took.
func manyTransactions(t *testing.T, what string, n int, do func(i int) error) {
	t.Helper()
	took := make([]time.Duration, n)
	began := time.Now()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			from := time.Now()
			for {
				err := do(i)
				if again := asksAgain(err) || errors.Is(err, txn.ErrConcurrent); again {
					<-time.After(time.Millisecond) // as a client backs off
					continue
				} else if err != nil {
					t.Errorf("%s %d: %v", what, i, err)
				}
				break
			}
			took[i] = time.Since(from)
		})
	}
	all.Wait()
	slices.Sort(took)
	t.Logf("%s: %d in %v; all sent at once, p50 %v, p99 %v, worst %v", what, n, time.Since(began).Round(time.Millisecond),
		took[n/2].Round(time.Millisecond), took[n*99/100].Round(time.Millisecond), took[n-1].Round(time.Millisecond))
}

// TestTenThousandTransactionalIDs begin, add a partition, commit, and go on with the next coordinator. It
// shows what they cost.
func TestTenThousandTransactionalIDs(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand ids take seconds")
	}
	const ids = 10_000
	h := startOver(t, 64<<20)
	h.create("t", 10)
	h.coordinatesTransactions("tx-0")
	h.transactionsLoaded()
	before := heapBytes()
	who := make([]txn.Identity, ids)
	name := func(i int) string { return fmt.Sprint("tx-", i) }
	manyTransactions(t, "init", ids, func(i int) error {
		identity, err := h.txns.identify(context.Background(), name(i), func(token txn.Token, fresh int64) txn.Event {
			return txn.Init{Token: token, TimeoutMillis: 60_000, ID: -1, Epoch: -1, NewID: fresh}
		})
		if err == nil {
			who[i] = *identity
		}
		return err
	})
	transaction := func(i int) error {
		token := h.txns.token()
		_, err := h.txns.do(context.Background(), name(i), token, txn.Add{
			Token: token, ID: who[i].ID, Epoch: who[i].Epoch, Version: txn.BumpsEpochs,
			Partitions: []txn.Partition{{Topic: "t", Index: int32(i % 10)}},
		})
		return err
	}
	manyTransactions(t, "add", ids, transaction)
	manyTransactions(t, "commit", ids, func(i int) error {
		identity, err := h.txns.identify(context.Background(), name(i), func(token txn.Token, fresh int64) txn.Event {
			return txn.End{Token: token, ID: who[i].ID, Epoch: who[i].Epoch, Commit: true, Version: txn.BumpsEpochs, NewID: fresh}
		})
		if err == nil {
			who[i] = *identity
		}
		return err
	})
	manyTransactions(t, "next transaction, when the markers are written", ids, transaction)
	grown := heapBytes() - before
	t.Logf("memory: %d KiB, %d bytes per id, batches in the log's memory included", grown>>10, grown/ids)
	if grown > 100<<20 {
		t.Errorf("memory: got %d bytes, want at most 100 MiB", grown)
	}
	for index := range int32(50) {
		h.cluster.move(t, transactionsTopic, index, testNode, 1)
	}
	manyTransactions(t, "the same again, answered by the next coordinator", ids, transaction)
}

// transactionsLoaded waits until this broker coordinates all transactional ids.
func (h *harness) transactionsLoaded() {
	h.Helper()
	eventually(h, "all shards are loaded", func() bool {
		for _, s := range h.txns.table.Load().shards {
			if s == nil || !s.loaded.Load() {
				return false
			}
		}
		return true
	})
}
