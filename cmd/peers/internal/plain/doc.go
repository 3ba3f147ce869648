// Package plain owns the files and sockets of the programs that do only what the disk and the kernel
// ask for: they say how far from the machine's own limit a figure is.
//
//	Copy     a file from disk to a loopback socket, whose reader throws it away
//	WAL      the node WAL alone, full of records
//	Groups   the same writes and syncs as that, by a loop: direct I/O into blocks that were written before
package plain
