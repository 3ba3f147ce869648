package share

import (
	"cmp"
	"slices"
)

// overlay puts newer batches over older ones, and leaves out what is below start. Older ones are sorted and
// without overlaps, and so is the result, in which neighbours that are alike are one.
func overlay(older []Batch, start int64, newer []Batch) []Batch {
	newer = apart(newer)
	all := make([]Batch, 0, len(older)+2*len(newer))
	all = append(all, newer...)
	at := 0
	for _, b := range older {
		for at < len(newer) && newer[at].Last < b.First {
			at++
		}
		// What is left of an older batch lies between the newer ones that it meets.
		for i := at; i < len(newer) && newer[i].First <= b.Last && b.First <= b.Last; i++ {
			if before := b; b.First < newer[i].First {
				before.Last = newer[i].First - 1
				all = append(all, before)
			}
			b.First = newer[i].Last + 1
		}
		if b.First <= b.Last {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Batch) int { return cmp.Compare(a.First, b.First) })
	kept := all[:0]
	for _, b := range all {
		if b.Last < start {
			continue
		}
		b.First = max(b.First, start)
		if n := len(kept); n > 0 && kept[n-1].Last+1 == b.First && kept[n-1].State == b.State && kept[n-1].Count == b.Count {
			kept[n-1].Last = b.Last
			continue
		}
		kept = append(kept, b)
	}
	return kept
}

// apart sorts batches, and takes away where they overlap: what we write never does.
func apart(batches []Batch) []Batch {
	sorted := slices.Clone(batches)
	slices.SortStableFunc(sorted, func(a, b Batch) int { return cmp.Compare(a.First, b.First) })
	kept := sorted[:0]
	for _, b := range sorted {
		if n := len(kept); n > 0 {
			b.First = max(b.First, kept[n-1].Last+1)
		}
		if b.First <= b.Last {
			kept = append(kept, b)
		}
	}
	return kept
}
