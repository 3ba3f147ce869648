// Package e2e runs whole clusters of real processes: `outrigger dev` with brokers that are killed,
// paused and wiped, and clients that people use. Nothing here reaches into the broker; a test sees
// what a user sees.
//
// The binary is built once per run. Tests that need a tool which is not installed skip and say so,
// unless OUTRIGGER_E2E_TOOLS=required (CI), where its absence is a failure.
package e2e
