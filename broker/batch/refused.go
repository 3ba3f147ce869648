package batch

import (
	"errors"
	"fmt"
)

// refusedMax bounds how many records of one batch are named: a compressed one may hold millions.
const refusedMax = 4096

// RefusedRecord is a record that may not be appended, by its place in the batch.
type RefusedRecord struct {
	Index  int32
	Reason string
}

// RefusedRecords is the refusal of a batch for some of its records (KIP-467): the others, by themselves,
// might have been appended.
type RefusedRecords struct {
	// Records are named in their order, the first 4,096 of them.
	Records []RefusedRecord
	// Total is how many there are.
	Total int
	// kind is ErrInvalidTimestamp if one of them is refused for its time, else ErrInvalidRecord.
	kind error
}

// Error tells of the first.
func (r *RefusedRecords) Error() string {
	first := r.Records[0]
	return fmt.Sprintf("%d records are refused, the first is number %d: %s: %v", r.Total, first.Index, first.Reason, r.kind)
}

// Unwrap returns ErrInvalidRecord or ErrInvalidTimestamp.
func (r *RefusedRecords) Unwrap() error { return r.kind }

// note adds a record, and returns what it was added to.
func (r *RefusedRecords) note(index int32, reason string, kind error) *RefusedRecords {
	if r == nil {
		r = &RefusedRecords{kind: kind}
	}
	if r.Total++; len(r.Records) < refusedMax {
		r.Records = append(r.Records, RefusedRecord{index, reason})
	}
	if errors.Is(kind, ErrInvalidTimestamp) {
		r.kind = kind
	}
	return r
}
