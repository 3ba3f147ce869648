// Package cluster is the cluster image: what all nodes agree on about brokers, topics and
// partitions, and the only rules by which it changes. It is the state machine of the metadata Raft.
// It has no clock, goroutine, lock or I/O; whoever owns the state machine turns it.
//
//	any node: Command ── Encode ──> proposal ──> Raft ── committed entry ── Decode ──> Command
//	                                                                                     │
//	    Image ── Edit ──> Batch ── Apply, once per entry <── index, Command ─────────────┘
//	      ^                 │        └──> Result ──> the proposer
//	      └──── Image() ────┘ published once per batch of entries
//
// An Image is immutable and shares structure with the one before it: applying a command to an image
// of 10,000 partitions copies the placements it changes, the topics that hold them and one chunk of
// each index (see sorted), not the image. Readers on any goroutine keep an Image as long as they
// like. Changes tells two images apart in time that grows with what differs.
//
// Apply is deterministic: the same commands in the same order make images with the same Hash on
// every node, whether or not a snapshot (Encode, DecodeImage) was taken on the way. Nothing here
// walks a map to decide, and everything that has an order is kept in it: topics by name and by id,
// brokers by id, in-sync and eligible sets in the order of the replicas.
//
// # A partition
//
// A placement is always in one of two states, and Image.Check proves it:
//
//   - led: the in-sync set is not empty, every member is live in its present session, and the
//     leader is one of them;
//   - leaderless: the in-sync set is empty, Leader is NoNode, and no eligible member is live.
//
// The in-sync set thus never names the dead. When its last member is fenced, that member moves to
// the eligible set, where everything below the high watermark is known to be: the minimum of
// in-sync replicas is at least one, an in-sync set of none is below it, and the leader that was
// cannot have committed anything after it. Nobody outside the eligible set can be elected then, except
// by the word "unclean".
//
// Every change of a placement goes through one function (succeed, in placement.go), which is
// KIP-966 in four lines:
//
//	in-sync   = the new set
//	eligible  = in-sync set at or above the minimum ? none
//	          : (old in-sync + old eligible) - new in-sync - those whose log may have lost something
//	last known = in-sync set at or above the minimum ? none
//	          : (old last known + old in-sync + old eligible) - in-sync - eligible - those on another disk
//	leader    = the old one if still in sync, else the first live in-sync replica, else the first live
//	            eligible replica as the only member, else (the topic asks) any live replica, unclean
//
// It bumps the leader epoch when the leader or its session changes, to nobody included, and the
// partition epoch when anything changes. A quarantine bumps both in any case: see QuarantineReplicas.
//
// # Nobody clean is left
//
// A leaderless partition without eligible members is undecided: whoever held everything may have lost the
// end of its log (it crashed under the interval policy), or is on another disk. Its live replicas claim
// what they hold (ClaimLogs), each in its session and in the epoch that has no leader, in which no log
// grows. Once all last-known members are live and every live replica has claimed, the largest (tail epoch,
// log end) of the last-known ones leads, or of another one that is not shorter: see strongest. The election
// counts as unclean, since what all of them lost is missing. The claims are in the image, so it is decided
// by the log alone, whoever the controller is. The operator may decide
// sooner (ElectUnclean), or must, where all who ever held anything are on other disks.
//
// # Replicas move
//
// A reassignment (KIP-455) is three states of a placement, each made by one command that compares and sets
// the partition epoch, so that any controller goes on where another one was:
//
//	begin    replicas = target, then what origin has beside it; adding = target - origin
//	...      those that are added follow, and join the in-sync set as anybody does
//	finish   replicas = target, once all that are added are in sync; or
//	cancel   replicas = origin, in its own order
//
// Whoever is no replica any more leaves every set in that record, and a leader among them is replaced. It
// is refused if somebody leaves who may hold what nobody else does: all that are in sync, eligible or last
// known stay, or as many in-sync members as the minimum asks for. While replicas move, the minimum is that
// of the smaller replication factor. An added replica is not elected uncleanly: its log may be empty.
//
// Evicted names those that hold a replica no more, the committed word by which they drop its log. An
// eviction begins another leader epoch, also where the leader stays: see reshaped.
//
// # Brokers and voters
//
// A broker for which broker.draining is set gets no new replicas where others can. One that is fenced, does
// not vote and holds no replica can be taken out (UnregisterBroker). Who shall vote in the metadata Raft is
// in the image as soon as somebody has said so (SetVoters); its leader brings the membership there.
//
// # Sessions
//
// A registration names the session that it replaces, by compare-and-set: a copy that comes after a later
// run of the node has registered changes nothing. (A registers and dies before an answer; B, the next
// run, registers; the copy of A's registration that waited on a line would end B, which is alive.)
// Registering a session ends the one before it: it leaves every in-sync set and all its leaderships
// end, in the same record. With the same disk, and if nothing that it acknowledged can be missing
// (it always synced first, or it stopped cleanly), the node is eligible under its new session
// wherever it was in sync or eligible, as far as the rule above leaves anybody eligible. The last
// retiredMax sessions of a node are remembered, and a late copy of their registration is Stale.
//
// # Tombstones
//
// A node removes a partition's data only when Deleted says that its topic was deleted by a committed
// command, never because the image lacks it. Tombstones are bounded: the TombstonesMax latest are
// kept, and a node that was away for more deletions than that keeps orphaned data until a person
// removes it. A creation that arrives again after the deletion is Stale and brings nothing back.
package cluster
