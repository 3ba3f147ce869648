// Package broker is the Kafka side of a node: listeners, connections, one file per API, and the one
// table that turns our errors into Kafka's codes.
//
//	client -- TCP --> reader: frame, guard, decode -- produce --> partition.Log.Append
//	                    | one slot per request, in order              | Await...
//	                    v                                             v
//	                  queue of pending answers ---> writer: waits for the head of the queue, runs
//	client <- writev ------------------------------ what is not a produce, encodes, writes
//
// A produce is appended by the reader, so that the order of a connection is the order of the log, and
// its answer waits in the queue for the replicas; a later produce does not wait for it. Every other
// request is carried out by the writer when it reaches the head of the queue: a long poll never stops
// the reader, answers cannot overtake each other, and a connection holds the bytes of one fetch
// answer at a time.
//
// Record bytes are not copied: a batch is a slice of the frame that was read, the log keeps that
// slice, and a fetch writes the log's slices with one vectored write. Only a batch that is a small
// part of its frame is copied, or the log would keep the rest of the frame too.
//
// What leads where comes from the Cluster, an interface declared here and satisfied by the sidecar.
// Data goes through partition.Store. The broker never calls the sidecar for data.
//
// # Consumer groups
//
//	handler -- event --> mailbox of the shard --> group.Machine --+--> records --> partition.Log.Append
//	   ^                                                          |                       | AwaitCommit
//	   +------------- reply <-------- parked until committed <----+<----------------------+
//
// The coordinator keeps one shard for each partition of `__consumer_offsets` that this node leads, for
// as long as it leads it in one epoch. A shard that begins waits until its whole log is committed and
// replays it (requests hear COORDINATOR_LOAD_IN_PROGRESS); a shard that is deposed, or whose append
// is refused, ends with all its state, and those who wait look for the coordinator again. Appends are
// fenced by the epoch, and answers by lease and mandate: two shards of one partition may run for a
// moment, but only one of them has an effect or says anything.
//
// # Goroutines
//
//	goroutine   started by   owns alone                              ends
//	Run         the caller   nothing                                 when ctx ends and all below have
//	acceptor    Run          one listening socket                    when the socket is closed
//	serve       acceptor     one connection and its reading half     on EOF, bad input, idleness, ctx
//	writer      serve        the writing half, head of the queue     when the queue is closed
//	coordinator Run          the table of shards                     when ctx and its shards end
//	shard       coordinator  the machines of one partition's groups  when it is deposed, or ctx ends
//
// serve waits for its writer, acceptors and connections are waited for by Run. Callbacks of the
// partition log only store a result and signal; they run on the log's goroutines.
//
// # Bounds, and what happens when they are reached
//
//	requests and bytes in flight per connection   the reader stops reading
//	bytes of large requests in flight per node    the reader stops reading
//	connections, per node and per address         the new connection is closed and counted
//	frame size                                    the connection is closed and counted
//	requests waiting for one shard                COORDINATOR_NOT_AVAILABLE
//	records of groups not committed               the shard waits for room, then starts again
//	topics with metrics of their own              further ones are counted together
//	remembered (address, reason) of bad input     further ones are counted, not logged
package broker
