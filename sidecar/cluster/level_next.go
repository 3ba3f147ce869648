//go:build nextlevel

package cluster

// Level is one more than that of the build without the tag, for tests of clusters in which brokers of two
// versions run. Its image has one more byte, its frames another version.
const Level = 5
