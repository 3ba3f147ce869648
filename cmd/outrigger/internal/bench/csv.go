package bench

import (
	"encoding/csv"
	"io"
	"strconv"
)

// writeCSV writes the series, one line per second and kind of result.
func writeCSV(out io.Writer, series []Row) error {
	w := csv.NewWriter(out)
	lines := [][]string{{"seconds", "phase", "kind", "records_per_second", "mb_per_second", "p50_ms", "p99_ms", "max_ms", "errors"}}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }
	for _, row := range series {
		for _, name := range shownNames(row.Cells) {
			c := row.Cells[name]
			lines = append(lines, []string{number(row.Seconds), row.Phase, name, number(c.RecordsPerSecond), number(c.MBPerSecond),
				number(c.P50), number(c.P99), number(c.Max), strconv.FormatInt(c.Errors, 10)})
		}
	}
	return w.WriteAll(lines)
}
