package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "outrigger/"

// pure packages decide and do nothing else: time reaches them as ticks, randomness as a seed, and
// what is to be done leaves them as data.
var pure = []string{
	"broker/topic", "broker/uncleared", "broker/wire", "broker/batch", "broker/fetchsession", "broker/group", "broker/group/assign", "broker/share",
	"sidecar/raft", "sidecar/cluster", "sidecar/replica", "sidecar/election", "sidecar/frame",
}

// impure is what no pure package may import. Two are judged by what is used of them, in badSource: a
// generator of math/rand/v2 that is made from a seed is pure, and a sync.Pool is memory, not a lock.
var impure = []string{"time", "os", "net", "sync/atomic", "log", "math/rand"}

// seeded are the names of math/rand/v2 that a core may use.
var seeded = []string{"New", "NewPCG", "Rand", "PCG", "Source"}

// ownership says who alone may import an outside thing, and what is below it.
type ownership struct {
	thing  string
	owners []string
}

func (o ownership) covers(imported string) bool { return under(imported, o.thing) }

var owners = []ownership{
	{"github.com/nats-io/nats.go", []string{"sidecar/bus"}},
	{"github.com/nats-io/nats-server", []string{"natsconf"}},
	{"github.com/cockroachdb/pebble", []string{"broker/catalog", "broker/pebblefs", "sidecar/raftstore"}},
}

// starters may contain the word go: the roots, and the owners of an outside thing. So may everything
// under cmd.
var starters = []string{"broker", "sidecar", "broker/wal", "broker/partition", "sidecar/bus", "natsconf", "sidecar/raftstore", "e2e/tools"}

// brokerLeaves are what the sidecar may know of the broker.
var brokerLeaves = []string{"broker/topic", "broker/uncleared", "broker/partition", "broker/wal", "broker/pebblefs"}

// worldParts are what the simulator makes disks and clients of.
var worldParts = []string{"broker/batch", "broker/wal/waltest", "broker/catalog/catalogtest"}

const (
	linesMax     = 600
	testLinesMax = 1200
)

// goPackage is what `go list` says of a package of ours, its path without the module's name.
type goPackage struct {
	Dir, ImportPath, Doc               string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
}

// The arrows of the layout hold, cores are pure, and files stay small. (failure modes 3 and 4: a core has
// no lock, and so no order of locks; failure mode 7: the broker, on whose path records are, knows nobody
// to propose to.)
func TestArchitecture(t *testing.T) {
	var wrong []string
	for _, p := range ourPackages(t) {
		wrong = append(wrong, p.badImports()...)
		if p.Doc == "" && len(p.GoFiles) > 0 {
			wrong = append(wrong, p.ImportPath+": no package comment")
		}
		for _, file := range p.GoFiles {
			wrong = append(wrong, p.badSource(t, file)...)
		}
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			wrong = append(wrong, tooLong(t, p, file, testLinesMax)...)
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		t.Errorf("%d violations:\n\t%s", len(wrong), strings.Join(wrong, "\n\t"))
	}
}

// TestOutsideThingsHaveOneOwner: an owner that no longer imports its thing is a rule gone stale.
func TestOutsideThingsHaveOneOwner(t *testing.T) {
	packages := ourPackages(t)
	for _, rule := range owners {
		var importers []string
		for _, p := range packages {
			if slices.ContainsFunc(p.Imports, rule.covers) {
				importers = append(importers, p.ImportPath)
			}
		}
		slices.Sort(importers)
		if !slices.Equal(importers, rule.owners) {
			t.Errorf("importers of %s: got %v, want %v alone", rule.thing, importers, rule.owners)
		}
	}
}

// ourPackages lists the module.
func ourPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e",
		"-json=Dir,ImportPath,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		packages = append(packages, p)
	}
	if len(packages) < 20 {
		t.Fatalf("got %d packages, want at least 20", len(packages))
	}
	return packages
}

// badImports holds a package's imports against the arrows. Tests may import what they like.
func (p goPackage) badImports() []string {
	var wrong []string
	for _, imported := range p.Imports {
		if why := p.refuses(imported); why != "" {
			wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", p.ImportPath, imported, why))
		}
	}
	return wrong
}

