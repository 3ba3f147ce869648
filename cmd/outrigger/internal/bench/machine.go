package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// unknown stands where nobody says.
const unknown = "unknown"

// MachineFacts are those of the machine on which the clients ran, as far as /proc tells.
type MachineFacts struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	MemoryMB int64  `json:"memory_mb"`
	Kernel   string `json:"kernel"`
	Go       string `json:"go"`
	// Load is the load average of the minute before.
	Load string `json:"load_average"`
	// FileSystem is that of the brokers' logs, if they are on this machine.
	FileSystem string `json:"file_system"`
}

func thisMachine() MachineFacts {
	m := MachineFacts{CPU: unknown, Cores: runtime.NumCPU(), Kernel: unknown, Load: unknown, FileSystem: unknown,
		Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = fieldOf(text, "model name")
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(text), " ")
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(fieldOf(text, "MemTotal"), "%d kB", &kib); err == nil {
			m.MemoryMB = kib << 10 / megabyte
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(text))
	}
	return m
}

// fieldOf finds "name : value".
func fieldOf(text []byte, name string) string {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return unknown
}
