// Package topic holds the words that the broker and the sidecar share: who a node is, which
// partition is meant, which offset, which epoch, and how a topic looks in the cluster image. It
// imports the standard library alone and decides nothing; the cluster image (sidecar/cluster) makes
// these values, everybody else reads them.
//
// A *Topic or *Placement that has been published is immutable: it may be read by any goroutine and
// is replaced, never changed.
package topic
