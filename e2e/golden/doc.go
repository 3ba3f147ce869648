// Package golden holds data directories that earlier versions of Outrigger have written, and tests that
// today's opens them, has all that was in them, and goes on from there.
//
//	testdata/NAME.tar.zst   a broker's data directory as a kill left it
//	testdata/NAME.json      what clients read from that broker
//
// The newest one also holds a compacted pack, files that were set aside for their damage, a reassignment under way to
// a broker that is gone, a replica that was taken off that broker, throttles, and the state of a share group.
//
// `task golden NAME=... [BINARY=...]` writes a new one, with the binary of the version that it is to stand for.
// One is written for every format that a release has written, and none is ever written anew.
package golden
