package batch

import "iter"

// Record is one record; its slices are valid until the iterator moves on.
type Record struct {
	Offset     int64
	Timestamp  int64
	Key, Value []byte
	Headers    []RecordHeader
}

// RecordHeader is one header of a record.
type RecordHeader struct {
	Key   string
	Value []byte
}

// Records iterates over the records of the batch b.
func Records(b []byte) iter.Seq2[Record, error] { return func(func(Record, error) bool) {} }

// Split cuts b into its batches.
func Split(b []byte) ([][]byte, error) { return nil, errSkeleton }

// FindTimestamp finds the first record of b at or after ts.
func FindTimestamp(b []byte, ts int64) (offset, timestamp int64, ok bool, err error) {
	return 0, 0, false, errSkeleton
}

// MaxTimestamp finds the first record of b that bears its largest timestamp.
func MaxTimestamp(b []byte) (offset, timestamp int64, err error) { return 0, 0, errSkeleton }
