// Package lines measures the lines of the comparison: it owns the clients that measure, which are the
// command `outrigger bench` for whatever speaks Kafka's protocol, and `nats bench` for JetStream.
//
//	fresh    for each pair: kafka start, rest, failover │ outrigger start, rest, failover
//	warm     for each pair: the WAL alone │ a plain program
//	                        throughput: kafka │ outrigger   small: kafka │ outrigger   ...
//	                        jetstream
//	many     for each pair: partitions: kafka │ outrigger   partitions-sticky: kafka │ outrigger
//	keeping  for each pair: ours without retention and compaction │ ours with them at work
//	        └──> score.Values, one map per pair
//
// While one system is measured the others are stopped (SIGSTOP), and what they left in the page cache
// was written back before.
package lines
