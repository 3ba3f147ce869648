package main

import (
	"testing"
	"time"
)

func TestTimerSlackIsRefusedWhereItCannotBeMeant(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Millisecond, "0s": 0, "0": 0, "200us": 200 * time.Microsecond, "50ms": 50 * time.Millisecond} {
		if got, err := timerSlack(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"1", "-1ms", "51ms", "soon"} {
		if got, err := timerSlack(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}
