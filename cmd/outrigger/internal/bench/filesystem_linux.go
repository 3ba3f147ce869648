package bench

import (
	"golang.org/x/sys/unix"

	"outrigger/broker/fsname"
)

func fileSystemOf(path string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return unknown
	}
	return fsname.Of(uint32(s.Type))
}
