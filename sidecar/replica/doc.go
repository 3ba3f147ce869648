// Package replica is one partition's replication, as a pure machine: no clock, lock, I/O, goroutine
// or logger. It is told what the cluster image says (Configure), what was appended and synced on this
// node, which sections and acknowledgements came in, and that time passes (Tick); it answers with
// Effects.
//
//	leader                                              follower
//	Appended ── section (base, previous epoch) ──────>  Section: tail must be (base, previous epoch)
//	                                                    append ... sync ... Durable
//	Ack  <───── (tail epoch, log end, durable end) ───  acknowledgement, one per synced group
//	high watermark = min(durable end over the maximal in-sync set)
//
// No handshake state is needed to know that two logs agree. A leader writes a given (offset, epoch)
// once, and a follower takes a batch only when its tail is the very (offset, epoch) before it; so two
// logs with the same epoch at the same offset agree up to there. Every section carries what the
// follower must check, every acknowledgement carries what the leader must check, and a message of
// another epoch or session changes nothing.
//
// The leader owns recovery. Per follower it is in one of three modes, which are positions rather than
// states: *probe* while the follower's tail is unknown, *catch-up* while sent < log end, *stream* when
// sent == log end, where an appended batch goes out at once.
//
// testdata/scenarios tells what this is for, one behaviour a file, each meant to be read from top to bottom;
// scenario_test.go plays them.
package replica
