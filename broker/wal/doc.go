// Package wal is the write-ahead log of one node: one append-only chain of groups, shared by all
// partitions and written by one goroutine.
package wal
