package broker

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"outrigger/broker/wal"
)

// TestEverySentinelHasAKafkaCode reads the sentinels out of the packages below and wants each in the
// table. A sentinel that is forgotten here would be told to clients as "unknown", or worse.
func TestEverySentinelHasAKafkaCode(t *testing.T) {
	table, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"topic", "batch", "partition", "wal", "group"} {
		names := sentinels(t, pkg)
		if len(names) == 0 {
			t.Errorf("package %s: found no sentinel, want some", pkg)
		}
		for _, name := range names {
			if !strings.Contains(string(table), "{"+pkg+"."+name+", ") {
				t.Errorf("%s.%s: not in the error table", pkg, name)
			}
		}
	}
}

// sentinels are the exported package variables of dir that are called Err-something.
func sentinels(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, object := range parsed.Scope.Objects {
			if object.Kind == ast.Var && strings.HasPrefix(name, "Err") {
				names = append(names, name)
			}
		}
	}
	return names
}

// TestNoErrorBecomesSuccess (failure mode 19) walks the table, wrapped and unwrapped, and an error that
// nobody knows.
func TestNoErrorBecomesSuccess(t *testing.T) {
	unknown := errors.New("disk controller on fire")
	all := append([]fault{{err: unknown}}, faults...)
	for _, f := range all {
		for _, err := range []error{f.err, fmt.Errorf("while testing: %w", f.err)} {
			for _, got := range []code{codeBefore(err), codeAfter(err)} {
				if got == codeNone || got == code(-1) {
					t.Errorf("%v: got %v, want neither success nor UNKNOWN_SERVER_ERROR", err, got)
				}
				if strings.HasPrefix(got.String(), "1") || codeNames[got] == "" {
					t.Errorf("%v: code %d has no name", err, got)
				}
			}
		}
	}
	for _, got := range []code{codeBefore(unknown), codeAfter(unknown)} {
		if got != codeRequestTimedOut {
			t.Errorf("unknown error: got %v, want the retriable one that says nothing", got)
		}
	}
	if codeBefore(nil) != codeNone || codeAfter(nil) != codeNone {
		t.Errorf("no error: want NONE")
	}
}

// TestAfterAnAppendNothingSaysNo (failure mode 55): once a batch may be in the log, a client must not be told that it
// is not, or its retry is a duplicate.
func TestAfterAnAppendNothingSaysNo(t *testing.T) {
	for _, f := range faults {
		switch f.after {
		case codeRequestTimedOut, codeNotEnoughAfterAppend:
		case f.before:
			// Of the cluster image and of whole requests: there, before and after are the same.
			if errors.Is(f.err, wal.ErrFailed) || errors.Is(f.err, wal.ErrFull) {
				t.Errorf("%v after the append: got %v", f.err, f.after)
			}
		default:
			t.Errorf("%v after the append: got %v, want an unknown outcome", f.err, f.after)
		}
	}
}
