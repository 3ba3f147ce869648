package batch

import (
	"errors"
	"fmt"
)

// Each names one answer to a producer; the broker's table turns them into Kafka's codes.
var (
	// ErrCorrupt is a batch that was damaged on its way: its checksum or its length is wrong. The
	// producer may send it again.
	ErrCorrupt = errors.New("corrupt batch")
	// ErrInvalidRecord is a batch that arrived as it was made but was made wrong: no or several
	// batches, a wrong count, gaps between offsets, a control batch, records that do not parse.
	// Sending it again is of no use.
	ErrInvalidRecord = errors.New("invalid batch")
	// ErrInvalidTimestamp is a batch whose producer claims that its timestamps are the broker's, or one
	// with a record that is too old or too far ahead.
	ErrInvalidTimestamp = errors.New("invalid timestamp")
	// ErrUnsupportedMagic is a message set of format 0 or 1, or of one not invented yet.
	ErrUnsupportedMagic = errors.New("unsupported batch format")
	// ErrUnsupportedCodec is a compression that does not exist, or zstd from a producer too old to
	// know it.
	ErrUnsupportedCodec = errors.New("unsupported compression")
	// ErrTooLarge is a batch over the limit, as sent or when decompressed. Producers split it and
	// try again.
	ErrTooLarge = errors.New("batch too large")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrCorrupt)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrInvalidRecord)
}