// refuses says why a package may not import something, or nothing.
func (p goPackage) refuses(imported string) string {
	ours, isOurs := strings.CutPrefix(imported, module)
	within := func(root string) bool { return under(p.ImportPath, root) }
	core := slices.Contains(pure, p.ImportPath)
	switch {
	case core && isOurs && !slices.Contains(pure, ours):
		return "a core does not know shells"
	case core && imported != "math/rand/v2" &&
		slices.ContainsFunc(impure, func(bad string) bool { return under(imported, bad) }):
		return "a core has no clock, I/O, lock, goroutine or log"
	case within("broker") && isOurs && !under(ours, "broker"):
		return "the broker knows nothing of who replicates it"
	case within("sidecar/sim") && isOurs && slices.Contains(worldParts, ours):
		return "" // the twin of the world has disks and clients, too
	case within("sidecar") && isOurs && under(ours, "broker") && !slices.Contains(brokerLeaves, ours):
		return "the sidecar knows the broker's leaves only"
	case within("sidecar") && isOurs && !under(ours, "broker") && !under(ours, "sidecar"):
		return "the sidecar knows the broker's leaves only"
	case within("e2e/history") && (isOurs || imported == "testing" || strings.Contains(imported, "franz-go")):
		return "the judge knows no client and no broker, and is linked into the binary"
	case within("natsconf") && isOurs && !under(ours, "natsconf"):
		return "natsconf knows nothing of ours"
	}
	for _, rule := range owners {
		if rule.covers(imported) && !slices.Contains(rule.owners, p.ImportPath) {
			return strings.Join(rule.owners, ", ") + " own it"
		}
	}
	return ""
}

// under reports whether a path is the root or below it.
func under(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// badSource looks into a file that is no test.
func (p goPackage) badSource(t *testing.T, name string) []string {
	t.Helper()
	wrong := tooLong(t, p, name, linesMax)
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
	if err != nil {
		return append(wrong, fmt.Sprintf("%s/%s: %v", p.ImportPath, name, err))
	}
	mayStart := slices.Contains(starters, p.ImportPath) || under(p.ImportPath, "cmd")
	core := slices.Contains(pure, p.ImportPath)
	ast.Inspect(parsed, func(n ast.Node) bool {
		why := ""
		switch n := n.(type) {
		case *ast.GoStmt:
			if !mayStart {
				why = "starts a goroutine, which is for roots and owners of an outside thing"
			}
		case *ast.SelectorExpr:
			from, ok := n.X.(*ast.Ident)
			switch {
			case !ok:
			case from.Name == "time" && n.Sel.Name == "Sleep":
				why = "sleeps instead of waiting for what it wants"
			case core && from.Name == "sync" && n.Sel.Name != "Pool":
				why = "locks, in a core that has one owner"
			case core && from.Name == "rand" && !slices.Contains(seeded, n.Sel.Name):
				why = "draws what no seed repeats"
			}
		}
		if why != "" {
			wrong = append(wrong, fmt.Sprintf("%s/%s:%d %s", p.ImportPath, name, files.Position(n.Pos()).Line, why))
		}
		return true
	})
	return wrong
}

func tooLong(t *testing.T, p goPackage, name string, linesMax int) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines > linesMax {
		return []string{fmt.Sprintf("%s/%s: %d lines, at most %d", p.ImportPath, name, lines, linesMax)}
	}
	return nil
}

// TestTaskfileQuotesItsTemplates: a bare {{ in a list of one line is YAML's beginning of a map, and no task at all
// can be run.
func TestTaskfileQuotesItsTemplates(t *testing.T) {
	text, err := os.ReadFile("../Taskfile.yml")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile(`'[^']*'|"[^"]*"`)
	for i, line := range strings.Split(string(text), "\n") {
		_, list, ok := strings.Cut(line, ": [")
		if ok && strings.Contains(quoted.ReplaceAllString(list, ""), "{{") {
			t.Errorf("Taskfile.yml:%d: %s: got a template without quotes", i+1, strings.TrimSpace(line))
		}
	}
}
