package raft

import (
	"fmt"

	"outrigger/broker/topic"
)

// EventKind names what happened.
type EventKind uint8

// The kinds of events; an operator would mention the ones above MessageRefused.
const (
	// RoleChanged: this node became follower, candidate or leader.
	RoleChanged EventKind = iota + 1
	// LeaderChanged: this node follows another leader.
	LeaderChanged
	// MembershipChanged: another membership is in force at this node.
	MembershipChanged
	// FoundingWaits: a blank voter says for whom it waits.
	FoundingWaits
	// Founded: this node won the founding election.
	Founded
	// JoinWaits: a node without a log waits to be admitted.
	JoinWaits
	// DuplicateNode: a node asks to join under a node id whose owner is alive.
	DuplicateNode
	// TransferEnded: a transfer of leadership was given up.
	TransferEnded
	// SnapshotOffered, SnapshotInstalled, SnapshotDamaged: stations of a pulled snapshot.
	SnapshotOffered
	SnapshotInstalled
	SnapshotDamaged
	// MessageRefused: a message of another cluster, disk or session.
	MessageRefused
)

// Event is something that an operator or a test may want to know.
type Event struct {
	Kind EventKind
	Term uint64
	// Node is the other node concerned, or NoNode.
	Node topic.NodeID
	// Role is the new role in RoleChanged.
	Role Role
	// Detail says the rest in words.
	Detail string
}

var eventNames = [...]string{"?", "role changed", "leader changed", "membership changed",
	"founding waits", "cluster founded", "waiting to be admitted", "duplicate node id",
	"leadership transfer ended", "snapshot offered", "snapshot installed", "snapshot damaged",
	"message refused"}

// String is the log line.
func (e Event) String() string {
	text := eventNames[e.Kind]
	if e.Kind == RoleChanged {
		text += " to " + e.Role.String()
	}
	text += fmt.Sprintf(", term %d", e.Term)
	if e.Node != topic.NoNode {
		text += fmt.Sprintf(", node %d", e.Node)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}
