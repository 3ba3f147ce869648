package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binaries builds the broker once per kind, in a directory that TestMain removes.
var binaries struct {
	dir   string
	plain func() (string, error)
	race  func() (string, error)
	// next speaks one more format level.
	next func() (string, error)
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "outrigger-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a directory for the binary:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries.dir = dir
	binaries.plain = sync.OnceValues(func() (string, error) { return build(dir, "outrigger") })
	binaries.race = sync.OnceValues(func() (string, error) { return build(dir, "outrigger-race", "-race") })
	binaries.next = sync.OnceValues(func() (string, error) { return build(dir, "outrigger-next", "-tags", "nextlevel") })
	return m.Run()
}

func build(dir, name string, flags ...string) (string, error) {
	path := filepath.Join(dir, name)
	args := append([]string{"build", "-o", path}, flags...)
	out, err := exec.Command("go", append(args, "outrigger/cmd/outrigger")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// need skips a test whose tool is not there, and fails it where CI promised the tool.
func need(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err == nil {
		return path
	}
	missing(t, tool+" is not installed")
	return ""
}

func missing(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("OUTRIGGER_E2E_TOOLS") == "required" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
