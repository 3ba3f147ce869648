// Package frame encodes what the replication half of a node puts on a NATS subject: data frames on
// `wal.<follower>` or `wal.<follower>.<follower>`, acknowledgement frames on `ack.<leader>`, and heartbeats on `hb.<node>`. It is
// pure: bytes in, values out.
//
// One frame carries sections of many partitions for one destination, or for two that are to hear the same. Every frame begins with
//
//	 0        1        2                 4                                  8
//	+--------+--------+-----------------+----------------------------------+
//	| format | kind   | sections        | CRC-32C of all the other bytes   |
//	+--------+--------+-----------------+----------------------------------+
//	| 8   cluster id, 16 bytes (zero until the cluster has one)            |
//	+----------------------------------+-----------------------------------+
//	| 24  sender node                  | 28  receiver node (-1: everyone)  |
//	+----------------------------------+-----------------------------------+
//	| 32  sender session, 8 bytes      | 40  receiver session, 8 bytes     |
//	+----------------------------------+-----------------------------------+
//	| 48  second receiver: node, 4 bytes; session, 8 bytes (0: none)       |
//	+----------------------------------------------------------------------+
//	| 60  zero, 4 bytes                                                    |
//	+----------------------------------------------------------------------+
//
// and goes on with its sections. Of a batch the frame's checksum covers only what the batch's own does
// not: the receiver verifies both, so that every byte is covered once, and the sender does not read
// records for it. All integers are big-endian. A data section:
//
//	16 topic id | 4 partition | 4 leader epoch | 1 kind | 3 zero |
//	8 base | 4 count | 4 record epoch | 4 previous epoch | 8 high watermark | 4 length | bytes
//
// an acknowledgement section:
//
//	16 topic id | 4 partition | 4 leader epoch | 4 tail epoch | 1 flags | 3 zero |
//	8 log end | 8 durable end | 8 high watermark | 8 durable log start
//
// and the one section of a heartbeat:
//
//	8 applied image index | 8 sender's clock, µs | 4 age of the oldest unsynced group, ms |
//	1 flags | 3 zero | 2 peers | peers x (4 node | 8 session | 8 clock in its newest heartbeat heard)
//
// Format 3 added the durable log start to acknowledgements and two kinds of data sections, which tell
// where the leader's log starts.
//
// A frame is refused whole when anything in it is wrong: a lost frame is asked for again, a half
// understood one would be a hole.
package frame
