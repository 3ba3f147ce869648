package system

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of /proc's processor times: USER_HZ is 100 on every Linux.
const clockTick = 10 * time.Millisecond

// ProcessorTime is what the nodes have used since they started, user and system.
func (c *Cluster) ProcessorTime() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range c.PIDs {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("read the processor time of %s: %w", c.Name, err)
		}
		used, err := parseStat(text)
		if err != nil {
			return 0, fmt.Errorf("read the processor time of %s: %w", c.Name, err)
		}
		sum += used
	}
	return sum, nil
}

// Fields of /proc/PID/stat behind the name.
const (
	statUser   = 11
	statSystem = 12
)

func parseStat(text []byte) (time.Duration, error) {
	// the name, in parentheses, may hold anything
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= statSystem {
		return 0, fmt.Errorf("a line of %d fields", len(fields))
	}
	var sum int64
	for _, field := range []int{statUser, statSystem} {
		ticks, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += ticks
	}
	return time.Duration(sum) * clockTick, nil
}

// Memory is what the nodes hold in RAM, in bytes: each page that they share counts once (PSS).
func (c *Cluster) Memory() (int64, error) {
	var sum int64
	for _, pid := range c.PIDs {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, fmt.Errorf("read the memory of %s: %w", c.Name, err)
		}
		pss, err := parseRollup(text)
		if err != nil {
			return 0, fmt.Errorf("read the memory of %s: %w", c.Name, err)
		}
		sum += pss
	}
	return sum, nil
}

func parseRollup(text []byte) (int64, error) {
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, "Pss:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, err
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("no line of Pss in %d bytes", len(text))
}
