package datadir

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/magiconair/properties"

	"outrigger/broker/topic"
)

// FormatVersion is the only format of a data directory that this version reads and writes.
const FormatVersion = 1

const formatName = "outrigger"

// Identity is who a data directory belongs to.
type Identity struct {
	// Cluster is empty while the cluster has no id yet.
	Cluster string
	Node    topic.NodeID
	// Disk is drawn at random when the directory is made.
	Disk topic.DiskID
	// Log names the write-ahead log as the one that holds what this node acknowledged. It is Disk until
	// the log loses something; see RenewLog.
	Log topic.DiskID
	// Lazy says that the last run acknowledged before it synced (log.flush.policy=interval).
	Lazy bool
}

// errForeign: meta.properties is not ours. The operator names another directory.
var errForeign = errors.New("it was not written by Outrigger")

// formatError: the directory is ours, in a format that we cannot read.
type formatError struct{ version string }

func (e *formatError) Error() string { return "its format version is " + e.version }

// checksumKey begins the last line: the CRC-32C of all that comes before it. Directories of earlier
// versions have none, and earlier versions pass over it.
const checksumKey = "checksum="

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode writes meta.properties.
func (id Identity) encode() []byte {
	b := fmt.Appendf(nil, "# Written by Outrigger. A broker refuses a directory whose ids are not its own.\n"+
		"format=%s\nformat.version=%d\ncluster.id=%s\nnode.id=%d\ndisk.id=%s\nlog.id=%s\nflush.lazy=%t\n",
		formatName, FormatVersion, id.Cluster, id.Node, id.Disk, id.Log, id.Lazy)
	return fmt.Appendf(b, "%s%08x\n", checksumKey, crc32.Checksum(b, castagnoli))
}

// summed reports whether meta.properties has a checksum. One that it does not match is an error.
func summed(content []byte) (bool, error) {
	at := bytes.LastIndex(content, []byte("\n"+checksumKey)) + 1
	if at == 0 {
		return false, nil
	}
	if want := fmt.Sprintf("%s%08x\n", checksumKey, crc32.Checksum(content[:at], castagnoli)); string(content[at:]) != want {
		return true, fmt.Errorf("the last line is %q, want %q", content[at:], want)
	}
	return true, nil
}

// decode reads meta.properties.
func decode(content []byte) (Identity, error) {
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	parsed, err := loader.LoadBytes(content)
	if err != nil {
		return Identity{}, fmt.Errorf("read properties: %w", err)
	}
	values := parsed.Map()
	if values["format"] != formatName {
		return Identity{}, errForeign
	}
	if version := values["format.version"]; version != strconv.Itoa(FormatVersion) {
		return Identity{}, &formatError{version}
	}
	node, err := strconv.ParseInt(values["node.id"], 10, 32)
	if err != nil || node < 0 {
		return Identity{}, fmt.Errorf("node.id is %q", values["node.id"])
	}
	if _, err := summed(content); err != nil {
		return Identity{}, err
	}
	id := Identity{Cluster: values["cluster.id"], Node: topic.NodeID(node), Lazy: values["flush.lazy"] == "true"}
	if id.Disk, err = decodeID(values, "disk.id"); err != nil {
		return Identity{}, err
	}
	if _, named := values["log.id"]; !named { // written by a version that knew no damaged logs
		id.Log = id.Disk
		return id, nil
	}
	id.Log, err = decodeID(values, "log.id")
	return id, err
}

func decodeID(values map[string]string, key string) (topic.DiskID, error) {
	var id topic.DiskID
	raw, err := hex.DecodeString(values[key])
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("%s is %q", key, values[key])
	}
	copy(id[:], raw)
	if id.IsZero() {
		return id, fmt.Errorf("%s is zero", key)
	}
	return id, nil
}
