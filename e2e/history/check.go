package history

// Check judges a history that nobody writes to any more.
func Check(h *History) Verdict {
	return Verdict{Counts: map[Kind]int{}, Faults: map[string]int{}, Incomplete: []string{"not judged"}}
}
