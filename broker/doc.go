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
// # Transactions
//
// They are coordinated likewise, by the leaders of `__transaction_state`, with one txn.Machine for each
// transactional id:
//
//	produce, offsets -- may I? --> shard: Add, Verify          (this broker's, or another's: AddPartitionsToTxn)
//	EndTxn --------------------> shard: End --> record of the decision, committed
//	                                              |
//	   partition leaders <-- WriteTxnMarkers -- marker sender, until all have confirmed --> record: complete
//
// What is open in a partition, and what was aborted there, its log derives from its batches; a marker in a
// partition of the offsets topic is written by the shard of its groups, which decide with it. A leader asks
// the coordinator about a batch under a guard that a marker breaks; see partition.Guard.
//
// # Share groups
//
// What a share group (KIP-932) makes of a partition, the leader of that decides, in a share.Partition behind a
// lock: there is one for each group and partition that somebody fetches. What is to outlive the leader is kept
// by the coordinators of `__share_group_state`, which are shards as above, with one share.Keeper each:
//
//	ShareFetch, ShareAcknowledge --> sharePartition --> sharePartitions.run --> coordinator of the state
//	           ^                                            |  ReadShareGroupState, WriteShareGroupState
//	           +-------- answer, when it is kept <----------+
//
// What a group with a dead-letter queue (KIP-1191) gives up, deadLetters produces to that topic as a client would,
// once the group's state says so and before the records count as done.
//
// Members beat to the coordinator of their group, which has the states of what they subscribe to initialized.
//
// # Goroutines
//
//	goroutine   started by   owns alone                              ends
//	Run         the caller   nothing                                 when ctx ends and all below have
//	acceptor    Run          one listening socket                    when the socket is closed
//	serve       acceptor     one connection and its reading half     on EOF, bad input, idleness, ctx
//	writer      serve        the writing half, head of the queue     when the queue is closed
//	shards      Run          the table of shards of one topic        when ctx and its shards end
//	shard       shards       the machines of one partition           when it is deposed, or ctx ends
//	markers     Run          the markers that are to be sent         when ctx and its requests end
//	asking      Run          what is asked for share-partitions      when ctx and its requests end
//	letters     Run          the dead letters that are to be written when ctx and its attempts end
//	attempt     letters      one batch of dead letters               with its answer, or at its deadline
//	ask         asking       one request to a keeper of states       with its answer, or at its deadline
//	request     markers      one request for markers to one broker   with its answer, or at its deadline
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
//	records of a shard not committed              the shard waits for room, then starts again
//	requests to one other broker                  further ones wait, until their deadline
//	aborted transactions in one partition         it takes no new transaction
//	share sessions, and their partitions          SHARE_SESSION_LIMIT_REACHED
//	records that a share group holds, a partition it is given no more until the first are done
//	dead letters on their way, 16 share-partitions the others wait; the records hold up their group's start
//	topics with metrics of their own              further ones are counted together
//	remembered (address, reason) of bad input     further ones are counted, not logged
package broker
