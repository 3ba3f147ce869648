package raft

import (
	"slices"
	"strconv"
	"strings"

	"outrigger/broker/topic"
)

// Membership is who votes and who is only replicated to. It is a value: a change makes a new one.
// Both lists are sorted by node, and a node is in at most one of them, once.
type Membership struct {
	Voters   []Member
	Learners []Member
}

// ChangeKind is one of the changes of a membership.
type ChangeKind uint8

// The changes. Each moves at most one voter, so that any majority of the old and any majority of
// the new membership share a voter.
const (
	// AddLearner adds a member that does not vote.
	AddLearner ChangeKind = iota + 1
	// Promote makes a voter of a learner.
	Promote
	// Remove takes a voter or learner out.
	Remove
)

// String is the change's verb.
func (k ChangeKind) String() string {
	switch k {
	case AddLearner:
		return "add learner"
	case Promote:
		return "promote"
	case Remove:
		return "remove"
	}
	return "?"
}

// Change is one step from a membership to the next.
type Change struct {
	Kind   ChangeKind
	Member Member
}

// IsVoter reports whether m votes.
func (s Membership) IsVoter(m Member) bool { return slices.Contains(s.Voters, m) }

// IsLearner reports whether m is replicated to without a vote.
func (s Membership) IsLearner(m Member) bool { return slices.Contains(s.Learners, m) }

// Contains reports whether m belongs to the membership, disk and all.
func (s Membership) Contains(m Member) bool { return s.IsVoter(m) || s.IsLearner(m) }

// ByNode finds the member of that node id, whatever its disk.
func (s Membership) ByNode(node topic.NodeID) (Member, bool) {
	for _, list := range [][]Member{s.Voters, s.Learners} {
		for _, member := range list {
			if member.Node == node {
				return member, true
			}
		}
	}
	return Member{}, false
}

// Quorum is the number of voters that makes a majority.
func (s Membership) Quorum() int { return len(s.Voters)/2 + 1 }

// IsZero reports whether nobody votes: the node knows of no cluster yet.
func (s Membership) IsZero() bool { return len(s.Voters) == 0 }

// Equal reports whether both hold the same members in the same parts.
func (s Membership) Equal(o Membership) bool {
	return slices.Equal(s.Voters, o.Voters) && slices.Equal(s.Learners, o.Learners)
}

// String lists voters and learners.
func (s Membership) String() string {
	return "voters " + memberList(s.Voters) + " learners " + memberList(s.Learners)
}

func memberList(members []Member) string {
	names := make([]string, len(members))
	for i, member := range members {
		names[i] = member.String()
	}
	return strconv.Itoa(len(members)) + " [" + strings.Join(names, " ") + "]"
}
