// Package bus carries the sidecar's messages over the embedded NATS server. It is the only importer
// of nats.go.
//
// Each lane is one connection, in one account. What is published on a lane from one goroutine, to
// any subject, reaches each subscriber in that order, as long as the connection and the route stay
// up; between lanes there is no order. Bulk and urgent messages never share a lane, because a
// publish of a megabyte holds its connection, and its account's route, until it is written.
//
//	lane         account  carries                                          subjects
//	Heartbeat    HB       "I am alive"                                     hb.>
//	Election     HB       the watcher's publish, to its own node only      local.<node>.election
//	Raft         RAFT     consensus, requests and replies                  raft.>
//	Replication  REPL     WAL frames                                       wal.>
//	Acks         REPL     their acknowledgements, the other way            ack.>
//	Catchup      CATCHUP  bulk reads, snapshots                            catchup.>
//	Ops          OPS      micro service, events, taps                      sidecar.>, $SRV.>
//
// NATS is a wire that loses: what was in flight when a route or connection broke, what found no
// subscription, what overflowed a subscriber's backlog. The last is told to Config.OnGap, as is a
// connection that was lost and came back; the first two nobody can tell. A Publish that returned nil
// says "in a buffer", no more.
//
// Two ways lead past nats.go's buffers, because copies are much of what replication costs: the replication lane writes frames from
// where they lie (frameConn), and a feed's connection puts them where they stay and shows nats.go only the rest (feedStream). What
// goes over both is NATS' protocol as ever.
//
// Goroutines: one per subscription (nats.go's), which calls the subscriber's function; one per bus,
// refreshing who listens to taps, which ends with Close.
package bus
