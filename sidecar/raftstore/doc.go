// Package raftstore owns the metadata Pebble: the Raft log, the hard state and the image snapshots
// of one node, in one instance. It satisfies the Store port of package node.
//
// # Data flow
//
//	node.Quorum ── Save(batch) ──────────> one Pebble batch, synced when the batch says so
//	            ── SaveSnapshot(...) ────> chunks into a new slot, then one synced batch that names it
//	            ── InstallSnapshot(...) ─> one synced batch: the staged slot becomes the current one
//	            <─ Load() ───────────────  everything, once, at start
//
// # Keys
//
// The first byte is the kind; integers are big-endian, so that keys sort by them.
//
//	+-----+-----------------------+  'f'                      format: "outrigger raft store 1"
//	| 'f' |                       |  'h'                      hard state (raft.AppendHardState)
//	+-----+-----------+-----------+  's'                      current snapshot: slot 8, description
//	| 'e' | index 8   |           |  'g'                      staged snapshot: slot 8, description
//	+-----+-----------+-----------+  'e' index                log entry (raft.AppendEntry)
//	| 'c' | slot 8    | offset 8  |  'c' slot offset          a piece of a snapshot's data
//	+-----+-----------+-----------+
//
// A snapshot's description is raft.AppendSnapshotInfo. Its data lives in a slot: installing a pulled
// snapshot only makes the staged slot the current one. A slot that neither record names is rubbish
// of a crash, and is removed at the next start.
//
// What is not synced rides on the write-ahead log of what is: a synced batch makes every earlier one
// durable, so a batch is never found without those before it. And every batch says in the log which one
// was synced last, so that a bad place before it is damage at the next start and no torn end.
package raftstore
