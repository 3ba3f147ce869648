package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// failureModes is how many ways to fail the project's list has: what systems of this kind were seen to do.
const failureModes = 55

// unproven are those that belong to what is not built yet. One that a test names must not be among them.
var unproven = map[int]string{
	52: "SCRAM and ACLs",
}

// thisFile names modes to speak of them, and proves none.
const thisFile = "modes_test.go"

var (
	namesModes = regexp.MustCompile(`(?i)failure modes? ((?:[0-9]+(?:, and |, | and | to )?)+)`)
	modeRange  = regexp.MustCompile(`([0-9]+)(?: to ([0-9]+))?`)
)

// namedModes are the numbers that a text names: "failure modes 8, 10 to 13 and 49".
func namedModes(text string) []int {
	var named []int
	// A comment may break its line between two numbers.
	text = strings.ReplaceAll(text, "\n// ", " ")
	for _, list := range namesModes.FindAllStringSubmatch(text, -1) {
		for _, part := range modeRange.FindAllStringSubmatch(list[1], -1) {
			first, _ := strconv.Atoi(part[1])
			last := first
			if part[2] != "" {
				last, _ = strconv.Atoi(part[2])
			}
			for n := first; n <= last; n++ {
				named = append(named, n)
			}
		}
	}
	return named
}

// A failure mode without a test that names it comes back when nobody remembers it.
func TestEveryFailureModeHasATestThatNamesIt(t *testing.T) {
	tests := map[int][]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if entry.Name() == thisFile || !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/testdata/scenarios/") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, n := range namedModes(string(text)) {
			tests[n] = append(tests[n], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= failureModes; n++ {
		switch why, proven := unproven[n], len(tests[n]) > 0; {
		case !proven && why == "":
			t.Errorf("failure mode %d: got no test that names it, want one", n)
		case proven && why != "":
			t.Errorf("failure mode %d: %v name it, but it is excused: %s", n, tests[n], why)
		}
		delete(tests, n)
	}
	for n, paths := range tests {
		t.Errorf("failure mode %d, named in %v: there are only %d", n, paths, failureModes)
	}
}

func TestListsOfFailureModesAreRead(t *testing.T) {
	got := namedModes("failure modes 8, 10 to 12,\n// 14 and 20: so. Failure mode 3.")
	if want := []int{8, 10, 11, 12, 14, 20, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
