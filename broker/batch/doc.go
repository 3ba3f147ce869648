// Package batch reads and checks record batches of format v2, the only one the broker stores. It is
// pure: bytes in, facts and errors out.
package batch
