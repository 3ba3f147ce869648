package raft

import (
	"bytes"
	"cmp"
	"fmt"
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
	// Demote makes a learner of a voter.
	Demote
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
	case Demote:
		return "demote"
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

// Apply makes the next membership; ErrBadChange if the change does not fit.
func (s Membership) Apply(c Change) (Membership, error) {
	owner, taken := s.ByNode(c.Member.Node)
	next := Membership{Voters: slices.Clone(s.Voters), Learners: slices.Clone(s.Learners)}
	bad := func(why string) (Membership, error) {
		return s, fmt.Errorf("%w: %s %s: %s", ErrBadChange, c.Kind, c.Member, why)
	}
	switch c.Kind {
	case AddLearner:
		if taken {
			return bad("the node id belongs to " + owner.String())
		}
		next.Learners = insertMember(next.Learners, c.Member)
	case Promote:
		if !s.IsLearner(c.Member) {
			return bad("it is no learner")
		}
		next.Learners = removeMember(next.Learners, c.Member)
		next.Voters = insertMember(next.Voters, c.Member)
	case Remove:
		switch {
		case owner != c.Member || !taken:
			return bad("it is no member")
		case s.IsVoter(c.Member) && len(s.Voters) == 1:
			return bad("it is the last voter")
		}
		next.Learners = removeMember(next.Learners, c.Member)
		next.Voters = removeMember(next.Voters, c.Member)
	case Demote:
		switch {
		case !s.IsVoter(c.Member):
			return bad("it is no voter")
		case len(s.Voters) == 1:
			return bad("it is the last voter")
		}
		next.Voters = removeMember(next.Voters, c.Member)
		next.Learners = insertMember(next.Learners, c.Member)
	default:
		return bad("unknown change")
	}
	return next, nil
}

func insertMember(list []Member, m Member) []Member {
	at, _ := slices.BinarySearchFunc(list, m, compareMembers)
	return slices.Insert(list, at, m)
}

func removeMember(list []Member, m Member) []Member {
	return slices.DeleteFunc(list, func(o Member) bool { return o == m })
}

func compareMembers(a, b Member) int {
	if c := cmp.Compare(a.Node, b.Node); c != 0 {
		return c
	}
	return bytes.Compare(a.Disk[:], b.Disk[:])
}

// placedMembership is a membership and the entry that brought it.
type placedMembership struct {
	index uint64
	Membership
}

// memberships is the history that a truncation can fall back on: the last one is in force. An entry
// counts from its append on, since a majority that waited for its commit would be counted by two
// rules at once.
type memberships []placedMembership

func (h memberships) current() Membership { return h[len(h)-1].Membership }

// index is the entry that brought the current membership.
func (h memberships) index() uint64 { return h[len(h)-1].index }

// at is the membership in force at an entry.
func (h memberships) at(index uint64) Membership {
	for i := len(h) - 1; i > 0; i-- {
		if h[i].index <= index {
			return h[i].Membership
		}
	}
	return h[0].Membership
}

// truncateFrom takes back what the entries at and behind index brought.
func (h memberships) truncateFrom(index uint64) memberships {
	for len(h) > 1 && h[len(h)-1].index >= index {
		h = h[:len(h)-1]
	}
	return h
}

// compact forgets what lies before the membership in force at index.
func (h memberships) compact(index uint64) memberships {
	for len(h) > 1 && h[1].index <= index {
		h = h[1:]
	}
	return h
}
