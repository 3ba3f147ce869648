// Package node puts one broker process together, runs it and takes it apart again. It decides
// nothing about Kafka or replication; it knows who needs whom.
//
//	config ──> ports looked at, data directory opened, sockets bound      (a refusal touches nothing)
//	           │
//	           HTTP ── /health answers from here on, /ready says what is waited for
//	           natsconf ── the embedded server; peers may connect
//	           bus ── the lanes inside it
//	           partition.Store ── recovers the node's write-ahead log
//	           sidecar ── metadata Raft, image, replication   ── wire.go holds this seam
//	           broker ── serves Kafka on the sockets bound above
//
// Every part runs as a task of its own context, so that they can be stopped one after the other and
// not in the order in which a cancelled context happens to reach them:
//
//	task      what it runs                ends when
//	http      /health, /ready, /metrics   last
//	wal       partition.Store.Run, Tick   the sidecar has ended; drains and syncs first
//	sidecar   Sidecar.Run                 the broker has ended
//	broker    Broker.Run                  leadership has been moved away
//	cluster   records the cluster's id    it is recorded, or with the sidecar
//
// A task that ends early stops the node. All of a stop happens within stopWithin, majority or not:
// what takes longer is left undone, said, and repaired by the next start like a crash.
package node
