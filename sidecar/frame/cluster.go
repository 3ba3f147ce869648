package frame

import (
	"crypto/sha256"
	"encoding/base64"
)

// ClusterOf is the cluster id as frames carry it: the 16 bytes that a Kafka cluster id encodes, or a
// hash of one that does not look like that; zero while there is none.
func ClusterOf(id string) Cluster {
	var key Cluster
	if id == "" {
		return key
	}
	if raw, err := base64.RawURLEncoding.DecodeString(id); err == nil && len(raw) == len(key) {
		copy(key[:], raw)
		return key
	}
	sum := sha256.Sum256([]byte(id))
	copy(key[:], sum[:])
	return key
}
