package wal

import "errors"

// DumpRecord is one thing found in the log's files: a file header, a group header or a record.
type DumpRecord struct {
	At Position
	// File is set for a file header, Group for a group header; else it is Record.
	File   *FileHeader
	Group  *GroupHeader
	Record Record
}

// FileHeader is the header of a file.
type FileHeader struct{}

// GroupHeader is the header of a group.
type GroupHeader struct{}

// Dump reads every file in dir and verifies every checksum.
func Dump(fs FS, dir string, fn func(DumpRecord)) (damage []Damage, err error) {
	return nil, errors.ErrUnsupported
}
