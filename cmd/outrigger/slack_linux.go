package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// coalescedEnv tells the process that follows that it need not try again, whatever it sees.
const coalescedEnv = "OUTRIGGER_TIMERS_COALESCED"

// coalesceTimers lets the kernel fire the timers of this process up to a slack later, together with others. Go's
// runtime has a thread that sleeps for 20 microseconds at a time while any thread is in a system call for longer than
// that: with many small requests that was an eighth of a broker's processor time. A thread's slack comes from whoever
// made it, and that thread is older than main: so the program begins anew, as the same process. It returns at once if
// that was done, or if slack is 0.
func coalesceTimers(slack time.Duration) error {
	if slack == 0 || os.Getenv(coalescedEnv) != "" {
		return nil
	}
	runtime.LockOSThread() // the slack and exec are of one thread
	defer runtime.UnlockOSThread()
	if have, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil && have >= int(slack) {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
		return fmt.Errorf("set the slack of timers to %s: %w", slack, err)
	}
	path, err := os.Executable()
	if err == nil {
		err = syscall.Exec(path, os.Args, append(os.Environ(), coalescedEnv+"=1")) //nolint:gosec // it is this program
	}
	// this thread alone would have it
	return errors.Join(fmt.Errorf("begin anew with a slack of timers of %s: %w", slack, err),
		unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0))
}
