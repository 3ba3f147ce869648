package bench

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileSystems are the names of those that a log may well be on.
var fileSystems = map[uint32]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "nfs", unix.F2FS_SUPER_MAGIC: "f2fs",
}

func fileSystemOf(path string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return unknown
	}
	if name, ok := fileSystems[uint32(s.Type)]; ok {
		return name
	}
	return fmt.Sprintf("%#x", s.Type)
}
