package share

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kbin"
)

// Mark says of a record that it is a snapshot, or, if Gone, that it takes the state away.
type Mark struct {
	Key  Key
	Gone bool
}

// MarkOf is the mark of a record; ok is false for updates, and for what a Replay does not take.
func MarkOf(r Record) (m Mark, ok bool) {
	key := kbin.Reader{Src: r.Key}
	kind := key.Int16()
	m = Mark{Key{key.String(), key.Uuid(), key.Int32()}, r.Value == nil}
	return m, kind == snapshotKey && key.Complete() == nil && len(key.Src) == 0
}

// Snapshots knows where in the committed log of one partition the newest snapshots are, and so which prefix
// of it nobody needs any more. A state is what its newest snapshot and the updates after that say, so a log
// that begins at the lowest of these, or before, says the same as all of it. States that were taken away hold
// nothing back: if only their last records are left, those are updates without a snapshot, which say nothing.
//
// What is not committed yet does not count, for a later leader may not have it.
type Snapshots struct {
	places map[Key]*snapshotPlace
	end    int64
}

type snapshotPlace struct {
	offset int64
	// since is when the snapshot was decided on, which may be a newer one than that at offset.
	since int64
}

// NewSnapshots returns what is known of an empty log.
func NewSnapshots() *Snapshots { return &Snapshots{places: map[Key]*snapshotPlace{}} }

// Note takes in a mark that is committed at an offset, above all before. now is milliseconds on any clock
// that does not go back.
func (s *Snapshots) Note(m Mark, offset, now int64) {
	if m.Gone {
		delete(s.places, m.Key)
		return
	}
	s.places[m.Key] = &snapshotPlace{offset, now}
}

// Settle says that everything below end is committed, and all its marks noted.
func (s *Snapshots) Settle(end int64) { s.end = max(s.end, end) }

// Cut is the offset below which nothing is needed any more.
func (s *Snapshots) Cut() int64 {
	cut := s.end
	for _, p := range s.places {
		cut = min(cut, p.offset)
	}
	return cut
}

// Cold returns the keys that are to be given new snapshots now, so that their old ones hold back the cut no
// longer: those whose last one was decided on at before or earlier, the lowest first, and most of them at
// most. It returns none unless the cut frees as many records as are written for it, so that a partition that
// nobody writes to comes to rest.
func (s *Snapshots) Cold(before, now int64, most int) []Key {
	var cold []Key
	cut, warm := s.end, s.end
	for key, p := range s.places {
		cut = min(cut, p.offset)
		if p.since <= before {
			cold = append(cold, key)
		} else {
			warm = min(warm, p.offset)
		}
	}
	cold = slices.DeleteFunc(cold, func(k Key) bool { return s.places[k].offset > warm })
	if freed := warm - cut - int64(len(cold)); len(cold) == 0 || freed < int64(len(cold)) {
		return nil
	}
	slices.SortFunc(cold, func(a, b Key) int { return cmp.Compare(s.places[a].offset, s.places[b].offset) })
	cold = cold[:min(most, len(cold))]
	for _, key := range cold {
		s.places[key].since = now
	}
	return cold
}
