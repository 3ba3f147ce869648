package wal

import "fmt"

// job is one round of I/O: write a group, if there is one, then sync files, then
// close files.
type job struct {
	group *openGroup
	sync  []*segment
	// close are files that will not be written again; the last sync has seen all of them.
	close []*segment
}

// disk is the goroutine that waits for the device. It holds no lock and knows no more than its job.
// One job is under way at a time, so neither channel ever makes a sender wait.
type disk struct {
	jobs    chan *job
	results chan error
}

func newDisk() *disk {
	return &disk{jobs: make(chan *job, 1), results: make(chan error, 1)}
}

func (d *disk) run() {
	for j := range d.jobs {
		d.results <- j.do()
	}
}

// do writes and syncs. A crash before the sync has returned leaves any subset of the blocks: the
// group's checksum tells. A crash after it leaves all of them.
func (j *job) do() error {
	if g := j.group; g != nil {
		if _, err := g.segment.file.WriteAt(g.buffer[:g.group.Bytes], g.offset); err != nil {
			return fmt.Errorf("write group %d to file %d at byte %d: %w",
				g.group.Sequence, g.segment.number, g.offset, err)
		}
	}
	for _, s := range j.sync {
		if err := s.file.Sync(); err != nil {
			return fmt.Errorf("sync file %d: %w", s.number, err)
		}
	}
	return closeAll(j.close)
}

func closeAll(segments []*segment) error {
	for _, s := range segments {
		if err := s.file.Close(); err != nil {
			return fmt.Errorf("close file %d: %w", s.number, err)
		}
	}
	return nil
}
