// Package wire turns a client's bytes into requests and responses into bytes. It is pure but for
// the io.Reader that FrameReader is given: no socket, goroutine, lock, clock or logger.
//
//	socket -> FrameReader -> frame -> ParseHeader -> Header, body
//	                                  body -> Decode = Guard, then kmsg -> kmsg.Request
//	kmsg.Response -> AppendResponse -> frame -> socket
//	kmsg.FetchResponse + batches -> FetchFrame -> buffers that hold the batches by reference
package wire
