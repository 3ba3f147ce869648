package broker

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Keys of log attributes.
const (
	keyAddress    = "address"
	keyAPI        = "api"
	keyClientID   = "client_id"
	keyError      = "error"
	keyListener   = "listener"
	keyReason     = "reason"
	keyRepeated   = "repeated"
	keyTopic      = "topic"
	keyPartitions = "partitions"
	keyReplicas   = "replication_factor"
	keyVersion    = "api_version"
)

// Reasons of bad input; each is a label of the counter, so there are few.
const (
	reasonTooMany    = "too many connections"
	reasonFrame      = "bad frame"
	reasonStalled    = "stalled frame"
	reasonHeader     = "bad header"
	reasonAPI        = "unknown api"
	reasonVersion    = "unsupported version"
	reasonRequest    = "malformed request"
	reasonAcks       = "invalid acks"
	reasonBatch      = "bad batch"
	reasonUnanswered = "failed produce without answer"
)

// offence is one case of bad input.
type offence struct {
	Address, Reason string
	// ClientID and API are what the client said, as far as that was understood.
	ClientID, API string
	Version       int16
	Err           error
}

const (
	offenceQuiet   = time.Minute
	offendersMax   = 1024
	clientIDLogged = 64
)

// offenders counts all bad input, and logs one warning a minute for each address and reason. Its
// memory is bounded: when offendersMax pairs were seen within a minute, further pairs are counted
// and not logged.
type offenders struct {
	logger *slog.Logger
	count  *prometheus.CounterVec
	now    func() time.Time

	mu   sync.Mutex
	seen map[offender]*record
}

type offender struct{ address, reason string }

type record struct {
	logged   time.Time
	repeated int
}

func newOffenders(logger *slog.Logger, count *prometheus.CounterVec) *offenders {
	return &offenders{logger: logger, count: count, now: time.Now, seen: map[offender]*record{}}
}

func (o *offenders) report(what offence) {
	o.count.WithLabelValues(what.Reason).Inc()
	repeated, ok := o.due(offender{what.Address, what.Reason})
	if !ok {
		return
	}
	if len(what.ClientID) > clientIDLogged {
		what.ClientID = what.ClientID[:clientIDLogged]
	}
	o.logger.Warn("bad input", keyAddress, what.Address, keyReason, what.Reason,
		keyClientID, what.ClientID, keyAPI, what.API, keyVersion, what.Version,
		keyError, what.Err, keyRepeated, repeated)
}

// due says whether to log now, and how often the same was kept quiet before.
func (o *offenders) due(who offender) (repeated int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	known := o.seen[who]
	if known == nil {
		if len(o.seen) >= offendersMax && !o.forgetLocked(now) {
			return 0, false
		}
		o.seen[who] = &record{logged: now}
		return 0, true
	}
	if now.Sub(known.logged) < offenceQuiet {
		known.repeated++
		return 0, false
	}
	repeated = known.repeated
	*known = record{logged: now}
	return repeated, true
}

// forgetLocked drops whoever was quiet for long enough, and says whether that made room.
func (o *offenders) forgetLocked(now time.Time) bool {
	for who, r := range o.seen {
		if now.Sub(r.logged) >= offenceQuiet {
			delete(o.seen, who)
		}
	}
	return len(o.seen) < offendersMax
}
