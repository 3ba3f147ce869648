package broker

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"outrigger/broker/partition"
	"outrigger/broker/share"
	"outrigger/broker/topic"
)

// What share groups may choose.
const (
	isolationUncommitted = "read_uncommitted"
	isolationCommitted   = "read_committed"
	resetLatest          = "latest"
	resetEarliest        = "earliest"
	resetDuration        = "by_duration:"
)

// shareSettings are the configs of one share group.
type shareSettings struct {
	session, interval time.Duration
	assign            time.Duration
	limits            share.Limits
	committed, renews bool
	reset             offsetReset
	// letters is the topic of the group's dead letters, "" if it has none; copies: they hold the record itself.
	letters string
	copies  bool
}

// shareSettings are those of a group, whether or not it exists.
func (b *Broker) shareSettings(name string) shareSettings {
	return b.shareSettingsOf(b.cluster.View().Configs(topic.GroupConfigs, name).Values)
}

func (b *Broker) shareSettingsOf(set map[string]string) shareSettings {
	c := &b.config.Shares
	s := shareSettings{
		letters: set[configLetterQueue], copies: set[configLetterCopies] == "true",
		session: millisIn(set, configShareSession, c.Session), interval: millisIn(set, configShareInterval, c.Interval),
		assign:    millisIn(set, configShareAssign, c.Assign),
		committed: set[configShareIsolation] == isolationCommitted, renews: set[configShareRenew] != "false",
		limits: share.Limits{
			LocksMax:      numberIn(set, configShareHeld, int64(c.Held)),
			DeliveriesMax: int16(numberIn(set, configShareDeliveries, int64(c.Deliveries))),
			LockMillis:    millisIn(set, configShareLock, c.Lock).Milliseconds(),
			Letters:       set[configLetterQueue] != "",
		},
	}
	if value, own := set[configShareReset]; own {
		s.reset, _ = parseReset(value) // it was judged when it was set
	}
	return s
}

// offsetReset is where a share group begins in a partition: at the end, unless earliest, or back by some
// time.
type offsetReset struct {
	earliest bool
	back     time.Duration
}

// isoDuration is what Java's Duration reads of ISO 8601, but signs.
var isoDuration = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,9})?)S)?)?$`)

// parseReset reads `share.auto.offset.reset`.
func parseReset(value string) (offsetReset, error) {
	switch value {
	case resetLatest:
		return offsetReset{}, nil
	case resetEarliest:
		return offsetReset{earliest: true}, nil
	}
	text, is := strings.CutPrefix(value, resetDuration)
	parts := isoDuration.FindStringSubmatch(strings.ToUpper(text))
	if !is || parts == nil || strings.HasSuffix(text, "P") || strings.HasSuffix(text, "T") {
		return offsetReset{}, fmt.Errorf("offset reset %q", value)
	}
	total := 0.0
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if parts[i+1] != "" {
			n, err := strconv.ParseFloat(parts[i+1], 64)
			if err != nil {
				return offsetReset{}, fmt.Errorf("offset reset %q: %w", value, err)
			}
			total += n * float64(unit)
		}
	}
	if total > math.MaxInt64/2 {
		return offsetReset{}, fmt.Errorf("offset reset %q is too long", value)
	}
	return offsetReset{back: time.Duration(total)}, nil
}

// offset is where to begin in a log. A reader of committed records does not begin amid undecided ones.
func (r offsetReset) offset(log *partition.Log, committed bool, now time.Time) (topic.Offset, error) {
	if r.earliest {
		start, _ := log.Earliest()
		return start, nil
	}
	if r.back > 0 {
		offset, _, _, err := log.OffsetForTime(now.Add(-r.back).UnixMilli())
		if err != nil || offset >= 0 {
			return offset, err
		}
	}
	if committed {
		offset, _, err := log.LatestStable()
		return offset, err
	}
	offset, _, err := log.Latest()
	return offset, err
}
