package share

import (
	"errors"
	"slices"
	"testing"
)

func slots(partitions ...int32) []Slot {
	var all []Slot
	for _, p := range partitions {
		all = append(all, Slot{Partition: p})
	}
	return all
}

func TestSessionsTakeRequestsInTheirOrder(t *testing.T) {
	s := NewSessions(2, 10)
	m := Member{"g", "m"}
	if _, err := s.Find(m, 1); !errors.Is(err, ErrUnknownSession) {
		t.Errorf("no session: got %v, want %v", err, ErrUnknownSession)
	}
	if _, err := s.Open(m, 1, slots(0, 1, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(m, 2); !errors.Is(err, ErrSessionEpoch) {
		t.Errorf("epoch 2 first: got %v, want %v", err, ErrSessionEpoch)
	}
	one, err := s.Find(m, 1)
	if err != nil {
		t.Fatalf("epoch 1: %v", err)
	}
	one.Next()
	if _, err := s.Find(m, 1); !errors.Is(err, ErrSessionEpoch) {
		t.Errorf("epoch 1 again: got %v, want %v", err, ErrSessionEpoch)
	}
	if begun, err := s.Alter(one, slots(1, 2), slots(0)); err != nil || !slices.Equal(begun, slots(2)) {
		t.Fatalf("alter: got %v, %v, want %v to be new", begun, err, slots(2))
	}
	if got, want := one.Turn(), slots(2, 1); !slices.Equal(got, want) {
		t.Errorf("turn: got %v, want %v", got, want)
	}
	if got, want := one.Turn(), slots(1, 2); !slices.Equal(got, want) {
		t.Errorf("next turn: got %v, want %v", got, want)
	}
	if _, err := s.Find(m, SessionCloses); err != nil {
		t.Errorf("close: got %v, want none", err)
	}
	one.epoch = 1<<31 - 1
	if one.Next(); one.epoch != 1 {
		t.Errorf("after the last epoch: got %d, want 1", one.epoch)
	}
}

func TestSessionsKeepTheirBounds(t *testing.T) {
	s := NewSessions(2, 5)
	a, b, c := Member{"g", "a"}, Member{"g", "b"}, Member{"h", "a"}
	for _, m := range []Member{a, b} {
		if _, err := s.Open(m, 1, slots(0, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Open(c, 2, slots(0)); !errors.Is(err, ErrTooManySessions) {
		t.Errorf("third session: got %v, want %v", err, ErrTooManySessions)
	}
	one, err := s.Find(a, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Alter(one, slots(2, 3), nil); !errors.Is(err, ErrTooManySessions) {
		t.Errorf("six partitions: got %v, want %v", err, ErrTooManySessions)
	}
	if _, err := s.Alter(one, slots(2), nil); err != nil {
		t.Errorf("five partitions: %v", err)
	}
	if ended := s.Disconnect(1); len(ended) != 2 || len(ended[a]) != 3 || s.Len() != 0 || s.slots != 0 {
		t.Errorf("disconnected: got %v and %d partitions left, want both sessions and none", ended, s.slots)
	}
	if replaced, err := s.Open(c, 2, slots(0, 1)); err != nil || replaced != nil {
		t.Errorf("open: got %v, %v", replaced, err)
	}
	if replaced, err := s.Open(c, 3, slots(4)); err != nil || len(replaced) != 2 {
		t.Errorf("open again: got %v, %v, want the partitions of the one before", replaced, err)
	}
	if ended := s.Disconnect(2); len(ended) != 0 {
		t.Errorf("the connection before: got %v, want nothing", ended)
	}
}
