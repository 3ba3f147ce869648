// Package natsconf owns the embedded nats-server: it turns Outrigger's configuration into server
// options, merges an operator's nats.conf below them, starts the server and tells when it is ready,
// who its peers are, and who listens. It is the only importer of nats-server.
//
//	Config ─┐
//	        ├─ options: defaults -> operator's nats.conf -> ours, locked last ─> Start ─> Server
//	file  ──┘                                │
//	                                         └─> Render (the same options as text, secrets redacted)
//
// The accounts, each a world of its own that no subject crosses:
//
//	HB       heartbeats and the node-internal election subject   in-process users only, pinned
//	RAFT     consensus messages                                  in-process users only, pinned
//	REPL     WAL frames and their acknowledgements               in-process users, and peers' feeds (feed.go); pinned
//	CATCHUP  bulk reads and snapshots                            in-process users only, pinned
//	OPS      operators, status, events, taps                     operators over TCP, the sidecar in-process
//	SYS      the server's own events and reports                 the system user over TCP
//
// A pinned account has a route connection of its own to every peer, so that a heartbeat never
// queues behind a WAL frame. Between two nodes there is thus one ordered byte stream per account.
package natsconf
