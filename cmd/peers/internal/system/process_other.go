//go:build !linux

package system

import "syscall"

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// FlushDisks writes everything back that any system left in the page cache, so that it is not written
// while the next one is measured.
func FlushDisks() { _ = syscall.Sync() } // it cannot be helped if it fails
