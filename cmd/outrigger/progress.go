package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"outrigger/cmd/outrigger/internal/moves"
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

// seen reports whether anybody looks.
func (p *progress) seen() bool { return p.out != io.Discard }

// show replaces the line.
func (p *progress) show(done, all int, what string) {
	p.bar(int64(done), int64(all), fmt.Sprintf("%d/%d %s", done, all, what))
}

// moved replaces the line by how far moves are: in bytes, where brokers tell.
func (p *progress) moved(at moves.Progress) {
	text := fmt.Sprintf("%d/%d partitions moved", at.Partitions, at.Of)
	if at.OfBytes == 0 {
		p.bar(int64(at.Partitions), int64(at.Of), text)
		return
	}
	p.bar(at.Bytes, at.OfBytes, fmt.Sprintf("%s, %s", bytesOf(at.Bytes, at.OfBytes), text))
}

// say replaces the line by one without a bar: nobody knows how much is left.
func (p *progress) say(text string) { fmt.Fprint(p.out, progressClear, text) }

func (p *progress) bar(done, all int64, text string) {
	full := progressWidth
	if all > 0 {
		full = int(float64(progressWidth) * float64(done) / float64(all))
	}
	fmt.Fprintf(p.out, "%s[%s%s] %s", progressClear, strings.Repeat("#", full), strings.Repeat(".", progressWidth-full), text)
}

// end leaves an empty line.
func (p *progress) end() { fmt.Fprint(p.out, progressClear) }

// bytesOf is such as "1.2/3.4 GB (35 %)", in powers of 1000.
func bytesOf(done, all int64) string {
	unit, name := 1.0, "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if float64(all) < 1000*unit {
			break
		}
		unit, name = unit*1000, next
	}
	digits := 1
	if name == "B" {
		digits = 0
	}
	percent := 100.0
	if all > 0 {
		percent = 100 * float64(done) / float64(all)
	}
	return fmt.Sprintf("%.*f/%.*f %s (%.0f %%)", digits, float64(done)/unit, digits, float64(all)/unit, name, percent)
}
