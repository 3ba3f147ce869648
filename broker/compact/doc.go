// Package compact decides which records of a compacted log stay, and rewrites its batches. It is pure:
// batches in, batches out; no file, clock or goroutine. Whoever owns the files calls it in passes:
//
//	pass := NewPass(config)
//	batches from where the last pass ended ──> Learn, until it is full or the limit is reached;
//	                                           Exhausted, if the log ends before
//	batches from the log start up to pass.End() ──> Clean, then Flush ──> what is written in their place
//	... install that durably; then another pass, from pass.End() on, until the limit is reached
//
// Learn remembers, of each key, the offset of its newest record, in a map of bounded size: keys are hashed to
// 128 bits. A map that is full ends the pass early, within a batch if need be, so any bound makes progress,
// and what lies behind its end is not touched by it.
//
// # What stays (KIP-58, KIP-98, KIP-534)
//
//   - of each key the newest record that the pass knows of, under its own offset;
//   - a tombstone, which is a record without a value, as long as it is the newest, until its batch's delete
//     horizon has passed. The first pass that keeps one sets the horizon: Now + DeleteRetention. So whoever
//     reads the whole log within that time learns of the deletion. So must a replica that was away: while
//     one is, Hold keeps all of them;
//   - nothing of an aborted transaction, and nothing without a key;
//   - the marker of a transaction as long as anything of it is there. Then it gets a horizon as tombstones
//     do, for somebody may be reading the transaction's records, and goes when that has passed;
//   - of a batch that tells the state of a producer, its newest or its newest marker, at least the empty
//     batch: the state is derived from it.
//
// Where a batch is dropped, an empty one without a producer stands for its offsets, and for those of its
// dropped neighbours of the same leader epoch: the log has no gaps, so it is replicated, replayed and cut as
// any other. (Kafka leaves gaps.) Clients pass over empty batches.
//
// Base offsets, last offset deltas, producer ids, epochs and sequences stay as they are. A batch of which
// nothing is dropped is returned as it is, byte for byte.
//
// What may be compacted is the caller's to say: below the last stable offset, outside the active part, and
// old enough (min.compaction.lag.ms). Everything learned must be decided: neither Learn nor Clean may see a
// batch of a transaction without an end.
package compact
