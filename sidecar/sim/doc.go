// Package sim runs whole clusters of the metadata Raft in one goroutine, from one seed, in virtual
// time: production's own node.Quorum and raft.Machine over simulated disks and a simulated network.
//
// # Data flow
//
//	seed ──> World ──┬─ nemesis: cuts, crashes, wipes, pauses, transfers, membership changes
//	                 ├─ clients: proposals of unique values, reads
//	                 ├─ network: loss, duplication, delay, replay, one-way cuts
//	                 ├─ hosts:   Quorum + disk + register; every save and send can be its last
//	                 └─ checker: after every event
//	                      v
//	                  Result: counters, the trace's hash, a Violation if there is one
//
// A run has two phases. In the first, faults come at random, each seed with its own mix. Then
// everything heals, and the cluster must elect, admit who was wiped, apply everywhere what was
// acknowledged and take new proposals within a bound of virtual time, unless more disks were lost
// than the protocol can bear; in that case it must stay silent instead.
//
// # What the checker calls wrong
//
//   - two leaders in one term; a leader without all committed entries; one that commits an entry of
//     an earlier term by counting;
//   - a voter taken from a leader that it heard within the election timeout; a stale message that
//     changes anything;
//   - a term, vote or commit index that moves backwards, also over a restart;
//   - two entries at one (index, term), or one entry with two predecessors;
//   - two committed entries at one index, which includes a cluster founded twice;
//   - two states at one applied index;
//   - a vote, a request for votes or an acknowledgement sent before what it promises is durable;
//   - an acknowledged proposal that is not at its index; a read older than what was acknowledged
//     before it; no progress after healing.
//
// Of the failure modes that this project keeps a list of, this is the test for 12 (a node back with a
// high term), 40 (a wiped disk votes), 41 (changes counted by the wrong quorum), 42 (terms and commits
// backwards, acks of old terms) and 44 (stale messages replayed); 13, 33 and 43 have scenarios of their
// own in package raft.
package sim
