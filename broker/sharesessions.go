package broker

import (
	"fmt"

	"outrigger/broker/share"
)

// shareVisit is what one request has to do with a share session.
type shareVisit struct {
	member share.Member
	// fetches are the partitions of the session, in the order in which they are to be read.
	fetches []share.Slot
	// closes: the session ends with the request.
	closes bool
}

// shareMember is who asks.
func shareMember(group, member *string) (share.Member, error) {
	if group == nil || *group == "" || member == nil || *member == "" {
		return share.Member{}, fmt.Errorf("%w: a share group's request names group and member", errInvalidRequest)
	}
	return share.Member{Group: *group, ID: *member}, nil
}

// open opens a session on a connection. One that the member has gives back its records.
func (s *sharePartitions) open(m share.Member, connection uint64, slots []share.Slot) (shareVisit, error) {
	s.mu.Lock()
	replaced, err := s.mu.sessions.Open(m, connection, slots)
	visit := shareVisit{member: m}
	if err == nil {
		var one *share.Session
		if one, err = s.mu.sessions.Find(m, share.SessionOpens+1); err == nil {
			visit.fetches = one.Turn()
		}
	}
	s.mu.Unlock()
	s.giveBack(m, replaced)
	s.renew(m, visit.fetches)
	return visit, err
}

// goOn goes on with a session, whose partitions it changes first.
func (s *sharePartitions) goOn(
	m share.Member, epoch int32, added, forgotten []share.Slot,
) (shareVisit, error) {
	visit, begun, err := s.next(m, epoch, added, forgotten)
	s.renew(m, begun)
	return visit, err
}

// next is the next request of a session, and tells which partitions it fetches for the first time.
func (s *sharePartitions) next(
	m share.Member, epoch int32, added, forgotten []share.Slot,
) (visit shareVisit, begun []share.Slot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, err := s.mu.sessions.Find(m, epoch)
	if err != nil {
		return visit, nil, err
	}
	if epoch == share.SessionCloses {
		return shareVisit{member: m, closes: true}, nil, nil
	}
	if begun, err = s.mu.sessions.Alter(one, added, forgotten); err != nil {
		return visit, nil, err
	}
	one.Next()
	return shareVisit{member: m, fetches: one.Turn()}, begun, nil
}

// renew forgets what is known of partitions that a member begins to fetch and that nobody uses, so that it is read
// again: the group may have been told to begin elsewhere since, which a leader with nothing to be kept does not hear.
// One that somebody uses, or that has something to be kept, is fenced when it is.
func (s *sharePartitions) renew(m share.Member, slots []share.Slot) {
	for _, slot := range slots {
		p := s.find(share.Key{Group: m.Group, Topic: slot.Topic, Partition: slot.Partition})
		if p != nil && p.rests() {
			s.drop(p)
		}
	}
}

// close ends a session: what the member has not acknowledged is given back.
func (s *sharePartitions) close(m share.Member) {
	s.mu.Lock()
	slots := s.mu.sessions.Close(m)
	s.mu.Unlock()
	s.giveBack(m, slots)
}

// disconnect ends the sessions of a connection.
func (s *sharePartitions) disconnect(connection uint64) {
	s.mu.Lock()
	ended := s.mu.sessions.Disconnect(connection)
	s.mu.Unlock()
	for m, slots := range ended {
		s.giveBack(m, slots)
	}
}

// giveBack makes available again what a member has.
func (s *sharePartitions) giveBack(m share.Member, slots []share.Slot) {
	if len(slots) == 0 {
		return
	}
	limits := s.broker.shareSettings(m.Group).limits
	for _, slot := range slots {
		if p := s.find(share.Key{Group: m.Group, Topic: slot.Topic, Partition: slot.Partition}); p != nil {
			p.release(limits, m.ID)
		}
	}
}
