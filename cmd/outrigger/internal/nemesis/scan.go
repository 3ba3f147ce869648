package nemesis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// alarms are what no log of a broker may say, whatever was done to it.
var alarms = []string{
	"WARNING: DATA RACE", "panic:", "fatal error:", "logs contradict",
}

// damageFound is what a broker says whose log is damaged, when it goes on with what is left.
const damageFound = `"msg":"write-ahead log is damaged"`

const (
	alarmsMax     = 5
	alarmShown    = 400
	logLineReader = 64 << 10
)

// logFindings is what a log says.
type logFindings struct {
	alarms []string
	errors int
	// damaged is how often a log was found damaged.
	damaged int
}

// scanLog looks for alarms, and counts lines of level error: those are to be expected of a broker
// whose disk fails.
func scanLog(r io.Reader) (logFindings, error) {
	var f logFindings
	lines := bufio.NewReaderSize(r, logLineReader)
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, `"level":"ERROR"`) {
			f.errors++
		}
		if strings.Contains(line, damageFound) {
			f.damaged++
		}
		for _, alarm := range alarms {
			if strings.Contains(line, alarm) && len(f.alarms) < alarmsMax {
				f.alarms = append(f.alarms, shorten(strings.TrimSpace(line), alarmShown))
			}
		}
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, err
		}
	}
}

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// scanFile is scanLog of a file.
func scanFile(path string) (logFindings, error) {
	file, err := os.Open(path)
	if err != nil {
		return logFindings{}, fmt.Errorf("scan log: %w", err)
	}
	defer func() { _ = file.Close() }()
	f, err := scanLog(file)
	if err != nil {
		return f, fmt.Errorf("scan log %s: %w", path, err)
	}
	return f, nil
}
