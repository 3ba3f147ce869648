package cluster

import (
	"errors"
	"fmt"

	"outrigger/broker/topic"
)

// ErrRefused: the command breaks a rule of the image whatever its state, or names a member that may
// not be named now. The proposer drops it, looks at the image and thinks again.
var ErrRefused = errors.New("command is refused")

// Status says what became of a command or of one item of it.
type Status uint8

// The statuses. Numbers travel and are never given out twice.
const (
	// OK: the effect is in the image, now or since before.
	OK Status = 0
	// Stale: an epoch or a session in the command is not that of the image.
	Stale Status = 1
	// Unknown: the topic, partition or node does not exist.
	Unknown Status = 2
	// NameTaken: another topic has the name.
	NameTaken Status = 3
	// InvalidName: the name breaks Kafka's rules or collides in '.' and '_'.
	InvalidName Status = 4
	// InvalidPartitions: the number of partitions is zero, negative, too large or shrinks.
	InvalidPartitions Status = 5
	// InvalidReplicationFactor: zero, negative, or more than there are registered brokers.
	InvalidReplicationFactor Status = 6
	// InvalidAssignment: unknown brokers, duplicates, uneven lists, or nobody live.
	InvalidAssignment Status = 7
	// InvalidConfig: a value that the image must understand and cannot.
	InvalidConfig Status = 8
	// Refused: see ErrRefused.
	Refused Status = 9

	statusMax = Refused
)

// Err is nil for OK and wraps a sentinel of package topic, or ErrRefused, for everything else.
func (s Status) Err() error {
	switch s {
	case OK:
		return nil
	case Stale:
		return topic.ErrStale
	case Unknown:
		return topic.ErrUnknown
	case NameTaken:
		return topic.ErrNameTaken
	case InvalidName:
		return topic.ErrInvalidName
	case InvalidPartitions:
		return topic.ErrInvalidPartitions
	case InvalidReplicationFactor:
		return topic.ErrInvalidReplicationFactor
	case InvalidAssignment:
		return topic.ErrInvalidAssignment
	case InvalidConfig:
		return topic.ErrInvalidConfig
	default:
		return ErrRefused
	}
}

// String is "ok" or the text of the error.
func (s Status) String() string {
	if s == OK {
		return "ok"
	}
	return s.Err().Error()
}

// Result is what became of a command.
type Result struct {
	// Status is that of the whole command. A command with items is OK as a whole.
	Status Status
	// Items holds one status per item, in the order of the command's items.
	Items []Status
	// FirstID and IDCount are the block of AllocateProducerIDs.
	FirstID int64
	IDCount int32
}

// Err is the error of the whole command.
func (r Result) Err() error { return r.Status.Err() }

// ItemErrs is one error per item, in order; nil stands for OK.
func (r Result) ItemErrs() []error {
	errs := make([]error, len(r.Items))
	for i, status := range r.Items {
		errs[i] = status.Err()
	}
	return errs
}

// Encode writes the result:
//
//	version u8 = 1 | status u8 | first id varint | id count varint | items uvarint | status u8 ...
func (r Result) Encode() []byte {
	var w writer
	w.u8(resultVersion)
	w.u8(uint8(r.Status))
	w.varint(r.FirstID)
	w.varint(int64(r.IDCount))
	w.uvarint(uint64(len(r.Items)))
	for _, status := range r.Items {
		w.u8(uint8(status))
	}
	return w.bytes
}

// DecodeResult reads what Result.Encode wrote.
func DecodeResult(b []byte) (Result, error) {
	r := reader{bytes: b}
	if version := r.u8(); r.err == nil && version != resultVersion {
		return Result{}, fmt.Errorf("decode result: %w: version %d", ErrFormat, version)
	}
	result := Result{Status: r.status(), FirstID: r.varint(), IDCount: r.i32()}
	if n := r.count(1); n > 0 {
		result.Items = make([]Status, n)
		for i := range result.Items {
			result.Items[i] = r.status()
		}
	}
	if err := r.finish(); err != nil {
		return Result{}, fmt.Errorf("decode result: %w", err)
	}
	return result, nil
}

func (r *reader) status() Status {
	status := Status(r.u8())
	if status > statusMax {
		r.fail("status %d", status)
	}
	return status
}
