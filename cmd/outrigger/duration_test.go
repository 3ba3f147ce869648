package main

import (
	"testing"
	"time"
)

func TestDurationsAreThoseOfKafkaAndGo(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"P1D": 24 * time.Hour, "PT0S": 0, "P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond,
		"pt30m": 30 * time.Minute, "PT1.000000001S": time.Second + 1, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "7": 7 * time.Minute,
	} {
		if got, err := parseDuration(text, time.Minute); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "P", "PT", "P1DT", "1D", "P1M", "P1Y", "-1h", "P-1D", "-7", "P200000000D", "9223372036854775807", "soon",
	} {
		if got, err := parseDuration(text, time.Minute); err == nil {
			t.Errorf("%q: got %v, want it to be refused", text, got)
		}
	}
	if got, err := parseDuration("7", 0); err == nil {
		t.Errorf("a number without unit: got %v, want it to be refused", got)
	}
}

func TestTimesAreThoseOfKafka(t *testing.T) {
	want := time.Date(2026, 11, 28, 12, 0, 0, 500_000_000, time.UTC)
	for _, text := range []string{
		"2026-11-28T12:00:00.5Z", "2026-11-28T12:00:00.500", "2026-11-28T13:00:00.500+01:00", "2026-11-28T13:00:00.500+0100",
		"2026-11-28T13:00:00.500+01",
	} {
		if got, err := parseTime(text); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "2026-11-28", "12:00", "yesterday"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q: got %v, want it to be refused", text, got)
		}
	}
}
