package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// codeUnsupportedVersion is Kafka's UNSUPPORTED_VERSION. It is the one error code this package
// knows, because the answer that carries it has a shape no handler can choose.
const codeUnsupportedVersion = 35

// AppendResponse appends one response frame: size, header, body. resp has its version set.
func AppendResponse(dst []byte, correlationID int32, resp kmsg.Response) []byte {
	start := len(dst)
	dst = appendHeader(dst, correlationID, resp)
	dst = resp.AppendTo(dst)
	putSize(dst[start:], len(dst)-start-4)
	return dst
}

// AppendUnsupportedAPIVersions appends the answer to an ApiVersions request of a version that we do
// not know (KIP-511): version 0, error 35, and of the table the row of ApiVersions alone, from which
// the client learns the version to ask again with.
func AppendUnsupportedAPIVersions(dst []byte, correlationID int32) []byte {
	api, ok := Lookup(keyAPIVersions)
	if !ok {
		panic("ApiVersions is not in the table")
	}
	row := kmsg.NewApiVersionsResponseApiKey()
	row.ApiKey, row.MinVersion, row.MaxVersion = api.Key, api.Advertised, api.Max
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(0)
	resp.ErrorCode = codeUnsupportedVersion
	resp.ApiKeys = append(resp.ApiKeys, row)
	return AppendResponse(dst, correlationID, resp)
}

// appendHeader appends room for the size, and the response header. A flexible response has an empty
// tag section there, except ApiVersions: its reader does not yet know what we speak.
func appendHeader(dst []byte, correlationID int32, resp kmsg.Response) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if resp.IsFlexible() && resp.Key() != keyAPIVersions {
		dst = append(dst, 0)
	}
	return dst
}

// putSize writes the size of a frame into its first four bytes.
func putSize(frame []byte, size int) {
	if size > math.MaxInt32 {
		panic(fmt.Sprintf("response of %d bytes does not fit into a frame", size))
	}
	binary.BigEndian.PutUint32(frame, uint32(size))
}
