package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// All threads of a broker, the runtime's own included, let the kernel fire their timers together; the process is still
// the one that was started, under its name.
func TestTimersOfABrokerAreCoalesced(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("timers have a slack on Linux only")
	}
	f := newFleet(t, 1)
	f.startAll()
	pid := f.processes[0].cmd.Process.Pid
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads of broker 1: %v, %v", threads, err)
	}
	for _, thread := range threads {
		slack, err := os.ReadFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns"))
		if os.IsPermission(err) {
			t.Skip("nobody but root reads the slack of another process")
		}
		if os.IsNotExist(err) {
			continue // the thread has ended
		}
		if got := strings.TrimSpace(string(slack)); err != nil || got != "1000000" {
			t.Errorf("thread %s has a slack of %s ns, %v, want 1 ms", filepath.Base(thread), got, err)
		}
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	comm, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || err2 != nil || !strings.HasPrefix(filepath.Base(name), strings.TrimSpace(string(comm))) {
		t.Errorf("broker 1 is called %q, %v, want the name of %s, %v", comm, err2, name, err)
	}
}
