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
