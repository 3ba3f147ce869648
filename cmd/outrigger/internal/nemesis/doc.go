// Package nemesis runs a cluster of real processes, each in a network namespace of its own, breaks it
// on a schedule that a seed decides, and judges by what real clients were told.
//
//	Run (host) ── makes namespaces ── ip netns exec <clients> outrigger nemesis --inside ──> campaign
//	   │                                                                                       │
//	   │            bridge namespace                                                           │
//	   │   clients ──┐     │     ┌── broker 1: ip netns exec <b1> outrigger start              │
//	   │             ├── bridge ─┼── broker 2                                                  │
//	   │             │           └── broker 3                                                  │
//	   └── removes them, whoever died                                                          │
//	                                                                                           v
//	 schedule (seed) ──> periods ──> injector: signals, iptables, strace, tmpfs, bits ──> brokers
//	 load: franz-go, kafka-python ──> history ──> verdict        availability, recoveries ──> report
//
// The host's network is not touched: every veth is made inside the namespaces that it joins. Whoever
// runs Run may be killed at any time: brokers and clients end with their stdin, and namespaces whose
// owner is dead are removed at the next start.
//
// Pure: schedule, fault, budget, cuts, availability, scan and report. The rest owns processes, and the
// commands ip, iptables, strace, mount and python3.
//
// # What a fault may do
//
// A broker may end by itself only if its disk was at fault: with exit code 5 after a failed sync or
// without room, and with a refusal that names the damage after its log was damaged. Then it is started
// again, in the last case with an empty directory. At most min.insync.replicas-1 directories are lost
// before every in-sync set is full again. Anything else is an anomaly, as is a cluster that does not
// come back within its deadline after a heal.
//
// The seed decides the schedule. It does not decide how processes, network and disk interleave, so
// that a seed that failed may pass when it is run again.
package nemesis
