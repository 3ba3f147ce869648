// Package group decides for consumer groups of the classic protocol, and knows the records in which
// their state is kept. It is pure: a Machine is fed events and the time, and returns what is to be
// answered and what is to be written.
//
//	request --> Step --+--> Effects.Replies   to the requests of these tokens, now or after the write
//	time -----> Tick --+--> Effects.Records   to the group's partition of `__consumer_offsets`
//
//	            log of the partition --> Replay --> Machines, as they were after the last record
//
// A Machine goes ahead of the log: what it has decided is its state at once, although the record of
// it is not committed yet. So an answer that tells of such a state waits for the record
// (Reply.AfterRecords). When a record cannot be appended, or its leader is deposed, all machines of
// the partition are thrown away and whoever leads then replays what is committed: nobody has heard
// of the rest.
//
// The states of a group, and what moves it:
//
//	           first join                 all have joined, or the time is up
//	Empty ------------------> Preparing -------------------------------------> Completing
//	  ^                        ^    |                                             |
//	  |    nobody has joined   |    |   join, leave, a session that expired       | leader's
//	  +------------------------+----+ <------------------ Stable <----------------+ assignment
//
// A group of which nothing is known is Empty without members, offsets and generation; it does not
// exist for those who ask.
//
// # Records
//
// They are Kafka's own, so that tools which read `__consumer_offsets` work. All numbers are
// big-endian; a null value takes the key away.
//
//	key    version 0, 1 (int16) | group | topic | partition (int32)      a committed offset
//	value  version (int16) | offset (int64) | leader epoch (int32, v3+) | metadata |
//	       commit time (int64) | expiry time (int64, v1 only) | tags (v4: topic id)
//	key    version 2 (int16) | group                                     a group
//	value  version (int16) | protocol type | generation (int32) | protocol | leader |
//	       time of the state (int64, v2+) | members: id, instance (v3+), client id, host,
//	       rebalance timeout (v1+), session timeout, subscription, assignment
package group
