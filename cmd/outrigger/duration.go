package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// isoDuration is what Java's Duration takes of ISO 8601: days of 24 hours, hours, minutes and seconds.
var isoDuration = regexp.MustCompile(`^P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?$`)

// parseDuration reads a duration as Kafka's tools write it, as in P1DT12H, or as Go does, as in 36h. A number
// alone counts in units, which are 0 where it says too little.
func parseDuration(text string, unit time.Duration) (time.Duration, error) {
	short := strings.ToUpper(text)
	if parts := isoDuration.FindStringSubmatch(short); parts != nil && short != "P" && !strings.HasSuffix(short, "T") {
		days, _ := strconv.ParseInt("0"+parts[1], 10, 64) // digits, and few enough
		hours, _ := strconv.ParseInt("0"+parts[2], 10, 64)
		text = fmt.Sprintf("%dh0%sm0%ss", days*24+hours, parts[3], parts[4])
	} else if n, err := strconv.ParseInt(text, 10, 64); err == nil && unit > 0 {
		if n < 0 || n > int64(time.Duration(1<<63-1)/unit) {
			return 0, fmt.Errorf("%s is out of range", text)
		}
		return time.Duration(n) * unit, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("want a duration as in 90m or P1DT12H")
	}
	return d, nil
}

// timeLayouts are those of RFC 3339, and those that Kafka's tools take. A time without zone is in UTC.
var timeLayouts = []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04:05"}

// parseTime reads a time as Kafka's tools do.
func parseTime(text string) (time.Time, error) {
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("want a time as in 2026-11-28T12:00:00Z; without Z or a zone it is in UTC")
}
