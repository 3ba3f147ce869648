package config

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Keys of Kafka (KIP-1263), for groups of the consumer protocol and for share groups.
const (
	keyConsumerAssign    = "group.consumer.assignment.interval.ms"
	keyConsumerAssignMin = "group.consumer.min.assignment.interval.ms"
	keyConsumerAssignMax = "group.consumer.max.assignment.interval.ms"
	keyShareAssign       = "group.share.assignment.interval.ms"
	keyShareAssignMin    = "group.share.min.assignment.interval.ms"
	keyShareAssignMax    = "group.share.max.assignment.interval.ms"
)

// Assignment is how long a group's partitions stay divided as they are before they may be divided anew, and
// the bounds of what a group may be given as its own.
type Assignment struct{ Interval, Min, Max time.Duration }

// assignmentKeys are those of one kind of group. Kafka waits for a second, which is what many members at once
// cost it; here they cost less than the wait.
func assignmentKeys(interval, least, most, group string) []Key {
	add := func(name string, value int, doc string) Key {
		return Key{Name: name, Kind: Integer, Default: strconv.Itoa(value), Unit: "ms", Max: math.MaxInt32, Doc: doc}
	}
	return []Key{
		add(interval, 0, "How long after a division of a group's partitions the next one may come; 0: at once. Kafka's default is 1000."),
		add(least, 0, fmt.Sprintf("The shortest %s that a group may be given as its own.", group)),
		add(most, 15_000, fmt.Sprintf("The longest %s that a group may be given as its own.", group)),
	}
}

// assignment reads them, and refuses an interval out of its bounds.
func (b *builder) assignment(interval, least, most string) Assignment {
	a := Assignment{Interval: b.millis(interval), Min: b.millis(least), Max: b.millis(most)}
	switch {
	case a.Max < a.Min:
		b.refuse(&Refusal{most, b.text(most), fmt.Sprintf("it is below %s=%s", least, b.text(least))})
	case a.Interval < a.Min || a.Interval > a.Max:
		b.refuse(&Refusal{interval, b.text(interval), fmt.Sprintf("it is not within %s=%s and %s=%s", least, b.text(least), most, b.text(most))})
	}
	return a
}
