package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A remedy that names a value which the table refuses helps nobody, and one that is said to be the default is that.
// Every string of the program that says key=value of a key of the table is judged by it.
func TestValuesThatTheProgramNamesAreAccepted(t *testing.T) {
	keys := map[string]Key{}
	for _, k := range Table() {
		keys[k.Name] = k
	}
	setting := regexp.MustCompile(`([a-z][a-z0-9]*(?:\.[a-z0-9]+)+)=([A-Za-z0-9_-]+)([^\s"]?)( \(the default\))?`)
	named := map[string]int{}
	judge := func(file, text string) {
		for _, m := range setting.FindAllStringSubmatch(text, -1) {
			key, known := keys[m[1]]
			if !known || m[3] == "%" {
				continue
			}
			named[m[1]]++
			if reason := key.check(m[2]); reason != "" {
				t.Errorf("%s says %s=%s, which is refused: %s", file, m[1], m[2], reason)
			}
			if m[4] != "" && m[2] != key.Default {
				t.Errorf("%s says that %s=%s is the default, which is %s", file, m[1], m[2], key.Default)
			}
		}
	}
	for _, root := range []string{"cmd", "broker", "sidecar", "natsconf"} {
		err := filepath.WalkDir(filepath.Join("../../../..", root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil {
						judge(path, text)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if named[keyDamagePolicy] < 2 {
		t.Errorf("%s is named %d times: the test looks in the wrong place", keyDamagePolicy, named[keyDamagePolicy])
	}
}
