// Package interop has the clients that people use do what people do with them, each against three
// brokers of ours, and prints which can: a row for what is done, a column for each client.
//
// A client is a process of its own: a driver, which is a script in testdata (or this test's binary,
// for franz-go), or a command line tool whose words are translated. Lines of fields with tabs between,
// bytes in base64:
//
//	BOOTSTRAP produce TOPIC CODEC IDEMPOTENT                   reads: partition key value; says: acked partition offset value
//	BOOTSTRAP consume TOPIC GROUP PROTOCOL INSTANCE ISOLATION  until its input ends; says: assigned partitions,
//	                                                           and record partition offset key value
//	BOOTSTRAP transact ID TOPIC                                reads init, begin, send partition value [milliseconds],
//	                                                           offsets group topic partition offset, commit, abort
//	BOOTSTRAP admin                                            reads one of the words of admin_test.go, and its arguments
//
// The last two answer each line with one: ok and the answer's fields, or error and what the client saw.
// What a client says is checked against what another library, or the other clients, see.
//
// `task interop` installs what is missing, runs everything and writes the table into README.md. Elsewhere
// what is not installed is skipped, and with OUTRIGGER_E2E_TOOLS=required (CI) it fails.
package interop
