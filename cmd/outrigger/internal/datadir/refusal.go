package datadir

import (
	"errors"
	"fmt"

	"outrigger/broker/topic"
)

// Refusal says in one sentence why a directory cannot be used and what to do about it. Nothing has
// been changed when it is returned.
type Refusal struct {
	Path string
	// Problem completes "data directory <path> ...".
	Problem string
	Remedy  string
	// HeldBy is the process that holds the lock, if that is the problem; 0 if it is not known.
	HeldBy int
	// Held: the problem is that another process holds the lock.
	Held  bool
	cause error
}

// Error is the sentence.
func (r *Refusal) Error() string {
	return fmt.Sprintf("data directory %s %s: %s", r.Path, r.Problem, r.Remedy)
}

// Unwrap returns what the system said, if it did.
func (r *Refusal) Unwrap() error { return r.cause }

func held(path string, pid int) *Refusal {
	r := &Refusal{Path: path, Held: true, HeldBy: pid,
		Problem: "is in use by another process", Remedy: "stop it, or name another directory"}
	if pid > 0 {
		r.Problem = fmt.Sprintf("is in use by process %d", pid)
	}
	return r
}

func unusable(path, problem string, cause error) *Refusal {
	remedy := "make it a directory that this user may write, or name another one"
	return &Refusal{Path: path, Problem: problem, Remedy: fmt.Sprintf("%s (%v)", remedy, cause), cause: cause}
}

// unreadable turns what decode said into a Refusal.
func unreadable(path string, err error) *Refusal {
	r := &Refusal{Path: path, cause: err, Remedy: "name another directory"}
	var format *formatError
	switch {
	case errors.Is(err, errForeign):
		r.Problem = "belongs to another program, its meta.properties was not written by Outrigger"
	case errors.As(err, &format):
		r.Problem = fmt.Sprintf("has format version %q, and this version of Outrigger reads %d",
			format.version, FormatVersion)
		r.Remedy = "start the version that wrote it, or name another directory"
	default:
		r.Problem = fmt.Sprintf("has a damaged meta.properties (%v)", err)
		r.Remedy = "restore that file, or name another directory"
	}
	return r
}

// mismatch compares the directory's owner with who wants it.
func mismatch(path string, got Identity, want Owner) *Refusal {
	switch {
	case got.Node != want.Node:
		return &Refusal{Path: path,
			Problem: fmt.Sprintf("belongs to node %d, and this is node %d", got.Node, want.Node),
			Remedy:  fmt.Sprintf("name another directory, or use this one for a broker with node.id=%d", got.Node)}
	case want.Cluster != "" && got.Cluster != "" && got.Cluster != want.Cluster:
		return &Refusal{Path: path,
			Problem: fmt.Sprintf("belongs to cluster %s, and this broker is to join %s", got.Cluster, want.Cluster),
			Remedy:  fmt.Sprintf("name another directory, or use this one for a broker with cluster.id=%s", got.Cluster)}
	}
	return nil
}

// Owner is who wants a directory; an empty Cluster takes any.
type Owner struct {
	Cluster string
	Node    topic.NodeID
}
