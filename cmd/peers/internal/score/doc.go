// Package score turns the samples of a comparison into the table that says who is ahead. Pure.
//
//	pair 1: {"kafka/small.mbps": 40, "outrigger/small.mbps": 61, ...} ┐
//	pair 2: {...}                                                    ├─ Collect ─> results ─> Markdown
//	                                      metrics: which key to which ┘
//
// A pair is what was measured next to each other in time, so a ratio is taken within a pair and its
// median over the pairs: a machine that gets slower for a minute slows both sides of the ratio.
package score
