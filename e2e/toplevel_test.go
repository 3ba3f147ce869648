package e2e

import (
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// topLevel is what lies at the top of the repository, beside files whose name begins with a dot.
var topLevel = []string{"sidecar", "broker", "natsconf", "cmd", "e2e", "go.mod", "go.sum", "Taskfile.yml", "README.md", "LICENSE"}

// TestTopLevelHoldsNothingElse: three profiles once came in with a commit.
func TestTopLevelHoldsNothingElse(t *testing.T) {
	tracked, err := trackedFiles("..")
	if err != nil {
		t.Fatal(err)
	}
	got := strays(tracked)
	if len(got) > 0 {
		t.Errorf("got %v at the top of the repository, want %v and files that begin with a dot alone", got, topLevel)
	}
	for _, want := range topLevel {
		if !slices.ContainsFunc(tracked, func(file string) bool { return under(file, want) }) {
			t.Errorf("%s is in the rule and not in the repository", want)
		}
	}
}

func TestStraysAreToldFromWhatBelongsThere(t *testing.T) {
	got := strays([]string{"go.mod", ".gitignore", ".ci/run", "broker/log.go", "broker.go", "cpu.prof", "e2e/testdata/a.prof", "docs/a.md", "docs/b.md"})
	if want := []string{"broker.go", "cpu.prof", "docs"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A copy without git has the same rule, but for what .gitignore lets lie there.
func TestCopyWithoutGitIsJudgedByItsDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{".gitignore": "/outrigger\n/data/\n*.test\n", "outrigger": "", "broker.test": "", "notes.txt": "", "go.mod": ""} {
		if err := os.WriteFile(path.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(path.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	listed, err := filesOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strays(listed), []string{"notes.txt"}; !slices.Equal(got, want) {
		t.Errorf("got %v of %v, want %v", got, listed, want)
	}
}

// strays are the first parts of paths that the rule does not name, each once.
func strays(files []string) []string {
	var found []string
	for _, file := range files {
		top, _, _ := strings.Cut(file, "/")
		if !slices.Contains(topLevel, top) && !strings.HasPrefix(top, ".") {
			found = append(found, top)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// trackedFiles are those that git knows below a directory; without git, or in a copy without its history,
// what lies in it.
func trackedFiles(dir string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = dir
	if out, err := cmd.Output(); err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), nil
	}
	return filesOf(dir)
}

func filesOf(dir string) ([]string, error) {
	ignored, err := os.ReadFile(path.Join(dir, ".gitignore"))
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if !slices.ContainsFunc(strings.Fields(string(ignored)), func(pattern string) bool {
			match, err := path.Match(strings.Trim(pattern, "/"), entry.Name())
			return match && err == nil
		}) {
			found = append(found, entry.Name())
		}
	}
	return found, nil
}
