//go:build !linux

package bench

func fileSystemOf(string) string { return unknown }
