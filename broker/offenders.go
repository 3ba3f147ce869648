package broker

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons of bad input; each is a label of the counter, so there are few.
const (
	reasonTooMany = "too many connections"
	reasonFrame   = "bad frame"
	reasonStalled = "stalled frame"
	reasonHeader  = "bad header"
	reasonAPI     = "unknown api"
	reasonVersion = "unsupported version"
	reasonRequest = "malformed request"
	reasonBatch   = "bad batch"
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
	quietTime      = time.Minute
	quietMax       = 1024
	clientIDLogged = 64
)

// offenders counts all bad input, and logs one warning a minute for each address and reason.
type offenders struct {
	logger *slog.Logger
	count  *prometheus.CounterVec
	quiet  quiet
}

func newOffenders(logger *slog.Logger, count *prometheus.CounterVec) *offenders {
	return &offenders{logger: logger, count: count, quiet: newQuiet()}
}

func (o *offenders) report(what offence) {
	o.count.WithLabelValues(what.Reason).Inc()
	repeated, ok := o.quiet.due(source{what.Address, what.Reason})
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

// troubles logs the errors of our own that requests run into, one a minute for each API and code: the client is told a code that says
// "later", the operator what it was. What others have refused, and is tried again, is only a warning.
type troubles struct {
	logger *slog.Logger
	quiet  quiet
}

func newTroubles(logger *slog.Logger) *troubles {
	return &troubles{logger: logger, quiet: newQuiet()}
}

func (t *troubles) report(api string, told code, err error) {
	repeated, ok := t.quiet.due(source{api, told.String()})
	if !ok {
		return
	}
	log, what := t.logger.Warn, "request is to be tried again"
	if internal(findFault(err)) {
		log, what = t.logger.Error, "request met an internal error"
	}
	log(what, keyAPI, api, keyTold, told.String(), keyError, err, keyRepeated, repeated)
}

// quiet says when to log what may come in floods. Its memory is bounded: when quietMax sources were
// heard within a minute, further ones are not logged at all.
type quiet struct {
	now func() time.Time

	mu   *sync.Mutex
	seen map[source]*record
}

// source is what is logged once a minute.
type source struct{ who, what string }

type record struct {
	logged   time.Time
	repeated int
}

func newQuiet() quiet {
	return quiet{now: time.Now, mu: &sync.Mutex{}, seen: map[source]*record{}}
}

// due says whether to log now, and how often the same was kept quiet before.
func (q *quiet) due(from source) (repeated int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	known := q.seen[from]
	if known == nil {
		if len(q.seen) >= quietMax && !q.forgetLocked(now) {
			return 0, false
		}
		q.seen[from] = &record{logged: now}
		return 0, true
	}
	if now.Sub(known.logged) < quietTime {
		known.repeated++
		return 0, false
	}
	repeated = known.repeated
	*known = record{logged: now}
	return repeated, true
}

// forgetLocked drops whoever was quiet for long enough, and says whether that made room.
func (q *quiet) forgetLocked(now time.Time) bool {
	for from, r := range q.seen {
		if now.Sub(r.logged) >= quietTime {
			delete(q.seen, from)
		}
	}
	return len(q.seen) < quietMax
}
