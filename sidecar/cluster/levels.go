package cluster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"outrigger/broker/topic"
)

// ErrLevel: what was committed needs a format level that this build does not speak. The node stops; the
// operator starts a version that does.
var ErrLevel = errors.New("format level is not supported")

// Supported are the levels that this build speaks.
func Supported() topic.Levels { return topic.Levels{Min: topic.FirstLevel, Max: Level} }

// CheckLevel returns an error that wraps ErrLevel unless this build speaks the image's level.
func (im *Image) CheckLevel() error {
	if Supported().Hold(im.level) {
		return nil
	}
	return unsupported(im.level)
}

// LevelError is an ErrLevel, and says which level it is.
type LevelError struct{ Level uint16 }

// Error says what to do.
func (e *LevelError) Error() string {
	return fmt.Sprintf("the cluster has finalized format level %d, and this version of Outrigger speaks %s: start a "+
		"version that speaks level %d", e.Level, Supported(), e.Level)
}

// Unwrap makes it an ErrLevel.
func (e *LevelError) Unwrap() error { return ErrLevel }

func unsupported(level uint16) error { return &LevelError{level} }

// Lacking are the registered brokers, fenced or not, that do not speak a level.
func (im *Image) Lacking(level uint16) (nodes []topic.NodeID) {
	for i := range im.brokers {
		if b := &im.brokers[i].broker; !b.Levels.Hold(level) {
			nodes = append(nodes, b.ID)
		}
	}
	return nodes
}

// Found are the commands, in this order, by which a controller founds a cluster under an id: none while it
// has to wait, and none once the cluster has an id. So whatever has none is being founded, and no cluster of
// an older version is ever taken for a new one.
//
// A new cluster begins at the newest level of the version that founds it, unless an older version registers
// first. SetLevel is refused while nobody is registered, and all versions decide it alike, wherever it stands
// in the log:
//
//  1. Nobody is registered: the controller is a broker, too, and soon will be.
//  2. All who are registered speak this build's level: it is finalized. Whoever joins later and does not speak
//     it stops with a LevelError, as does an older voter that has not registered yet.
//  3. A broker of an older version was registered, or its registration gets ahead of SetLevel, which is
//     refused then: the cluster is named at the level that it has, and that rises as in every other cluster,
//     once an operator says so.
//
// The next controller finds in the image how far the one before it has come. One of an older version names
// the cluster, and leaves the level as it is.
func (im *Image) Found(id string) []Command {
	switch {
	case im.clusterID != "" || id == "" || len(im.brokers) == 0:
		return nil
	case im.level < Level && len(im.Lacking(Level)) == 0:
		return []Command{SetLevel{Level: Level}, SetClusterID{ID: id}}
	}
	return []Command{SetClusterID{ID: id}}
}

// levelsMark separates a broker's version from its levels. They share a string, so that versions from before
// there were levels carry them along; a broker that says nothing speaks the first level alone, and one that
// speaks nothing else says nothing.
const levelsMark = " levels="

func joinLevels(version string, l topic.Levels) string {
	if l == (topic.Levels{}) || l == (topic.Levels{Min: topic.FirstLevel, Max: topic.FirstLevel}) {
		return version
	}
	return version + levelsMark + l.String()
}

func splitLevels(joined string) (version string, l topic.Levels) {
	i := strings.LastIndex(joined, levelsMark)
	if i < 0 {
		return joined, topic.Levels{}
	}
	low, high, _ := strings.Cut(joined[i+len(levelsMark):], "-")
	least, err := strconv.ParseUint(low, 10, 16)
	most, err2 := strconv.ParseUint(high, 10, 16)
	if err != nil || err2 != nil {
		return joined, topic.Levels{}
	}
	return joined[:i], topic.Levels{Min: uint16(least), Max: uint16(most)}
}

// batchMark separates what is left of a broker's version from the largest batch that it carries, likewise.
const batchMark = " batch="

func joinBatchBytes(version string, most int32) string {
	if most <= 0 {
		return version
	}
	return version + batchMark + strconv.Itoa(int(most))
}

func splitBatchBytes(joined string) (version string, most int32) {
	i := strings.LastIndex(joined, batchMark)
	if i < 0 {
		return joined, 0
	}
	told := joined[i+len(batchMark):]
	n, err := strconv.ParseInt(told, 10, 32)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != told {
		return joined, 0
	}
	return joined[:i], int32(n)
}
