// Package node is the sidecar without its goroutines: the pure parts behind ports, so that production
// and the simulator run the same code and differ in one loop.
//
//	Quorum        raft.Machine + Store + StateMachine + Sender: one node's part in the metadata Raft
//	Replication   a replica.Machine per hosted partition + Logs + Wire: frames in and out, windows,
//	              catch-up
//
// Both are fed everything that has come and then turned once: Quorum.Turn makes it durable with one
// sync and answers after that, Replication.Flush lets all of it share frames. Neither has a clock,
// a lock or a goroutine; time is ticks, and each has one owner.
package node
