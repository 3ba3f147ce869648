package fsname

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// zfs is not of Linux itself.
const zfs = 0x2fc12fc1

// names are those of file systems that a log may well be on.
var names = map[uint32]string{
	unix.EXT4_SUPER_MAGIC:      "ext4", // and ext2 and ext3
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.FUSE_SUPER_MAGIC:      "fuse",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	zfs:                        "zfs",
}

// Of names the file system with that number in statfs(2), which one without a name here has for one.
func Of(magic uint32) string {
	if name, ok := names[magic]; ok {
		return name
	}
	return fmt.Sprintf("%#x", magic)
}
