package score

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// header names the columns of the table.
var header = []string{"line", "figure", "Outrigger", "against", "theirs", "times better", "goal", "met"}

// WriteMarkdown writes the results as a table that is Markdown, and is aligned for those who read it
// as it is.
func WriteMarkdown(w io.Writer, results []Result) error {
	rows := [][]string{header}
	for _, r := range results {
		rows = append(rows, r.cells())
	}
	widths := make([]int, len(header))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for i, row := range rows {
		writeRow(&out, row, widths, " ")
		if i == 0 {
			writeRow(&out, make([]string, len(header)), widths, "-")
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func writeRow(out *strings.Builder, row []string, widths []int, pad string) {
	for i, cell := range row {
		fill := strings.Repeat(pad, widths[i]-utf8.RuneCountInString(cell))
		fmt.Fprintf(out, "|%s%s%s%s", pad, cell, fill, pad)
	}
	out.WriteString("|\n")
}

func (r Result) cells() []string {
	return []string{r.Line, r.Name, r.OursSpread.text(r.Unit), r.Peer, r.TheirsSpread.text(r.Unit),
		r.Ratio.text("x"), r.goal(), string(r.Verdict)}
}

// text is "median unit (min..max)".
func (s Spread) text(unit string) string {
	if s.N == 0 {
		return "no figure"
	}
	if unit != "x" {
		unit = " " + unit
	}
	if s.N == 1 || s.Min == s.Max {
		return short(s.Median) + unit
	}
	return fmt.Sprintf("%s%s (%s..%s)", short(s.Median), unit, short(s.Min), short(s.Max))
}

// goal says what has to be reached.
func (r Result) goal() string {
	var parts []string
	if r.AtMost > 0 {
		parts = append(parts, fmt.Sprintf("<= %s %s", short(r.AtMost), r.Unit))
	}
	switch {
	case r.Goal >= 1:
		parts = append(parts, fmt.Sprintf(">= %sx", short(r.Goal)))
	case r.Goal > 0:
		parts = append(parts, fmt.Sprintf(">= %.0f %%", 100*r.Goal))
	}
	if len(parts) == 0 {
		return string(NoGoal)
	}
	return strings.Join(parts, ", ")
}

// short writes three significant digits, and never an exponent.
func short(v float64) string {
	digits := 2
	for limit := 10.0; digits > 0 && (v >= limit || v <= -limit); limit *= 10 {
		digits--
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
