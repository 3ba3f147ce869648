// Package storage tests the three stores of a node together: the partition logs over their
// write-ahead log, and the metadata store over its Pebble. Each has a file system that loses what was
// not synced; both lose it at one instant, as a machine does that loses power.
//
//	random operations ──> node ──> partition.Store, by hand ──> waltest.FS    ┐ one instant,
//	        │               └────> raftstore.Store ───────────> vfs.MemFS     ┘ at operation k of either
//	        v                                                        │
//	      model: lists of records, versions of the metadata <── compare after every start
//
// The model is dumb: what was handed to the write-ahead log, in order, and every version of the
// metadata since the last synced one. What is found after a crash must be what some front of the list
// makes, no shorter than what was promised, and one of the versions. Between the stores the rule is
// that of the node: an epoch is granted, or a partition removed, only when the metadata that says so is
// on stable storage.
//
// Beside crashes there are kills, which lose nothing; errors of I/O, which must stop the store; a full
// disk, which must only hold it up; and writes that are lost or misdirected and bits that flip, which
// must be found, and named, and never be read as data.
package storage
