// Package partition keeps the partition logs of a node: the only bed of the river. The broker
// appends and waits, the sidecar replicates and commits, and nobody else moves data.
//
//	broker ── Append ──┐                        ┌── SetHighWatermark ── sidecar
//	                   v                        v
//	        ┌──────────────────── Log ────────────────────┐
//	        │ start        high watermark   durable   end │ ── AwaitCommit, AwaitDurable,
//	        │   ├────────────────┼──────────────┼───────┤ │    AwaitHighWatermark ──> broker
//	        │ index: one extent per batch                 │
//	        │ tail: the newest batches, by reference      │ ── Read, ReadTail
//	        │ epochs, producers, transactions: derived    │
//	        └──────────────────────┬──────────────────────┘
//	               same order      v      ^ Sealed, Durable
//	                        node WAL (package wal)
//	                               │
//	                               └── Observer ──> sidecar: ship what is sealed, ack what is durable
//
// What memory does not hold comes from the WAL in one of two ways: Read and Scan return memory that may be
// kept; a Reader passes on what the WAL lends until the answer is written, and has it read ahead of who
// reads on (reader.go).
//
// A Log has one short mutex, never held over I/O, but that the kernel may have to bring back a page of what is known of
// old batches (spill.go), and never while a callback runs. What a batch goes
// through: room below the bound on unacknowledged bytes, then space in the WAL, then the mutex: the
// role, the lease, the gates and the producer's sequence are judged once more, the offset is
// assigned and the record handed to the WAL before the mutex is let go. So the order of the WAL is
// the order of offsets, and a refused batch leaves neither a hole nor a reservation behind.
//
// Everything in memory is derived from the records of the WAL and is rebuilt from them at Open, on top of
// what the catalog holds of those that were drained (see drain.go):
//
//	Data           the batch: index, epochs, producers, log end
//	Truncate       cut everything from this offset on
//	LogStart       nothing below this offset is part of the log any more
//	Reset          the whole log was replaced by an empty one at this offset
//	HighWatermark  a checkpoint of the high watermark, capped at the log end
//	Remove         the partition is gone; records after it belong to a later incarnation
//
// Offsets of a Log, each an exclusive end: start <= high watermark <= end and durable <= end. The
// high watermark of a follower may be above its own durable end for a moment; what it has not yet
// synced it serves from memory.
package partition
