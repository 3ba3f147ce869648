// Package waltest holds an in-memory file system that can crash, for tests of the write-ahead log and
// of what stands on it.
package waltest
