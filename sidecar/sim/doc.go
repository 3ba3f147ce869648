// Package sim runs whole clusters in one goroutine, from one seed, in virtual time. What decides is
// production's own code: raft, cluster, election, replica and node of the sidecar, and the broker's
// partition logs and write-ahead log; what is simulated are the network, the disks, the clocks, the
// processes and the clients.
//
// # Data flow
//
//	seed ──> World ──┬─ nemesis: cuts, crashes, power losses, wipes, pauses, rot, full and slow disks,
//	                 │           transfers, membership changes
//	                 ├─ clients: producers (idempotent or not, acks=1 or all, in transactions on compacted
//	                 │           topics), readers, admins, who delete records too
//	                 ├─ network: loss, duplication, delay, replay, one-way cuts, every subject by itself
//	                 ├─ hosts:   Quorum + disk, and broker: every part that is a goroutine of production
//	                 │           has its turn a little after it was woken, in any order
//	                 └─ checker: after every event
//	                      v
//	                  Result: counters, the trace's hash, a Violation if there is one
//
// A seed draws its own mix of faults, so that no run has everything at once. Three quarters of the
// seeds play whole nodes; the rest plays the metadata Raft alone (a register in place of the cluster
// image), which reaches its deeper states sooner. Times are production's divided by fifteen: a leader
// timeout is 80 ms, a message may be late by 4 s, which is fifty timeouts.
//
// Half of the seeds with brokers let several ticks pass together while a node's parts call themselves
// calm, as production does to sleep.
//
// A run has two phases. In the first, faults come at random. Then everything heals, but in half of the
// runs with brokers a minority of the hosts stays away for good; the rest must elect, admit who was
// wiped or damaged, bring every replica into its in-sync set, take writes on every partition, come to
// rest with equal logs, and then suspect nobody for some timeouts.
//
// # Faults and their bounds
//
//	network   loss 0 to 30 %, duplication and replay of old messages to 50 % of all that is sent,
//	          delay to fifty leader timeouts, order kept per subject or not at all; one host or side
//	          cut off, one way or both, every link by itself (all partial meshes), or some hosts one
//	          after the other and joined again in another order
//	process   killed at any write, sync, rename or send; stopped for up to twenty leader timeouts;
//	          clocks apart by 5 % either way
//	power     unsynced sectors of 512 bytes survive at random, on all files of a host in one instant;
//	          one host or all at once
//	disk      I/O errors on write and sync, no space, slow syncs; lost whole; a bit flipped, a block
//	          of another place, a block of before, found at a start, by a read or by the scrub. Lost and
//	          rotten disks are min.insync-1 at most, until every partition has all its replicas in sync
//	          again. With a minimum of one it is one disk, not that of the only member in sync, and
//	          nothing rots
//
// Topics have minimums of 1, 2 and 3. A quarter of the seeds with brokers syncs now and then only
// (log.flush.policy=interval): killing processes may take nothing then, and a loss of power, which takes
// what was not synced, counts as a lost disk, and comes only where no topic of several replicas has a minimum of 1.
// Their disks neither fail nor rot.
//
// Rot strikes what some later group proves to have been synced. Nearer to the end of a log nobody can
// tell it from a tail that a crash has torn.
//
// # What the checker calls wrong
//
// Of the metadata Raft:
//
//   - two leaders in one term; a leader without all committed entries; one that commits an entry of
//     an earlier term by counting;
//   - a voter taken from a leader that it heard within the election timeout; a stale message that
//     changes anything;
//   - a term, vote or commit index that moves backwards, also over a restart;
//   - two entries at one (index, term), or one entry with two predecessors;
//   - two committed entries at one index, which includes a cluster founded twice;
//   - two states, or two cluster images, at one applied index; an image that contradicts itself or the
//     one before it;
//   - a vote, a request for votes or an acknowledgement sent before what it promises is durable;
//   - an acknowledged proposal that is not at its index; a read older than what was acknowledged
//     before it.
//
// Of the data:
//
//   - two values at one offset, or one value at two; two epochs at one offset below a high watermark;
//   - a high watermark that falls, or that the in-sync set does not hold on its disks;
//   - somebody in sync or eligible without all that was promised to producers with acks=all; a leader
//     without it, be it elected uncleanly by the longest log, or one that calls itself ready before it knows it to be committed;
//   - an acknowledged record that is elsewhere, a refused one that is read, a batch of an idempotent
//     producer refused for its sequence;
//   - a log that starts above what anybody asked to delete; somebody in sync or eligible, or a leader, that
//     starts below what DeleteRecords was told to be deleted; replicas that start apart once at rest;
//   - of a compacted topic, in half of which clients delete records too: a log without a committed record that no
//     committed one in it supersedes, without a tombstone while it has what that deletes, or without a marker while it has
//     a record of its transaction; readers of committed records who are not told to leave out an aborted one, or are to
//     leave out another;
//   - a reader that is given a hole, or told that what it has read does not exist;
//   - a follower that acknowledges what it has not synced; a restart without what was synced;
//   - a frame for another session that changes anything; a contradiction between two logs.
//
// And of both: damage that was found and not filled again, no progress after healing, and suspicion of anybody in a cluster at rest.
//
// Mutants proves that all this can fail: known bugs, put in one at a time, are caught.
//
// Of the failure modes that this project keeps a list of, this is the test for 8, 10 and 11 (nobody is
// suspected at rest, a lost trigger comes again), 12 and 13 (high terms, partial meshes), 18, 20 to 33
// (the data), 35 and 36 (rot is not a torn tail), 39, 40, 41, 42 and 44 (stale messages replayed), and
// 49 (idempotence over failovers).
package sim
