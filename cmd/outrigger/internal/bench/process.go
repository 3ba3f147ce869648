package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// clockTick is the unit of /proc's processor times: USER_HZ is 100 on every Linux.
const clockTick = 10 * time.Millisecond

// processes are the brokers', as far as they are known and on this machine. One that has ended counts
// with what was last seen of it.
type processes struct {
	mu struct {
		sync.Mutex
		used     map[int]time.Duration
		resident map[int]int64
	}
}

func newProcesses(pids []int) *processes {
	p := &processes{}
	p.mu.used, p.mu.resident = map[int]time.Duration{}, map[int]int64{}
	for _, pid := range pids {
		if used, resident, err := readProcess(pid); err == nil {
			p.mu.used[pid], p.mu.resident[pid] = used, resident
		}
	}
	return p
}

// look reads them all.
func (p *processes) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pid := range p.mu.used {
		if used, resident, err := readProcess(pid); err == nil {
			p.mu.used[pid], p.mu.resident[pid] = used, resident
		}
	}
}

// usage is processor time, of the brokers and of this process, the clients.
type usage struct {
	brokers, client time.Duration
	known           int
	seconds         float64
}

func (u usage) since(before usage) usage {
	return usage{brokers: u.brokers - before.brokers, client: u.client - before.client, known: u.known}
}

func (p *processes) usage() usage {
	p.look()
	p.mu.Lock()
	defer p.mu.Unlock()
	u := usage{known: len(p.mu.used)}
	for _, used := range p.mu.used {
		u.brokers += used
	}
	u.client, _, _ = readProcess(os.Getpid())
	return u
}

// resident is the memory of the brokers that is in RAM, as last seen.
func (p *processes) resident() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sum int64
	for _, bytes := range p.mu.resident {
		sum += bytes
	}
	return sum
}

// readProcess reads user and system time, and resident memory.
func readProcess(pid int) (used time.Duration, resident int64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStat(stat)
}

// Fields of /proc/PID/stat behind the name.
const (
	statUser     = 11
	statSystem   = 12
	statResident = 21
)

// parseStat reads a line of /proc/PID/stat.
func parseStat(stat []byte) (used time.Duration, resident int64, err error) {
	// the name, in parentheses, may hold anything
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= statResident {
		return 0, 0, fmt.Errorf("a line of %d fields", len(fields))
	}
	var numbers [3]int64
	for i, field := range []int{statUser, statSystem, statResident} {
		if numbers[i], err = strconv.ParseInt(fields[field], 10, 64); err != nil {
			return 0, 0, err
		}
	}
	return time.Duration(numbers[0]+numbers[1]) * clockTick, numbers[2] * int64(os.Getpagesize()), nil
}
