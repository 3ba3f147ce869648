// Package system owns the clusters that are compared: processes of this machine that listen on
// loopback, with their data in a temporary directory.
//
//	Kafka, Outrigger, JetStream ── Start ──> Cluster ── Pause, Resume ──> Stop
//	                                            └── Servers, PIDs, Usage, Counters
//
// Only one cluster runs while something is measured. The others are stopped (SIGSTOP): they keep their
// memory and their warm code, and take no processor.
package system
