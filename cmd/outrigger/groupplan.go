package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// resetPlace says where to; one of them is given.
type resetPlace struct {
	earliest, latest, current bool
	offset, shift             int64
	datetime, duration, file  string
	// given names the flag, which for a number is not to be seen in its value.
	given string
}

// placeFlags are the flags of which one is given.
var placeFlags = []string{
	"to-earliest", "to-latest", "to-current", "to-offset", "shift-by", "to-datetime", "by-duration", "from-file",
}

func (p *resetPlace) register(flags *pflag.FlagSet) {
	flags.BoolVar(&p.earliest, "to-earliest", false, "to the first record")
	flags.BoolVar(&p.latest, "to-latest", false, "behind the last record")
	flags.BoolVar(&p.current, "to-current", false, "to where the group is, behind the last record where it has no offset")
	flags.Int64Var(&p.offset, "to-offset", 0, "to this offset")
	flags.Int64Var(&p.shift, "shift-by", 0, "on by so many records, back if negative")
	flags.StringVar(&p.datetime, "to-datetime", "", "to the first record at or after this time, as in 2026-11-28T12:00:00Z, in UTC without a zone")
	flags.StringVar(&p.duration, "by-duration", "", "to the first record of the time that began so long ago, as in 90m or P1DT12H")
	flags.StringVar(&p.file, "from-file", "", "to the offsets in a file that --export wrote, here or in Kafka's tools")
}

// choose wants one of the flags.
func (p *resetPlace) choose(flags *pflag.FlagSet) error {
	for _, name := range placeFlags {
		if !flags.Changed(name) {
			continue
		}
		if p.given != "" {
			return &usageError{fmt.Errorf("--%s and --%s exclude each other; give one", p.given, name)}
		}
		p.given = name
	}
	if p.given == "" {
		return &usageError{errors.New("say where to with one of --to-earliest, --to-latest, --to-current, --to-offset, " +
			"--shift-by, --to-datetime, --by-duration and --from-file")}
	}
	_, _, err := p.since(time.Time{})
	return err
}

// since is the time from which on records are wanted, if it is a time that was given.
func (p *resetPlace) since(now time.Time) (at time.Time, is bool, err error) {
	switch p.given {
	case "to-datetime":
		if at, err = parseTime(p.datetime); err != nil {
			return at, false, &usageError{fmt.Errorf("--to-datetime %s is refused: %w", p.datetime, err)}
		}
		return at, true, nil
	case "by-duration":
		back, err := parseDuration(p.duration, 0)
		if err != nil {
			return at, false, &usageError{fmt.Errorf("--by-duration %s is refused: %w", p.duration, err)}
		}
		return now.Add(-back), true, nil
	}
	return at, false, nil
}

// partitionBounds are offsets of a partition: of its first record, behind its last one, and the one that the
// time or the file says.
type partitionBounds struct{ first, end, said int64 }

// target is where the flags point to, within the partition.
func (p *resetPlace) target(from int64, b partitionBounds) int64 {
	to := b.said
	switch p.given {
	case "to-earliest":
		to = b.first
	case "to-latest":
		to = b.end
	case "to-current":
		if to = from; from < 0 {
			to = b.end
		}
	case "to-offset":
		to = p.offset
	case "shift-by":
		to = shifted(max(from, b.first), p.shift)
	}
	return min(max(to, b.first), b.end)
}

// shifted adds without overflow.
func shifted(from, by int64) int64 {
	switch sum := from + by; {
	case by > 0 && sum < from:
		return 1<<63 - 1
	default:
		return sum // from is not negative, so that no sum is too small
	}
}

// resetPlan is what the offsets of a group are to become.
type resetPlan struct {
	place   *resetPlace
	scope   namedPartitions
	current kadm.Offsets
	// filed are the offsets of the file.
	filed kadm.Offsets
}

// views finds the new offset of every partition.
func (p *resetPlan) views(ctx context.Context, admin *kadm.Client) ([]resetView, error) {
	topics := p.scope.topics()
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, explain("list first offsets of "+topicsText(topics), err, "")
	}
	ends, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, explain("list last offsets of "+topicsText(topics), err, "")
	}
	var dated kadm.ListedOffsets
	at, byTime, err := p.place.since(time.Now())
	if err != nil {
		return nil, err
	}
	if byTime {
		if dated, err = admin.ListOffsetsAfterMilli(ctx, max(at.UnixMilli(), 0), topics...); err != nil {
			return nil, explain("list offsets of "+topicsText(topics), err, "")
		}
	}
	var views []resetView
	for _, topic := range topics {
		partitions := p.scope[topic]
		if partitions == nil {
			partitions = slices.Sorted(maps.Keys(ends[topic]))
		}
		for _, partition := range partitions {
			v := resetView{Topic: topic, Partition: partition, From: -1}
			b := partitionBounds{}
			for _, one := range []struct {
				to   *int64
				from kadm.ListedOffsets
				want bool
			}{{&b.first, starts, true}, {&b.end, ends, true}, {&b.said, dated, byTime}} {
				if !one.want {
					continue
				}
				if *one.to, err = listedOffset(one.from, topic, partition); err != nil {
					return nil, err
				}
			}
			if o, ok := p.filed.Lookup(topic, partition); ok {
				b.said = o.At
			}
			if o, ok := p.current.Lookup(topic, partition); ok {
				v.From = o.At
			}
			v.To = p.place.target(v.From, b)
			views = append(views, v)
		}
	}
	return views, nil
}

// listedOffset is the offset that a partition's leader has told. kadm notes what is wrong with a topic under
// partition -1.
func listedOffset(listed kadm.ListedOffsets, topic string, partition int32) (int64, error) {
	o, is := listed.Lookup(topic, partition)
	if of, wrong := listed.Lookup(topic, -1); wrong {
		o, is = of, true
	}
	switch {
	case !is:
		return -1, fmt.Errorf("topic %s has no partition %d, it has %d (%s)", topic, partition, len(listed[topic]),
			kerr.UnknownTopicOrPartition.Message)
	case o.Err != nil && o.Partition < 0:
		return -1, explain("list offsets of "+topic, o.Err, "")
	case o.Err != nil:
		return -1, explain(fmt.Sprintf("list offsets of %s-%d", topic, partition), o.Err, "")
	}
	return o.Offset, nil
}
