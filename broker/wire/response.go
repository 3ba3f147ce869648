package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// AppendResponse appends one response frame: size, header, body.
func AppendResponse(dst []byte, correlationID int32, resp kmsg.Response) []byte { return dst }

// AppendUnsupportedAPIVersions appends the answer to ApiVersions at a version we do not know.
func AppendUnsupportedAPIVersions(dst []byte, correlationID int32) []byte { return dst }

// FetchFrame encodes resp as one frame whose record batches are held by reference. batches returns
// the batches of resp.Topics[topic].Partitions[partition]; RecordBatches is ignored.
func FetchFrame(correlationID int32, resp *kmsg.FetchResponse, batches func(topic, partition int) [][]byte) [][]byte {
	return nil
}
