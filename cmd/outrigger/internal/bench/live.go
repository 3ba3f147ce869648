package bench

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// live is the line that a person looks at meanwhile. Where there is no terminal it says nothing.
type live struct{ out io.Writer }

func newLive(out *os.File, quiet bool) *live {
	if quiet || out == nil || !term.IsTerminal(int(out.Fd())) {
		return &live{out: io.Discard}
	}
	return &live{out: out}
}

const (
	clearLine = "\r\033[K"
	barWidth  = 20
)

// show replaces the line.
func (v *live) show(l *load, r Row) {
	line := bar(r.Seconds, l.window)
	for _, name := range shownNames(r.Cells) {
		c := r.Cells[name]
		line += fmt.Sprintf("  %s %s/s %.1f MB/s p99 %s", name, count(int64(c.RecordsPerSecond)), c.MBPerSecond, ms(c.P99))
		if c.Errors > 0 {
			line += fmt.Sprintf(" errors %d", c.Errors)
		}
	}
	fmt.Fprint(v.out, clearLine+line)
}

// bar is how far it is, if that is known.
func bar(seconds float64, w window) string {
	if w.to == never {
		return fmt.Sprintf("%4.0f s", seconds)
	}
	share := min(seconds/w.to.Seconds(), 1)
	full := int(share * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f/%.0f s %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full),
		seconds, w.to.Seconds(), w.phase(scaled(w.to, share)-1))
}

// say replaces the line with a sentence.
func (v *live) say(what string) { fmt.Fprint(v.out, clearLine+what+" ...") }

// done leaves an empty line.
func (v *live) done() { fmt.Fprint(v.out, clearLine) }
