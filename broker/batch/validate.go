package batch

// Limits are what a produced batch is judged by.
type Limits struct {
	BytesMax             int  // max.message.bytes; 0 means no bound
	Zstd                 bool // zstd is allowed: Produce v7 and up
	InspectCompressed    bool // decompress and check the records of compressed batches too
	DecompressedBytesMax int  // bound on a batch's records when decompressed; 0 means the default
}

// Validate judges a produced batch.
func Validate(b []byte, l Limits) (Header, error) { return Header{}, errSkeleton }
