// Package group decides for consumer groups, of the classic protocol and of KIP-848, and knows the
// records in which their state is kept. It is pure: a Machine is fed events and the time, and returns what is to be
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
// # Groups of KIP-848
//
// Their members only beat. The coordinator divides the partitions (package assign), and leads each member
// to its target in steps, so that nobody is given what another one may still use:
//
//	subscriptions, topics --> epoch of the group --> targets --> each member's place
//
//	settled -----------> unrevoked -----------------> unreleased ---------------> settled
//	(a new target)  it gives back what goes,   it waits for what others    it has everything,
//	                in its old epoch           have, in its new epoch      in its new epoch
//
// A group with members of the classic protocol becomes one of KIP-848 when such a member joins, and goes
// back when the last one has left (migrate.go). In between, the coordinator answers the classic members'
// joins and syncs itself, out of the same places (classic.go).
//
// # Share groups
//
// Their members (KIP-932) beat likewise, and are told what to fetch at once, since a partition may have several
// of them. The group also knows of which partitions it has a state at the share coordinator (sharestates.go).
//
// Records are written so that the log may end after any of them: the epoch of the group before what it
// began for, the epoch of the targets after the targets, what takes the group's other kind away last.
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
//
// Those of KIP-848 have one version of values, with compact lengths and tags:
//
//	key    version 3  | group              epoch of the group, hash of its topics
//	key    version 5  | group | member     what the member says of itself
//	key    version 6  | group              epoch of the targets
//	key    version 7  | group | member     the member's target
//	key    version 8  | group | member     the member's place: epochs, state, what it holds since when
//	key    version 16 | group | pattern    the topics that a pattern matches
//
// So have those of share groups:
//
//	key    version 10 | group | member     what the member says of itself
//	key    version 11 | group              epoch of the group, hash of its topics
//	key    version 12 | group              epoch of the targets
//	key    version 13 | group | member     the member's target
//	key    version 14 | group | member     the member's epochs, and what it was assigned in them
//	key    version 15 | group              the partitions that have a state, or are to lose it
package group
