package system

import "syscall"

// attributes gives a process a group of its own, so that Ctrl-C in a terminal reaches us and we stop
// it in order, and lets it die with us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// FlushDisks writes everything back that any system left in the page cache, so that it is not written
// while the next one is measured.
func FlushDisks() { syscall.Sync() }
