//go:build !linux

package main

import "time"

// coalesceTimers does nothing where timers have no slack.
func coalesceTimers(time.Duration) error { return nil }
