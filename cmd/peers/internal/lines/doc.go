// Package lines measures the lines of the comparison: it owns the clients that measure, which are the
// command `outrigger bench` for whatever speaks Kafka's protocol, and `nats bench` for JetStream.
//
//	for each pair:
//	  fresh    kafka start, rest, failover │ outrigger start, rest, failover     clusters of this pair
//	  warm     throughput: kafka │ outrigger   small: kafka │ outrigger   ...     clusters of the whole run
//	  local    the WAL alone │ a plain program                                    no cluster
//	        └──> score.Values, one map per pair
//
// While one system is measured the others are stopped (SIGSTOP), and what they left in the page cache
// was written back before.
package lines
