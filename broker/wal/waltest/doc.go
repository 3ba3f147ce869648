// Package waltest holds an in-memory file system for tests of the write-ahead log and of what stands
// on it. It keeps apart what was written and what was synced, file contents as well as names, so that
// a crash can lose any part of the difference; it refuses unaligned direct I/O, runs out of space on
// request, and lets a test fail or hold up any operation.
//
//	          WriteAt               Sync
//	caller ----------> current ----------> durable      per sector of 512 bytes
//	          Create, Rename,       SyncDir
//	          Remove
//	caller ----------> names   ----------> durable names
//
// Crash makes a new FS from what is durable plus a random choice of the rest, as a machine finds it
// that lost power. Restart makes one from all of it, as a process finds it that was killed. The FS
// that they are called on is dead from then on: whatever still uses it gets ErrCrashed.
package waltest
