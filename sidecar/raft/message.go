package raft

import (
	"fmt"

	"outrigger/broker/topic"
)

// Type says what a message asks or answers. Every request gets one reply or none, and a reply
// carries its request's ID.
type Type uint8

// The types of messages. A reply's number is its request's plus one.
const (
	// Hello is the question of a node without a leader to every configured voter: who are you, do
	// you hold a log, who leads? The leader reads it as a request to join.
	Hello Type = iota + 1
	HelloReply
	// PreVote asks whether a vote would be granted; nothing changes at either side.
	PreVote
	PreVoteReply
	// Vote asks for a vote in Term.
	Vote
	VoteReply
	// Append replicates entries, moves the commit index and is the leader's heartbeat.
	Append
	AppendReply
	// Offer tells a follower that what it lacks is only in a snapshot; the follower pulls it.
	Offer
	OfferReply
	// ChunkRequest pulls a piece of an offered snapshot.
	ChunkRequest
	ChunkReply
	// TimeoutNow tells a caught-up voter to campaign at once. It has no reply.
	TimeoutNow
)

var typeNames = [...]string{"?", "hello", "hello-reply", "pre-vote", "pre-vote-reply", "vote",
	"vote-reply", "append", "append-reply", "offer", "offer-reply", "chunk-request", "chunk-reply",
	"timeout-now"}

// String is the type's name in logs and traces.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type-%d", uint8(t))
}

// IsReply reports whether the message answers a request.
func (t Type) IsReply() bool { return t != TimeoutNow && t%2 == 0 }

// HasReply reports whether a request of this type may be answered.
func (t Type) HasReply() bool { return t != TimeoutNow && t%2 == 1 }

// Envelope is what every message carries.
type Envelope struct {
	Type Type
	// ID is the transport's: opaque, 0 when a request leaves the machine, echoed in the reply.
	ID uint64
	// Cluster is the sender's cluster id, empty while it has none. A reply of a node that has none
	// repeats its request's.
	Cluster string
	// From, Disk and Session identify the sender.
	From    topic.NodeID
	Disk    topic.DiskID
	Session topic.Session
	// To and ToDisk identify the receiver. ToDisk is zero only in a Hello, whose sender does not
	// know it. ToSession is set in replies: a process never reads an answer to its predecessor.
	To        topic.NodeID
	ToDisk    topic.DiskID
	ToSession topic.Session
	// Term is the sender's term.
	Term uint64
}

// Sender is the identity behind the message.
func (e Envelope) Sender() Member { return Member{Node: e.From, Disk: e.Disk} }

// Message is one message between two nodes. Fields that its type does not use are zero.
type Message struct {
	Envelope

	// Index and LogTerm: Append: the entry before Entries. PreVote, Vote: the candidate's last
	// entry. AppendReply, OfferReply: Index is the last entry that is durable and equals the
	// leader's; with Reject it is the Append's Index, and (Hint, LogTerm) tell where and under
	// which term at most the leader should look next. ChunkRequest, ChunkReply: the snapshot's.
	Index   uint64
	LogTerm uint64
	Hint    uint64
	// Entries: Append.
	Entries []Entry
	// Commit: Append: the leader's commit index. ChunkRequest: the follower's.
	Commit uint64
	// Round: Append, Offer and their replies: the read round that an answer confirms. Hello and its
	// reply: the asker's counter. PreVote, its reply: the term that is asked for.
	Round uint64
	// Reject: any reply: the answer is no.
	Reject bool
	// Transfer: Vote: the leader itself told the candidate to campaign.
	Transfer bool
	// Founding: Vote: this is the founding election, over Membership.
	Founding bool
	// Blank: Hello, HelloReply: the sender holds no log.
	Blank bool
	// Leader: HelloReply: whom the sender follows, or NoNode.
	Leader topic.NodeID
	// Voters: Hello, HelloReply: the sender's configured voters, sorted.
	Voters []topic.NodeID
	// Membership: a founding Vote.
	Membership Membership
	// Snapshot: Offer.
	Snapshot Snapshot
	// Offset, Data: ChunkRequest, ChunkReply.
	Offset uint64
	Data   []byte
}

// String is for traces.
func (m Message) String() string {
	return fmt.Sprintf("%s %d->%d term %d index %d/%d entries %d commit %d reject %t",
		m.Type, m.From, m.To, m.Term, m.Index, m.LogTerm, len(m.Entries), m.Commit, m.Reject)
}
