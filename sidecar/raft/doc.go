// Package raft is the consensus core of the cluster's metadata: one Raft group, as a pure state
// machine. It has no clock, no goroutine, no lock, no disk, no network and no logger.
//
// # Data flow
//
//	Step(Message) ──┐                         ┌──> Ready.Messages       may leave at once
//	Tick()        ──┤                         ├──> Ready.Batch          must be durable ...
//	Propose(...)  ──┼──> Machine ── Ready() ──┼──> Ready.AfterPersist   ... before these leave
//	ReadIndex(id) ──┤       ^                 ├──> Ready.Committed      to the state machine, in order
//	Transfer(...) ──┤       │                 ├──> Ready.Reads          confirmed reads
//	Change(...)   ──┘       └── Persisted() <─┴──> Ready.Events         one log line each
//
// The owner feeds any number of inputs, then takes one Ready, ships Messages, makes Batch durable,
// calls Persisted, ships AfterPersist and applies Committed; then it asks for the next Ready until
// there is none. A batch that cannot be made durable ends the machine: nothing of AfterPersist may
// leave, and the machine is dropped. Silence is always a correct answer in this protocol.
//
// A Ready may hold several inputs' worth of work, and its batch is atomic: the outside sees what it
// would have seen had each input been made durable one after the other without a crash between.
//
// # Identities
//
// A voter is a (node id, disk id). A node that comes back with another disk id is somebody else, who
// remembers nothing: it is not asked for votes, its acknowledgements count for nothing, and every
// request names the disk it is meant for, so that it cannot answer for its former self. It is
// admitted again by the leader, first as a learner (see change.go).
//
// # Founding
//
// A store without a log cannot tell a new cluster from a lost one. So the first election is special
// (founding.go): every configured voter must be reachable, must report that it holds no log, must
// have the same list of voters, and every one of them must vote for the same set of (node, disk).
//
// # Ticks
//
// Time is counted in ticks. See Machine.Tick for what the owner owes before a late one.
package raft
