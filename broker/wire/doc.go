// Package wire turns a client's bytes into requests and responses into bytes. It is pure but for
// the io.Reader that a FrameReader is given: no socket, goroutine, lock, clock or logger.
//
//	io.Reader ── FrameReader ──> frame ── ParseHeader ──> Header, body
//	                                      body ── Decode ──> kmsg.Request
//	                                              Guard: walk the shape, bound every count and length
//	                                              kmsg:  fill the struct, bytes by reference
//	kmsg.Response ── AppendResponse ──> frame
//	kmsg.FetchResponse, batches ── FetchFrame ──> buffers that hold the batches by reference
//
// A frame is a size and that many bytes; all integers are big endian:
//
//	 0      4    6        8              12
//	+------+----+--------+--------------+------------------+---------------+------+
//	| size | key| version| correlation  | client id        | tags, from    | body |
//	| i32  | i16| i16    | i32          | i16 length, text | flexible up   |      |
//	+------+----+--------+--------------+------------------+---------------+------+
//	+------+--------------+---------------+------+
//	| size | correlation  | tags, from    | body |     a response; that of ApiVersions
//	| i32  | i32          | flexible up   |      |     never has tags in its header
//	+------+--------------+---------------+------+
//
// Each API turns "flexible" (KIP-482) at a version of its own: lengths become varints, and every
// structure ends in a section of tagged fields. The table of shapes (shapes_*.go) says which fields
// each version of each request has; Guard is its only reader.
//
// The guard stands before kmsg because kmsg trusts what a client declares: it allocates arrays from
// a declared count and loops over a declared number of tags even when the input has ended. What the
// guard accepts, kmsg decodes in time and memory linear in the length of the frame.
package wire
