package share

import "slices"

// Epochs that a request says and that are none of a session: it opens one, or closes it.
const (
	SessionOpens  int32 = 0
	SessionCloses int32 = -1
)

// Slot is one partition of a session.
type Slot struct {
	Topic     [16]byte
	Partition int32
}

// Member names a member of a group. It has one session at a broker.
type Member struct{ Group, ID string }

// Session is what one member fetches from this broker.
type Session struct {
	Member
	// connection is the one that it was opened on: it ends with it.
	connection uint64
	epoch      int32
	slots      []Slot
}

// Sessions are those of a broker. They are for one goroutine at a time.
type Sessions struct {
	max, slotsMax int
	slots         int
	byMember      map[Member]*Session
	byConnection  map[uint64]map[Member]*Session
}

// NewSessions makes room for so many sessions, and so many partitions of them all.
func NewSessions(most, slotsMax int) *Sessions {
	return &Sessions{
		max: most, slotsMax: slotsMax, byMember: map[Member]*Session{}, byConnection: map[uint64]map[Member]*Session{},
	}
}

// Len is the number of sessions.
func (s *Sessions) Len() int { return len(s.byMember) }

// Open makes a session, in place of one that the member has. It returns the partitions of that.
func (s *Sessions) Open(m Member, connection uint64, slots []Slot) (replaced []Slot, err error) {
	replaced = s.Close(m)
	if len(s.byMember) >= s.max || s.slots+len(slots) > s.slotsMax {
		return replaced, ErrTooManySessions
	}
	one := &Session{Member: m, connection: connection, epoch: 1, slots: unique(slots)}
	s.byMember[m] = one
	if s.byConnection[connection] == nil {
		s.byConnection[connection] = map[Member]*Session{}
	}
	s.byConnection[connection][m] = one
	s.slots += len(one.slots)
	return replaced, nil
}

func unique(slots []Slot) []Slot {
	var own []Slot
	seen := make(map[Slot]bool, len(slots))
	for _, slot := range slots {
		if !seen[slot] {
			seen[slot] = true
			own = append(own, slot)
		}
	}
	return own
}

// Find checks that a request is the next one of its session. It changes nothing.
func (s *Sessions) Find(m Member, epoch int32) (*Session, error) {
	one := s.byMember[m]
	switch {
	case one == nil:
		return nil, ErrUnknownSession
	case epoch != SessionCloses && epoch != one.epoch:
		return nil, ErrSessionEpoch
	}
	return one, nil
}

// Next counts a request of a session.
func (one *Session) Next() {
	if one.epoch++; one.epoch <= 0 {
		one.epoch = 1
	}
}

// Alter adds partitions to a session and takes others out. It returns those that are new in it.
func (s *Sessions) Alter(one *Session, added, forgotten []Slot) (begun []Slot, err error) {
	gone := make(map[Slot]bool, len(forgotten))
	for _, slot := range forgotten {
		gone[slot] = true
	}
	left := func(slot Slot) bool { return gone[slot] }
	next := unique(append(slices.Clone(one.slots), added...))
	begun = slices.DeleteFunc(slices.Clone(next[len(one.slots):]), left)
	next = slices.DeleteFunc(next, left)
	if s.slots+len(next)-len(one.slots) > s.slotsMax {
		return nil, ErrTooManySessions
	}
	s.slots += len(next) - len(one.slots)
	one.slots = next
	return begun, nil
}

// Turn returns the partitions in the order in which they are to be read, another one first each time: an
// answer that is full before it has come to the last must not neglect that for ever.
func (one *Session) Turn() []Slot {
	if len(one.slots) > 1 {
		one.slots = append(slices.Clone(one.slots[1:]), one.slots[0])
	}
	return slices.Clone(one.slots)
}

// Close ends a session and returns its partitions.
func (s *Sessions) Close(m Member) []Slot {
	one := s.byMember[m]
	if one == nil {
		return nil
	}
	delete(s.byMember, m)
	delete(s.byConnection[one.connection], m)
	if len(s.byConnection[one.connection]) == 0 {
		delete(s.byConnection, one.connection)
	}
	s.slots -= len(one.slots)
	return one.slots
}

// Disconnect ends the sessions of a connection and returns their partitions.
func (s *Sessions) Disconnect(connection uint64) map[Member][]Slot {
	ended := map[Member][]Slot{}
	for m := range s.byConnection[connection] {
		ended[m] = s.Close(m)
	}
	return ended
}
