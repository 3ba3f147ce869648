package raft

import "outrigger/broker/topic"

// Machine is one node's part in the group.
type Machine struct{}

// New builds a machine from what the store gave back.
func New(cfg Config, state State) (*Machine, error) { return &Machine{}, nil }

// Step feeds one message.
func (m *Machine) Step(msg Message) {}

// Tick passes one unit of time.
func (m *Machine) Tick() {}

// Propose appends a command on the leader and returns its place.
func (m *Machine) Propose(command []byte) (index, term uint64, err error) { return 0, 0, nil }

// ReadIndex asks for a confirmed read; Ready.Reads answers it under the same id.
func (m *Machine) ReadIndex(id uint64) error { return nil }

// Transfer hands leadership over.
func (m *Machine) Transfer(to topic.NodeID) error { return nil }

// Change proposes one change of the membership.
func (m *Machine) Change(c Change) (index uint64, err error) { return 0, nil }

// Ready drains the effects of all inputs so far.
func (m *Machine) Ready() Ready { return Ready{} }

// Persisted says that the last Ready's batch is durable.
func (m *Machine) Persisted() {}

// Status is for status pages.
func (m *Machine) Status() Status { return Status{} }
