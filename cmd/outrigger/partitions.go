package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// namedPartitions are partitions by topic, sorted; nil are all that the topic has.
type namedPartitions map[string][]int32

// partitionsMax bounds what one range may name.
const partitionsMax = 1_000_000

// parsePartitions reads topics with partitions, as in orders, orders:0,1 and orders:0-5.
func parsePartitions(texts []string) (namedPartitions, error) {
	named := namedPartitions{}
	whole := map[string]bool{}
	for _, text := range texts {
		topic, list, some := strings.Cut(text, ":")
		if topic == "" {
			return nil, fmt.Errorf("want a topic, or one with partitions as in orders:0,1 or orders:0-5")
		}
		if !some {
			whole[topic] = true
			continue
		}
		for _, part := range strings.Split(list, ",") {
			first, last, ranged := strings.Cut(part, "-")
			if !ranged {
				last = first
			}
			from, err := strconv.ParseUint(first, 10, 31)
			to, errTo := strconv.ParseUint(last, 10, 31)
			if err != nil || errTo != nil || to < from || to-from >= partitionsMax {
				return nil, fmt.Errorf("want numbers of partitions behind the colon, as in orders:0,1 or orders:0-5")
			}
			for p := from; p <= to; p++ {
				named[topic] = append(named[topic], int32(p))
			}
		}
		slices.Sort(named[topic])
		named[topic] = slices.Compact(named[topic])
	}
	for topic := range whole {
		named[topic] = nil
	}
	return named, nil
}

// topics are their names, sorted.
func (n namedPartitions) topics() []string { return slices.Sorted(maps.Keys(n)) }

// String is what parsePartitions reads, several topics with a semicolon between them, as Kafka's tools do.
func (n namedPartitions) String() string {
	var all []string
	for _, topic := range n.topics() {
		if n[topic] == nil {
			all = append(all, topic)
			continue
		}
		all = append(all, topic+":"+rangesText(n[topic]))
	}
	return strings.Join(all, ";")
}

// rangesText writes sorted numbers as in 0-5,7.
func rangesText(numbers []int32) string {
	var text strings.Builder
	for i := 0; i < len(numbers); {
		last := i
		for last+1 < len(numbers) && numbers[last+1] == numbers[last]+1 {
			last++
		}
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(strconv.Itoa(int(numbers[i])))
		if last > i {
			text.WriteString("-" + strconv.Itoa(int(numbers[last])))
		}
		i = last + 1
	}
	return text.String()
}
