package election

import (
	"fmt"
	"sort"

	"outrigger/broker/topic"
)

// EvidenceConfig tunes the controller's judgement. All times are in ticks.
type EvidenceConfig struct {
	// Watcher is that of the controller's own table.
	Watcher WatcherConfig
	// ReportTicks is how long a report counts after it came. Reports repeat, so it spans a few
	// repetitions. Default: the timeout.
	ReportTicks int
	// AskTicks is how long a suspect has to answer. Default: a quarter of the timeout, at least 1.
	AskTicks int
	// TrustTicks is how long an answer outweighs a single reporter. Default: the timeout.
	TrustTicks int
	// RepeatTicks is how long a verdict is not repeated: the deadline of a proposal. Default: the
	// timeout.
	RepeatTicks int
}

func (c EvidenceConfig) withDefaults() EvidenceConfig {
	c.Watcher = c.Watcher.withDefaults()
	timeout := c.Watcher.TimeoutTicks
	setDefault(&c.ReportTicks, timeout)
	setDefault(&c.AskTicks, max(1, timeout/4))
	setDefault(&c.TrustTicks, timeout)
	setDefault(&c.RepeatTicks, timeout)
	return c
}

// VerdictKind is what the controller shall do.
type VerdictKind uint8

const (
	// Ask the suspect's session whether it is there; tell Evidence if it answers.
	Ask VerdictKind = iota + 1
	// Fence the suspect's session.
	Fence
)

// String names the kind.
func (k VerdictKind) String() string {
	if k == Ask {
		return "ask"
	}
	return "fence"
}

// Ground is why.
type Ground uint8

const (
	// LostByController: the controller's own table lost the suspect.
	LostByController Ground = iota + 1
	// LostByMajority: most of those who share partitions with the suspect report it.
	LostByMajority
	// SingleReporter: all who share partitions with it are one broker, which reports it.
	SingleReporter
	// NoAnswer: the single reporter stands, and the suspect was asked and did not answer in time.
	NoAnswer
)

// String names the ground.
func (g Ground) String() string {
	switch g {
	case LostByController:
		return "lost by the controller"
	case LostByMajority:
		return "lost by a majority of its peers"
	case SingleReporter:
		return "lost by its only peer"
	default:
		return "lost by its only peer and silent when asked"
	}
}

// Verdict is one thing to do. It comes again while the evidence stands and the image is the same.
type Verdict struct {
	Kind        VerdictKind
	Ground      Ground
	Suspect     topic.Member
	SilentTicks int
	// Reporters are the peers whose reports count, by id.
	Reporters []topic.NodeID
}

// String is a log line.
func (v Verdict) String() string {
	return fmt.Sprintf("%s broker %d in session %s: %s, silent for %d ticks, reported by %v",
		v.Kind, v.Suspect.Node, v.Suspect.Session, v.Ground, v.SilentTicks, v.Reporters)
}

// Evidence weighs what speaks against brokers. One is made when a controller's first entry of its
// term commits: its own table then starts fresh, so that it does not fence everybody for a silence it
// did not listen to, while the reports of others count at once. It belongs to one goroutine.
type Evidence struct {
	config EvidenceConfig
	own    *Watcher
	// cases is sorted by suspect.
	cases []lawsuit
}

// lawsuit is what is known against one session.
type lawsuit struct {
	suspect topic.Member
	// reports is sorted by reporter.
	reports []report
	// asking says that the suspect was asked and has answerTicks left; unanswered, that it let them
	// pass.
	asking, unanswered bool
	answerTicks        int
	// trusted counts down the ticks in which its answer holds.
	trusted int
	// quiet counts down the ticks until a verdict is repeated.
	quiet int
}

// report is one reporter's word.
type report struct {
	reporter topic.Member
	silent   int
	// left counts down the ticks in which it counts.
	left int
}

// NewEvidence starts with a fresh table of the image's live brokers and without reports.
func NewEvidence(config EvidenceConfig, live []topic.Broker) *Evidence {
	config = config.withDefaults()
	e := &Evidence{config: config, own: NewWatcher(config.Watcher)}
	e.own.Sync(live)
	return e
}

// Sync follows the image: cases against sessions that are fenced or gone are closed.
func (e *Evidence) Sync(live []topic.Broker, image Image) {
	e.own.Sync(live)
	e.keep(func(c *lawsuit) bool { return image.Live(c.suspect) })
}

// Heard takes a heartbeat into the controller's own table; see Watcher.HeardAfter. It does not outweigh
// a majority.
func (e *Evidence) Heard(m topic.Member, ticks int) { e.own.HeardAfter(m, ticks) }

// Hint says that the controller lost a route to the node.
func (e *Evidence) Hint(node topic.NodeID) { e.own.Hint(node) }

// Grant says that an applied election made the node a leader.
func (e *Evidence) Grant(node topic.NodeID) { e.own.Grant(node) }

// Report takes a report and returns what follows from it at once.
func (e *Evidence) Report(r Request, image Image) []Verdict {
	if r.Reporter.Node == r.Suspect.Node || !image.Live(r.Reporter) || !image.Live(r.Suspect) {
		return nil
	}
	c := e.lawsuit(r.Suspect)
	c.take(report{reporter: r.Reporter, silent: r.SilentTicks, left: e.config.ReportTicks})
	if v, decided := e.judge(c, image); decided {
		return []Verdict{v}
	}
	return nil
}

