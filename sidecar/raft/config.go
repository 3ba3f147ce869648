package raft

import (
	"errors"
	"fmt"
	"slices"

	"outrigger/broker/topic"
)

// Config is what a machine is made of. Zero fields take the default named beside them.
type Config struct {
	// Node and Disk are this node's identity; both are required.
	Node topic.NodeID
	Disk topic.DiskID
	// Session is new at every process start and never zero.
	Session topic.Session
	// Voters are the configured voters' node ids, the same on every node. A node that is not among
	// them joins as a learner.
	Voters []topic.NodeID
	// Cluster is the configured cluster id; empty: the first leader draws one.
	Cluster string
	// Seed feeds election timeouts and the drawn cluster id. Each session needs another.
	Seed uint64

	// HeartbeatTicks is the interval of a leader's empty appends. Default 1.
	HeartbeatTicks int
	// ElectionTicks is the minimum election timeout; the actual one is drawn from [1, 2) times it.
	// Must be at least three heartbeats. Default 10.
	ElectionTicks int

	// AppendBytesMax bounds the entries of one message; one entry is always sent. Default 256 KiB.
	AppendBytesMax int64
	// InflightBytesMax and InflightMessagesMax bound what is unacknowledged per follower. Defaults
	// 8 MiB and 64.
	InflightBytesMax    int64
	InflightMessagesMax int
	// CommandBytesMax bounds one command. Default 768 KiB: with its envelope it fits a message.
	CommandBytesMax int
	// PendingBytesMax bounds the proposed and not yet committed bytes; beyond it proposals are
	// refused with ErrFull and nothing has happened. Default 16 MiB.
	PendingBytesMax int64
	// ReadsMax bounds unconfirmed reads; beyond it ErrFull. Default 4096.
	ReadsMax int
	// ChunkBytes is the size of one pulled piece of a snapshot. Default 256 KiB.
	ChunkBytes int

	mutant Mutant
}

// Defaults and bounds.
const (
	// MessageBytesMax is the largest encoded message that is written or read.
	MessageBytesMax = 1 << 20
	// ClusterBytesMax is the longest cluster id.
	ClusterBytesMax = 64

	defaultElectionTicks = 10
	defaultAppendBytes   = 256 << 10
	defaultCommandBytes  = 768 << 10
	defaultInflightBytes = 8 << 20
	defaultInflight      = 64
	defaultPendingBytes  = 16 << 20
	defaultReads         = 4096
	defaultChunkBytes    = 256 << 10
)

// Errors of a machine's methods.
var (
	// ErrNotLeader: the caller asks the leader instead; nothing has happened.
	ErrNotLeader = errors.New("this node does not lead")
	// ErrFull: too much is under way; the caller retries later, nothing has happened.
	ErrFull = errors.New("too many proposals are under way")
	// ErrTransferring: leadership is being handed over; the caller retries, nothing has happened.
	ErrTransferring = errors.New("leadership is being transferred")
	// ErrTooLarge: the command can never be taken; the caller is wrong.
	ErrTooLarge = errors.New("command is too large")
	// ErrChangePending: one change of membership at a time, and only after an entry of this term
	// was committed; the caller retries, nothing has happened.
	ErrChangePending = errors.New("another membership change is under way")
	// ErrBadChange: the change does not fit the membership; nothing has happened.
	ErrBadChange = errors.New("membership change is refused")
	// ErrBadTarget: leadership cannot go there; nothing has happened.
	ErrBadTarget = errors.New("leadership cannot be transferred to that node")
	// ErrDamaged: what the store gave back contradicts itself; the node must not take part.
	ErrDamaged = errors.New("stored raft state is damaged")
)

func (c Config) withDefaults() Config {
	orInt := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	orBytes := func(field *int64, value int64) {
		if *field == 0 {
			*field = value
		}
	}
	orInt(&c.HeartbeatTicks, 1)
	orInt(&c.ElectionTicks, defaultElectionTicks)
	orInt(&c.InflightMessagesMax, defaultInflight)
	orInt(&c.CommandBytesMax, defaultCommandBytes)
	orInt(&c.ReadsMax, defaultReads)
	orInt(&c.ChunkBytes, defaultChunkBytes)
	orBytes(&c.AppendBytesMax, defaultAppendBytes)
	orBytes(&c.InflightBytesMax, defaultInflightBytes)
	orBytes(&c.PendingBytesMax, defaultPendingBytes)
	c.Voters = slices.Clone(c.Voters)
	slices.Sort(c.Voters)
	return c
}

func (c Config) validate() error {
	switch {
	case c.Node < 0:
		return fmt.Errorf("validate raft config: node id %d is negative", c.Node)
	case c.Disk.IsZero():
		return errors.New("validate raft config: disk id is zero")
	case c.Session == 0:
		return errors.New("validate raft config: session is zero")
	case len(c.Voters) == 0:
		return errors.New("validate raft config: no voters")
	case len(slices.Compact(slices.Clone(c.Voters))) != len(c.Voters):
		return fmt.Errorf("validate raft config: voters %v repeat a node", c.Voters)
	case len(c.Cluster) > ClusterBytesMax:
		return fmt.Errorf("validate raft config: cluster id of %d bytes, at most %d",
			len(c.Cluster), ClusterBytesMax)
	case c.ElectionTicks < 3*c.HeartbeatTicks:
		return fmt.Errorf("validate raft config: election timeout of %d ticks is under three heartbeats of %d",
			c.ElectionTicks, c.HeartbeatTicks)
	case c.CommandBytesMax > MessageBytesMax*3/4, c.AppendBytesMax > MessageBytesMax*3/4,
		c.ChunkBytes > MessageBytesMax*3/4:
		return fmt.Errorf("validate raft config: commands of %d, appends of %d and chunks of %d bytes must fit a message of %d",
			c.CommandBytesMax, c.AppendBytesMax, c.ChunkBytes, MessageBytesMax)
	}
	return nil
}
