package sim

import (
	"outrigger/broker/topic"
	"outrigger/sidecar/election"
	"outrigger/sidecar/replica"
)

// dataCounts are the counts of runs with brokers.
type dataCounts struct {
	registrations, replacedMeanwhile, lateRegistrations, triggers, fences, asked, majorities, noAnswers uint64
	powerLosses, spoiled, ioErrors, noSpace, dataWipes                                                  uint64
	topicsMade, topicsGone, refusedAppends, duplicatesAnswered, scans                                   uint64
	accepted, stale, rejected, undecided                                                                uint64
	gaps, cuts, shrinks, expansions, staleFrames                                                        uint64
	partitionLeaders, leaderless, fromEligible, eligible, smallISR, deepCuts                            uint64
	lostHosts, flips, misdirected, staleBlocks, unreadable, quarantines, mended                         uint64
	claims, uncleanElections, unsyncedLosses, scrubPasses, scrubFound, strides, secondLosses            uint64
	preferred, reassigned, cancels, movesRefused, movesFinished, voted, evictedLogs                     uint64
	deletions, deletionsDone, resets, drained, adopted, packsRemoved, repacked, merged, rolled, heads   uint64
	compactions, spansCut, compactedStarts, committedTransactions, abortedTransactions, leftOut         uint64
}

func (c *dataCounts) verdict(v election.Verdict) {
	switch {
	case v.Kind == election.Ask:
		c.asked++
	case v.Ground == election.LostByMajority:
		c.majorities++
	case v.Ground == election.NoAnswer:
		c.noAnswers++
	}
	if v.Kind == election.Fence {
		c.fences++
	}
}

func (c *dataCounts) decided(v replica.Verdict) {
	switch v {
	case replica.Accepted:
		c.accepted++
	case replica.Stale:
		c.stale++
	case replica.Refused:
		c.rejected++
	case replica.Unknown:
		c.undecided++
	}
}

func (c *dataCounts) replica(e replica.Event) {
	switch e.Kind {
	case replica.EventGap:
		c.gaps++
	case replica.EventCut:
		c.cuts++
	case replica.EventReset:
		c.resets++
	case replica.EventShrink:
		c.shrinks++
	case replica.EventExpand:
		c.expansions++
	}
}

// placement counts what an image did to a partition.
func (c *dataCounts) placement(before, after *topic.Placement, minimum int) {
	if before == nil {
		return
	}
	if before.Moving() && !after.Moving() && len(before.Adding()) > 0 && after.Hosts(before.Adding()[0]) {
		c.movesFinished++
	}
	if after.Leader == topic.NoNode && before.Leader != topic.NoNode {
		c.leaderless++
	}
	if len(after.ISR) < minimum && len(before.ISR) >= minimum {
		c.smallISR++
	}
	if len(after.Eligible) > 0 && len(before.Eligible) == 0 {
		c.eligible++
	}
	if after.Unclean && after.LeaderEpoch != before.LeaderEpoch {
		c.uncleanElections++
	}
	if after.LeaderEpoch != before.LeaderEpoch && after.Leader != topic.NoNode && !after.Unclean {
		inSync := false
		for _, m := range before.ISR {
			inSync = inSync || m.Node == after.Leader
		}
		if !inSync {
			c.fromEligible++
		}
	}
}

// rare lists them by name.
func (c *dataCounts) rare() []Rare {
	return []Rare{
		{"registrations", c.registrations}, {"replaced_meanwhile", c.replacedMeanwhile}, {"late_registrations", c.lateRegistrations}, {"triggers", c.triggers},
		{"fences", c.fences}, {"suspects_asked", c.asked}, {"fenced_by_majority", c.majorities},
		{"fenced_without_answer", c.noAnswers}, {"power_losses", c.powerLosses}, {"io_errors", c.ioErrors},
		{"no_space", c.noSpace}, {"data_wipes", c.dataWipes}, {"topics_made", c.topicsMade},
		{"topics_deleted", c.topicsGone}, {"refused_appends", c.refusedAppends},
		{"duplicates_answered", c.duplicatesAnswered}, {"scans", c.scans}, {"isr_accepted", c.accepted},
		{"isr_stale", c.stale}, {"isr_refused", c.rejected}, {"isr_unknown", c.undecided}, {"gaps", c.gaps},
		{"cuts", c.cuts}, {"deep_cuts", c.deepCuts}, {"shrinks", c.shrinks}, {"expansions", c.expansions},
		{"stale_frames", c.staleFrames}, {"partition_leaders", c.partitionLeaders},
		{"leaderless", c.leaderless}, {"led_from_eligible", c.fromEligible}, {"eligible", c.eligible},
		{"isr_below_min", c.smallISR}, {"preferred_leaders", c.preferred}, {"lost_hosts", c.lostHosts},
		{"flips", c.flips}, {"misdirected_blocks", c.misdirected}, {"stale_blocks", c.staleBlocks}, {"unreadable_blocks", c.unreadable}, {"quarantines", c.quarantines}, {"mended", c.mended},
		{"claims", c.claims}, {"unclean_elections", c.uncleanElections}, {"unsynced_losses", c.unsyncedLosses},
		{"scrub_passes", c.scrubPasses}, {"scrub_found", c.scrubFound}, {"drained_files", c.drained}, {"adopted_files", c.adopted}, {"packs_removed", c.packsRemoved}, {"packs_written_anew", c.repacked}, {"packs_merged", c.merged}, {"heads_made", c.heads}, {"files_sealed_early", c.rolled}, {"strides", c.strides}, {"second_losses", c.secondLosses},
		{"reassigned", c.reassigned}, {"reassignments_cancelled", c.cancels}, {"reassignments_refused", c.movesRefused},
		{"reassignments_finished", c.movesFinished}, {"voters_set", c.voted}, {"evicted_logs", c.evictedLogs},
		{"deletions", c.deletions}, {"deletions_done", c.deletionsDone}, {"log_resets", c.resets}, {"compactions", c.compactions}, {"spans_cut", c.spansCut},
		{"compacted_starts", c.compactedStarts}, {"transactions_committed", c.committedTransactions},
		{"transactions_aborted", c.abortedTransactions}, {"aborted_left_out", c.leftOut},
	}
}
