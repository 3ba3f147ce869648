package history

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// judgeLog says what is missing in a partition, and whether that can be said.
func (c *checker) judgeLog(number uint32) {
	log := c.logs[number]
	if log.final == nil {
		if c.partitions[number].ID != AnyPartition && c.written(number) {
			c.incomplete("%s was not read to its end after the last send", c.partitionName(number))
		}
		return
	}
	if log.lastAck > log.final.Asked {
		c.incomplete("%s: a send was acknowledged at %s, after its end was asked for at %s",
			c.partitionName(number), log.lastAck, log.final.Asked)
	}
	if !c.history.rules.Holes {
		from := int64(0)
		if c.history.rules.Retention {
			from = log.final.Start
		}
		for _, hole := range log.holes(from) {
			c.report(Hole, number, func(a *Anomaly) {
				a.Offsets = []int64{hole.from, hole.to - 1}
				a.Ops = []string{"the highest offset read: " + c.readOp(number, log.highest)}
			})
		}
	}
	c.judgeVanished(number, log)
}

func (c *checker) partitionName(number uint32) string {
	return fmt.Sprintf("%s-%d", c.partitions[number].Topic, c.partitions[number].ID)
}

// written reports whether there may be a record in a partition.
func (c *checker) written(number uint32) bool {
	log := c.logs[number]
	return log.mayHold || len(log.pages) > 0
}

// judgeVanished looks for records that somebody had read when the broker named an end below them.
func (c *checker) judgeVanished(number uint32, log *log) {
	if log.highest < log.final.End {
		return
	}
	for _, at := range slices.Sorted(maps.Keys(log.pages)) {
		p := log.pages[at]
		for above := p.read & clip(at, span{log.final.End, log.highest + 1}); above != 0; above &= above - 1 {
			bit := bits.TrailingZeros64(above)
			if c.pollOf(p.readBy[bit]).ended >= log.final.Asked {
				continue // it may have been written since
			}
			c.report(Vanished, number, func(a *Anomaly) {
				a.Offsets, a.Values = []int64{at<<6 + int64(bit)}, []Value{p.values[bit]}
				a.Ops = []string{
					c.pollOp(p.readBy[bit]),
					fmt.Sprintf("the end asked for at %s: %d", log.final.Asked, log.final.End),
				}
			})
		}
	}
}
