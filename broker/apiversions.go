package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/wire"
)

const (
	apiVersionsSoftware = 3 // clients name themselves from here on
	apiVersionsTarget   = 5 // clients may say whom they believe to talk to (KIP-1242)
)

// apiVersions tells what is served, and the finalized features.
func (b *Broker) apiVersions(
	_ context.Context, r *request, q *kmsg.ApiVersionsRequest,
) kmsg.Response {
	response := kmsg.NewPtrApiVersionsResponse()
	if refused := b.judgeAPIVersions(r, q); refused != codeNone {
		response.ErrorCode = int16(refused)
		b.meters.failure("ApiVersions", refused)
		return response
	}
	for _, api := range wire.Supported() {
		row := kmsg.NewApiVersionsResponseApiKey()
		row.ApiKey, row.MinVersion, row.MaxVersion = api.Key, api.Advertised, api.Max
		response.ApiKeys = append(response.ApiKeys, row)
	}
	b.addFeatures(response)
	return response
}

func (b *Broker) judgeAPIVersions(r *request, q *kmsg.ApiVersionsRequest) code {
	if r.Version >= apiVersionsSoftware &&
		(!softwareName(q.ClientSoftwareName) || !softwareName(q.ClientSoftwareVersion)) {
		return codeInvalidRequest
	}
	if r.Version < apiVersionsTarget || (q.ClusterID == nil && q.NodeID == -1) {
		return codeNone
	}
	switch {
	case q.ClusterID == nil || q.NodeID == -1:
		return codeInvalidRequest
	case *q.ClusterID != b.cluster.View().ClusterID() || q.NodeID != int32(b.config.Node):
		return codeRebootstrapRequired
	default:
		return codeNone
	}
}

// softwareName is KIP-511's [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?
func softwareName(s string) bool {
	if s == "" || !alphanumeric(s[0]) || !alphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
