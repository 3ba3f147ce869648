// Package batch reads, checks and makes record batches of format v2 (magic 2), the only one the
// broker stores. It is pure: bytes in, facts and errors out.
//
//	produced bytes ── Validate ──> Header; SetBaseOffset, SetLeaderEpoch ──> the log
//	            Recompress, Stamp: only for topics that ask for a codec or for the broker's time
//	stored bytes ── Split ──> batches ── Records, FindTimestamp, MaxTimestamp ──> answers, dumps
//
// The bytes between are the client's and stay as they are: never decoded and encoded again, and
// compressed anew only where a topic names another codec. The checksum covers what the client made; the
// broker writes only in front of it, unless a topic wants the time of the append in its batches.
//
//	 0             8        12       16    17     21
//	+-------------+--------+--------+-----+------+--------------------------------------+
//	| base offset | length | leader |  2  | CRC- | covered by the checksum ...          |
//	| i64         | i32    | epoch  | i8  | 32C  |                                      |
//	+-------------+--------+--------+-----+------+--------------------------------------+
//	  ^ broker               ^ broker
//	 21           23            27          35         43            51      53      57      61
//	+------------+-------------+-----------+----------+-------------+-------+-------+-------+----
//	| attributes | last offset | base      | max      | producer id | epoch | base  | count | re-
//	| i16        | delta i32   | time i64  | time i64 | i64         | i16   | seq   | i32   | cords
//	+------------+-------------+-----------+----------+-------------+-------+-------+-------+----
//
//	attributes: bits 0-2 codec, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//
// length counts what follows it. The records are compressed as one stream, or plain:
//
//	record: length, attributes i8, time delta, offset delta, key, value, header count, headers
//	header: key, value;   key, value: length and bytes, -1 for null;   all numbers zigzag varints
//
// Compressed records are read as a stream through a small window, so what a batch costs in memory
// does not follow from what it claims to hold; how much may come out of it is bounded.
package batch
