// Package share decides for share groups (KIP-932): which member may use which record, and what of that is
// kept. It is pure.
//
//	leader of the data                                            share coordinator
//	ShareFetch -------> Partition.Acquire ---> what the member gets
//	acknowledgement --> Partition.Acknowledge --+--> Write ------> Keeper --> records of `__share_group_state`
//	time, session's end --> Tick, Release ------+      ^             |              |
//	                                                   +-- Written --+              v
//	a new leader <---------------- NewPartition <---- Read <------ Keeper <------ Replay
//
// A Partition is what one group makes of one partition, at the leader of that. Each record above the start
// offset is in one state, and everything below it is done:
//
//	            acquire                      accept
//	Available ----------> Acquired ---------------------------> Acknowledged
//	    ^                    | |  reject, gap, or too often
//	    +--------------------+ +---------> (Archiving) -------> Archived
//	      release, lock runs out, session ends
//
// Control batches, gaps of compaction and, for those who read committed records only, aborted transactions
// are archived without having been given to anybody.
//
// A record that is rejected, or was given too often, is Archiving first if the group has a dead-letter queue
// (KIP-1191): that is kept, then its letter is written, then it is Archived. A leader that is lost in between
// leaves a letter written twice, not none. While letters cannot be written, the start stays where it is, and no
// more records are given than LocksMax allows.
//
// A Partition goes ahead of what is kept: what was decided is its state at once, and goes out with the next
// Write; an acknowledgement is answered when its write is. One write is under way at a time, and is made
// again until it is kept or fenced, so that what the coordinator knows is always a past state of the
// Partition. That a record is acquired is not kept: whoever leads next gives it to somebody else. A leader
// whose successor has read the state is fenced by its epoch, so that what was answered is known to both.
//
// A Keeper is the kept state of one such partition, at its coordinator. It goes ahead of its log as the
// machines of groups do, and answers when its records are committed.
//
// # Records
//
// They are Kafka's own, big-endian, with compact lengths and tags in the values. A snapshot stands for all
// before it; a null one takes the state away; an update changes the snapshot whose epoch it bears. Since
// updates build on each other the topic is not compacted; what lies before the newest snapshots of all states
// is cut off instead, and Snapshots says where that is.
//
//	key    version 0 (int16) | group | topic id | partition (int32)          a snapshot
//	value  version 0 (int16) | snapshot epoch | state epoch | leader epoch (int32 each) | start (int64) |
//	       created, written (int64) | batches: first, last (int64), state (int8), deliveries (int16) |
//	       tags: 0 number of records at or above the start that are done (int32)
//	key    version 1 (int16) | as above                                       an update
//	value  version 0 (int16) | snapshot epoch | leader epoch (int32) | start, -1 if unchanged (int64) |
//	       batches, tags as above
package share
