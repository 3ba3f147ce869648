// Package sidecar is the replication side of a broker process: it ships what the partition logs
// append to the other nodes, commits it when enough of them have it on disk, and keeps the cluster
// image by a Raft of its own, all over the embedded NATS server.
//
//	partition logs ── Sealed, Durable ──> replication ── frames ──> wal.<follower>
//	       ^                                  │   ^  <── acks ───── ack.<self>
//	       └──── high watermark, role ────────┘   │
//	                                              │ image
//	  hb.* ──> watch ── local.<self>.election ──> election worker ── report ──┐
//	                                                                         v
//	  raft.*.<self>, proposals ─────────────────────────────────────> metadata (Raft, image, controller)
//
// Decisions are made in pure parts (raft, cluster, election, replica, node); the goroutines here feed
// them and carry out what they want. Each machine has one owner:
//
//	goroutine          owns alone                              ends
//	metadata.run       node.Quorum, image, controller          context, or a failed store
//	replication.run    node.Replication                        context
//	replication.scan   nothing: reads the WAL for catch-up     context
//	proposeChanges     nothing: proposes in-sync sets          context
//	watch.run          election.Watcher, leases                context
//	pullTriggers       nothing: publishes election requests    context
//	electionWorker     election.Pending                        context
//	askSuspects        nothing: asks silent sessions           context
//	beatHeart          nothing: publishes heartbeats           context
//	register           nothing: keeps the session registered   context
//	tellEvents         nothing: publishes operator events      context
//	quarantine         what became of its requests             context
//	claim              node.Claimant                           context
//
// They talk through bounded mailboxes, through the published image (one atomic pointer), and never
// wait for each other: the watcher does not call the controller, the controller does not ask the data
// path, and nobody holds a lock across a send. Callbacks of NATS only enqueue.
//
// An idle node wakes once per heartbeat interval, in step with the clock and so with its peers: while
// the parts call themselves calm, metadata.run and watch.run pass the ticks of an interval together, at
// its end (see pace).
package sidecar
