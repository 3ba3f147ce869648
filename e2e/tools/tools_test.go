package tools

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestWhatIsInstalledIsNotInstalledAgain(t *testing.T) {
	c := Cache{Dir: filepath.Join(t.TempDir(), "cache"), Install: true}
	calls := 0
	install := func(_ context.Context, dir string) error {
		calls++
		return os.WriteFile(filepath.Join(dir, "it"), nil, 0o600)
	}
	first, err := c.once(t.Context(), "thing", "v1", install)
	if err != nil {
		t.Fatal(err)
	}
	c.Install = false
	again, err := c.once(t.Context(), "thing", "v1", install)
	if err != nil || again != first || calls != 1 {
		t.Errorf("got %s, %v after %d installations, want %s after one", again, err, calls, first)
	}
	if _, err := os.Stat(filepath.Join(first, "it")); err != nil {
		t.Error(err)
	}
	if _, err := c.once(t.Context(), "thing", "v2", install); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("another version: got %v, want ErrNotInstalled", err)
	}
}

func TestFailedInstallationLeavesNothing(t *testing.T) {
	c := Cache{Dir: t.TempDir(), Install: true}
	broken := errors.New("broken")
	_, err := c.once(t.Context(), "thing", "v1", func(_ context.Context, dir string) error {
		return errors.Join(broken, os.WriteFile(filepath.Join(dir, "half"), nil, 0o600))
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the installer's error", err)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) != 0 {
		t.Errorf("got %d entries in the cache and %v, want none", len(left), err)
	}
}
