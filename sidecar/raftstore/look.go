package raftstore

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"outrigger/broker/pebblefs"
	"outrigger/sidecar/raft"
)

// errFound ends a look whose damage was noted.
var errFound = errors.New("raft store is damaged")

// Content is what a store holds, for somebody who only looks.
type Content struct {
	raft.State
	// Image is the data of State.Snapshot, nil without one.
	Image []byte
	// Bad are the damaged places; the rest holds only if there is none.
	Bad []pebblefs.Bad
}

// Look reads the store in dir, of a node that is stopped, and verifies all of it; closed says that it
// was closed in good order. Nothing is changed. What is damaged is no error.
func Look(dir string, closed bool) (Content, error) {
	var c Content
	bad := func(err error) { c.Bad = append(c.Bad, pebblefs.Bad{File: dir, Reason: err.Error()}) }
	if err := checkLogs(vfs.Default, dir); errors.Is(err, raft.ErrDamaged) {
		bad(err)
	} else if err != nil {
		return c, fmt.Errorf("verify raft store: %w", err)
	}
	db, bads, err := pebblefs.Look(vfs.Default, dir, closed, cacheBytes)
	if err != nil {
		return c, fmt.Errorf("verify raft store: %w", err)
	}
	c.Bad = append(c.Bad, bads...)
	if db == nil {
		return c, nil
	}
	s := &Store{db: db, dir: dir, looking: true}
	if err := s.look(&c); err != nil {
		bad(err)
	}
	if err := db.Close(); err != nil {
		return c, fmt.Errorf("close raft store: %w", err)
	}
	return c, nil
}

func (s *Store) look(c *Content) (err error) {
	found, ok, err := s.read([]byte{'f'})
	if err != nil || !ok || !bytes.Equal(found, []byte(Format)) {
		return errors.Join(fmt.Errorf("%w: format is %q, known is %q", errFound, found, Format), err)
	}
	if c.State, err = s.Load(); err != nil {
		return err
	}
	snapshot := c.Snapshot
	if snapshot.IsZero() {
		return nil
	}
	if c.Image, err = s.ReadSnapshot(snapshot.Index, false, 0, int(snapshot.Size)); err != nil {
		return err
	}
	if uint64(len(c.Image)) != snapshot.Size || raft.HashOf(c.Image) != snapshot.Hash {
		return fmt.Errorf("%w: snapshot %d does not have its hash", errFound, snapshot.Index)
	}
	return nil
}