// Answered says that the suspect's session answered when asked: single reporters are not believed
// for a while.
func (e *Evidence) Answered(m topic.Member) {
	c := e.find(m)
	if c == nil {
		return
	}
	c.asking, c.unanswered = false, false
	c.trusted, c.quiet = e.config.TrustTicks, 0
}

// Tick passes elapsed ticks, the number that really went by, and returns what is to be done, by
// suspect. After a long pause of our own all evidence is stale and is dropped.
func (e *Evidence) Tick(elapsed int, image Image) []Verdict {
	if elapsed > e.config.Watcher.PauseTicks {
		e.cases = nil
	}
	for _, s := range e.own.Tick(elapsed) {
		if image.Live(s.Member) {
			e.lawsuit(s.Member)
		}
	}
	var verdicts []Verdict
	for i := range e.cases {
		c := &e.cases[i]
		c.pass(elapsed)
		if v, decided := e.judge(c, image); decided {
			verdicts = append(verdicts, v)
		}
	}
	e.keep(func(c *lawsuit) bool {
		open := len(c.reports) > 0 || c.trusted > 0 || e.own.Suspects(c.suspect)
		return open && image.Live(c.suspect)
	})
	return verdicts
}

// Calm reports whether the next n ticks may pass in one call of Tick, at the end of their time.
func (e *Evidence) Calm(n int) bool { return len(e.cases) == 0 && e.own.Calm(n) }

// judge weighs one case. The order matters: what the controller saw itself needs nobody's word, and
// a majority needs no question.
func (e *Evidence) judge(c *lawsuit, image Image) (Verdict, bool) {
	v := Verdict{Suspect: c.suspect}
	if e.own.Suspects(c.suspect) {
		v.SilentTicks, _ = e.own.Silent(c.suspect)
		v.Kind, v.Ground = Fence, LostByController
		return v, e.speak(c)
	}
	peers := image.Peers(c.suspect.Node)
	for _, r := range c.reports {
		if image.Live(r.reporter) && contains(peers, r.reporter.Node) {
			v.Reporters = append(v.Reporters, r.reporter.Node)
			v.SilentTicks = max(v.SilentTicks, r.silent)
		}
	}
	if len(v.Reporters) == 0 || len(v.Reporters) <= len(peers)/2 {
		return v, false
	}
	if len(peers) > 1 {
		v.Kind, v.Ground = Fence, LostByMajority
		return v, e.speak(c)
	}
	return e.judgeSingle(c, v)
}

// judgeSingle weighs the word of one reporter who is all there is: between the two, either may be
// the one that is cut off, so the suspect is asked first.
func (e *Evidence) judgeSingle(c *lawsuit, v Verdict) (Verdict, bool) {
	switch {
	case c.trusted > 0 || c.asking:
		return v, false
	case c.unanswered:
		v.Kind, v.Ground = Fence, NoAnswer
		return v, e.speak(c)
	default:
		c.asking, c.answerTicks = true, e.config.AskTicks
		v.Kind, v.Ground = Ask, SingleReporter
		return v, true
	}
}

// speak reports whether a verdict is due, and begins the quiet time after it.
func (e *Evidence) speak(c *lawsuit) bool {
	if c.quiet > 0 {
		return false
	}
	c.quiet = e.config.RepeatTicks
	return true
}

// lawsuit finds the case against a session or opens one.
func (e *Evidence) lawsuit(suspect topic.Member) *lawsuit {
	i := e.place(suspect)
	if i == len(e.cases) || e.cases[i].suspect != suspect {
		e.cases = append(e.cases, lawsuit{})
		copy(e.cases[i+1:], e.cases[i:])
		e.cases[i] = lawsuit{suspect: suspect}
	}
	return &e.cases[i]
}

func (e *Evidence) find(suspect topic.Member) *lawsuit {
	i := e.place(suspect)
	if i == len(e.cases) || e.cases[i].suspect != suspect {
		return nil
	}
	return &e.cases[i]
}

func (e *Evidence) place(suspect topic.Member) int {
	return sort.Search(len(e.cases), func(i int) bool { return !less(e.cases[i].suspect, suspect) })
}

// keep collects the cases that stand into a new slice.
func (e *Evidence) keep(stands func(*lawsuit) bool) {
	var kept []lawsuit
	for i := range e.cases {
		if stands(&e.cases[i]) {
			kept = append(kept, e.cases[i])
		}
	}
	e.cases = kept
}

// take adds a report, in the place of an earlier one from the same node.
func (c *lawsuit) take(r report) {
	i := sort.Search(len(c.reports), func(i int) bool {
		return c.reports[i].reporter.Node >= r.reporter.Node
	})
	if i < len(c.reports) && c.reports[i].reporter.Node == r.reporter.Node {
		c.reports[i] = r
		return
	}
	c.reports = append(c.reports, report{})
	copy(c.reports[i+1:], c.reports[i:])
	c.reports[i] = r
}

// pass lets time pass: reports expire, deadlines come nearer.
func (c *lawsuit) pass(elapsed int) {
	var fresh []report
	for _, r := range c.reports {
		if r.left -= elapsed; r.left > 0 {
			fresh = append(fresh, r)
		}
	}
	c.reports = fresh
	c.trusted = max(0, c.trusted-elapsed)
	c.quiet = max(0, c.quiet-elapsed)
	if !c.asking {
		return
	}
	if c.answerTicks -= elapsed; c.answerTicks <= 0 {
		c.asking, c.unanswered = false, true
	}
}

func contains(nodes []topic.NodeID, node topic.NodeID) bool {
	for _, n := range nodes {
		if n == node {
			return true
		}
	}
	return false
}
