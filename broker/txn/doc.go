// Package txn decides for transactional producers, and knows the records in which their state is kept.
// It is pure: a Machine, one for each transactional id, is fed events and the time, and returns what is
// to be answered, what is to be written, and which markers are to be sent.
//
//	request --> Step --+--> Effects.Replies   to the requests of these tokens, now or after the write
//	time -----> Tick --+--> Effects.Records   to the id's partition of `__transaction_state`
//	                   +--> Effects.Markers   to partition leaders, after the write; Marked comes back
//
//	            log of the partition --> Replay --> Machines, as they were after the last record
//
// A Machine goes ahead of the log: what it has decided is its state at once, although the record of it
// is not committed yet. So an answer waits for the record, and so do the markers: the decision to commit
// is durable before any partition hears of it. Crashes leave behind:
//
//	before the record of the decision   an open transaction, which the producer ends or its timeout does
//	between decision and markers        a decided one; whoever leads then sends all markers again
//	after some of the markers           the same: a marker that comes twice changes nothing
//
// The states of a transactional id, and what moves it:
//
//	         a partition           the producer, or     all partitions
//	         is added              the timeout          have markers
//	Empty -------------> Ongoing ------------> Prepare -------------> Complete
//	  ^                     ^                  Commit,                Commit,
//	  | a producer begins   |                  Abort                  Abort
//	  +---------------------|-------------------------------------------+
//	                        +-------------------------------------------+  a partition is added
//
// Epochs. A producer that begins gets a newer epoch than all before it, which fences those. Where the
// client knows transaction version 2 (KIP-890) each end of a transaction makes a new epoch too: markers
// bear it, so no batch of an ended transaction can come behind its marker. A timeout also makes one. When
// an id has no epochs left, the producer gets another producer id.
//
// # Records
//
// They are Kafka's own, big-endian; a null value takes the key away.
//
//	key    version 0 (int16) | transactional id
//	value  version 1 (int16) | producer id (int64) | epoch (int16) | timeout (int32) | state (int8) |
//	       topics with their partitions | last update (int64) | start (int64) |
//	       tags: 0 previous producer id, 1 next producer id, 2 client's transaction version
package txn
