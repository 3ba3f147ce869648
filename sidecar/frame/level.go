//go:build !nextlevel

package frame

// formatMax is that of the highest level of this build; see cluster.Level.
const formatMax = Format + 3
