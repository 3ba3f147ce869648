package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// progress is the line that a person looks at meanwhile. Where there is no terminal it says nothing.
type progress struct{ out io.Writer }

const (
	progressClear = "\r\033[K"
	progressWidth = 30
)

// newProgress shows itself if out is a terminal.
func newProgress(out io.Writer) *progress {
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return &progress{out: out}
	}
	return &progress{out: io.Discard}
}

// show replaces the line.
func (p *progress) show(done, all int, what string) {
	full := progressWidth
	if all > 0 {
		full = progressWidth * done / all
	}
	fmt.Fprintf(p.out, "%s[%s%s] %d/%d %s", progressClear, strings.Repeat("#", full),
		strings.Repeat(".", progressWidth-full), done, all, what)
}

// end leaves an empty line.
func (p *progress) end() { fmt.Fprint(p.out, progressClear) }
