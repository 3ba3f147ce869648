// Package fetchsession remembers what consumers fetch (KIP-227), so that a consumer of a thousand
// partitions need not name them all in every request, nor be told of those where nothing happened.
// It has no clock, lock or I/O; the broker calls it under one lock.
//
//	full request (epoch 0)  ── Open ──> Session, or none if there is no room
//	incremental (epoch n)   ── Find, Session.Begin ──> the partitions to fetch, in a fair order
//	   its answer           ── Session.Settle ──> whether a partition must be told
//	                        ── Cache.Used ──> the session counts as used, in its new size
//	last request (epoch -1) ── Close
//
// A session belongs to a client by its id alone: whoever knows id and epoch may go on with it. The
// epoch grows with every request, so a request that was lost or repeated is found out, and the client
// begins again with a full one.
package fetchsession
