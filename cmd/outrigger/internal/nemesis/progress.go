package nemesis

import (
	"fmt"
	"io"
	"time"
)

// progress is one line that rewrites itself on a terminal, and nothing elsewhere.
type progress struct {
	out   io.Writer
	shown time.Duration
	doing string
}

const progressEvery = 500 * time.Millisecond

// show writes the line, not too often.
func (p *progress) show(c *campaign) {
	now := c.clock()
	if p.out == nil || now-p.shown < progressEvery {
		return
	}
	p.shown = now
	fmt.Fprintf(p.out, "\r\x1b[K%v of %v, period %d, %d records acknowledged, %d anomalies: %s",
		now.Round(time.Second), c.length, c.report.Periods, c.load.availability.total(), len(c.report.Anomalies),
		shorten(p.doing, 60))
}

// done leaves the line behind.
func (p *progress) done() {
	if p.out != nil {
		fmt.Fprintln(p.out)
	}
}
