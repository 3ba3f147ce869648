// Package datadir owns a broker's data directory: who it belongs to, who holds it now, and whether
// the last stop was a clean one. What lies in its sub-directories belongs to others.
//
//	<data>/meta.properties      format, cluster, node, disk and log id; the latter may be renewed
//	<data>/.lock                held (flock) while a broker runs; its text is the holder's process id
//	<data>/clean-stop           there only between a clean stop and the next start
//	<data>/nats-operator.json   passwords that were drawn because nobody chose any, mode 0600
//	<data>/wal/                 the node's write-ahead log
//	<data>/catalog/             where what was drained from it lies
//	<data>/metadata/            the Raft log and the cluster image
//
// meta.properties is Java properties, as Kafka's is:
//
//	format=outrigger
//	format.version=1
//	cluster.id=MkU3OEVBNTcwNTJENDM2Qg    empty until the cluster has one
//	node.id=1
//	disk.id=00112233445566778899aabbccddeeff
//	log.id=00112233445566778899aabbccddeeff  as disk.id until the log loses something
//	flush.lazy=false                         the last run synced before it acknowledged
//	checksum=1a2b3c4d                        CRC-32C of the lines above
//
// Check and Open refuse a directory that is not ours in one sentence with the value and the remedy,
// a *Refusal, and have then changed nothing. Open decides again under the lock what it decided
// before taking it, since another process may have been faster.
package datadir
