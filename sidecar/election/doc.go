// Package election decides who is believed dead. It is pure: time is ticks, and what is to be done
// comes back as data.
//
//	heartbeats, lost routes, images
//	        │ Heard, Hint, Grant, Sync
//	        v
//	     Watcher ── Tick ──> []Suspicion ── Request.Encode ──> local.<node>.election
//	                                                               │
//	     Pending <── Add ── DecodeRequest <── election worker <────┘
//	        │ Take: those that still hold ──> reports to the controller
//	        v
//	     Evidence ── Report, Heard, Answered, Tick ──> []Verdict: ask the suspect, or fence it
//
// The Watcher runs on every node and owns one table, "last heard, per node". Pending is the election
// worker's memory. Evidence runs on the controller only and is made anew when its first entry of the
// term commits.
//
// A predecessor of this system froze because its monitor called the elector under a lock and removed
// entries of the map that it walked; and it elected without end because a heartbeat refreshed
// nothing, or never because its trigger fired once and was lost. Hence: the tables are slices sorted
// by node, replaced by Sync and never changed while walked; a tick collects and returns; a heartbeat
// refreshes its node as a whole; and a suspicion, a report and a verdict are repeated until the image
// changes or the suspect speaks. Nothing here is one-shot, and nothing here acts.
package election
