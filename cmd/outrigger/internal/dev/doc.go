// Package dev runs a whole cluster on one machine: it starts brokers as processes of the same
// executable, waits until they serve, says so in one line, and stops them with itself.
//
//	dev ──┬── pipe to stdin ───> broker 1   its end of file means "stop": a dev that is killed with -9
//	      │                                 leaves no orphan
//	      ├<── stderr ────────── broker 1   relayed with the broker's name, never waited for
//	      ├── GET /ready ──────> broker 1   until it sees as many live brokers as there are
//	      └── ...                broker N
//
// Brokers have process groups of their own, so that Ctrl-C in a terminal reaches dev alone, which
// then stops all of them, once. Started by `go run`, which dies of a SIGTERM without handing it on,
// dev also stops when that parent is gone.
//
//	<data>/dev.json     how many brokers and which cluster id; another --brokers is refused
//	<data>/.lock        held by dev
//	<data>/broker-<i>/  the data directory of broker i
//
// The supervisor is one loop over events; what it starts only sends it events:
//
//	goroutine         one per       ends when
//	wait              process       the process has ended and its stderr is read
//	probe             process       the broker is ready, or the process has ended
//	relay             dev           the last line is written, or after a second
package dev

// Exit codes by which a broker tells dev, and dev its caller, why it did not start. A broker that was
// refused for one of these is not started again: it would be refused again.
const (
	ExitConfig  = 2
	ExitDataDir = 3
	ExitPort    = 4
)

// ExitStorage is the code of a broker whose disk has failed. Started again it may find it well.
const ExitStorage = 5

// LastWords begins the line in which a process says why it ends.
const LastWords = "outrigger: "

// FlagStopOnEOF is the flag of `start` that makes the end of stdin a request to stop.
const FlagStopOnEOF = "stop-on-eof"
