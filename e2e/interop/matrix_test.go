package interop

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The rows, as the table names them.
const (
	rowProduce           = "produce"
	rowConsume           = "consume"
	rowCompacted         = "consume what was compacted"
	rowGroup             = "group of three, members come and go"
	rowStatic            = "static members"
	rowCooperative       = "cooperative group"
	rowConsumerGroup     = "group of KIP-848"
	rowShareGroup        = "share group"
	rowKill              = "idempotence across leader kills"
	rowCommit            = "transaction: commit"
	rowAbort             = "transaction: abort"
	rowFence             = "transaction: fencing"
	rowReadCommitted     = "read_committed"
	rowCopy              = "consume, transform, produce"
	rowAdminTopics       = "admin: create, describe, alter, delete topics"
	rowAdminConfigs      = "admin: alter, describe, delete configs of a topic, of a broker"
	rowAdminDefaults     = "admin: alter, describe, delete a config of all brokers"
	rowAdminGroups       = "admin: list, describe, reset, delete groups"
	rowAdminTransactions = "admin: list, describe transactions"
	rowHanging           = "admin: find hanging transactions, abort one"
	rowDeleteOffsets     = "admin: delete offsets of a group"
	rowAdminShares       = "admin: describe, reset, delete offsets of share groups"
	rowDeleteRecords     = "admin: delete records"
	rowReassign          = "admin: reassign partitions"
	rowThrottled         = "admin: reassign with a throttle, verify, take back"
	rowLogDirs           = "admin: log dirs"
	rowElect             = "admin: elect leaders"
	rowCoordinators      = "read what coordinators keep, by Kafka's formatters"
)

// row is one thing that clients do.
type row struct {
	name string
	// check is nil for the rows that run for all clients at once.
	check func(ctx context.Context, c *cluster, cl *client) error
}

var rows = []row{
	{rowProduce, produces}, {rowConsume, consumes}, {rowCompacted, consumesCompacted},
	{rowGroup, groupOfThree}, {rowStatic, static}, {rowCooperative, cooperative}, {rowConsumerGroup, consumerGroup},
	{rowShareGroup, shareGroup},
	{rowKill, nil},
	{rowCommit, commits}, {rowAbort, aborts}, {rowFence, fences}, {rowReadCommitted, readsCommitted}, {rowCopy, copies},
	{rowAdminTopics, adminTopics}, {rowAdminConfigs, adminConfigs}, {rowAdminDefaults, adminDefaults}, {rowAdminGroups, adminGroups}, {rowDeleteOffsets, deleteOffsets},
	{rowAdminShares, shareAdmin}, {rowAdminTransactions, adminTransactions}, {rowHanging, hanging},
	{rowDeleteRecords, deleteRecords}, {rowReassign, reassign}, {rowThrottled, throttled}, {rowLogDirs, logDirs}, {rowElect, nil},
	{rowCoordinators, readsCoordinators},
}

// notYet are the rows that brokers do not serve yet. A cell of theirs that passes fails the test, so that
// the list stays true.
var notYet = map[string]string{}

const (
	cellWithin   = 2 * time.Minute // a group of KIP-848 takes 50 s of heartbeats with Java's client
	notYetWithin = 15 * time.Second
	killWithin   = 60 * time.Second
	wholeWithin  = 30 * time.Minute
	stopsWithin  = 45 * time.Second
	// cellsAtOnce run beside each other: most of a cell is waiting.
	cellsAtOnce = "5"
	// killEach records are given to every producer at each tick.
	killEach     = 15
	killInterval = time.Second * killEach / killRate
	// killAhead records are given to every producer before the first kill, to make each write: kcat takes its
	// input by the KiB.
	killAhead = killRate
)

var (
	full     = flag.Bool("full", false, "install what is missing, and run the cells of what is not there yet, too")
	cellFile = flag.String("cells", "", "write the cells as JSON into this file")
	against  = flag.String("against", "", "the brokers of another cluster, such as one of Kafka, in place of ours; none is killed")
	readme   = flag.String("readme", "", "write the table into this file, between its marks")
)

func TestMain(m *testing.M) {
	if os.Getenv(driverEnv) != "" {
		os.Exit(driveFranz(os.Args[1:]))
	}
	flag.Parse()
	_ = flag.Set("test.parallel", cellsAtOnce) // the flag is there
	os.Exit(m.Run())
}

// required says that CI promised the tools.
func required() bool { return os.Getenv("OUTRIGGER_E2E_TOOLS") == "required" }

// The clients that people use do with Outrigger what they do with Kafka.
func TestEveryClientIsAtHome(t *testing.T) {
	ctx, cancel := context.WithDeadline(context.Background(), deadlineOf(t))
	defer cancel()
	columns, err := installed(ctx, *full || required())
	if err != nil {
		t.Fatal(err)
	}
	m := &matrix{ctx: ctx, columns: columns, cells: map[[2]string]cell{}}
	c := &cluster{kafka: strings.Split(*against, ",")}
	if *against == "" {
		c = startCluster(t, "--set", "group.initial.rebalance.delay.ms=0", "--set", "auto.leader.rebalance.enable=false",
			"--set", "wal.file.bytes=4194304", "--set", "wal.retained.bytes=33554432", "--set", "log.cleaner.backoff.ms=300",
			"--set", "group.share.heartbeat.interval.ms=500")
	}
	if err := errors.Join(c.coordinates(ctx), c.compacts(ctx)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	t.Run("cells", func(t *testing.T) {
		for _, cl := range columns {
			for _, r := range rows {
				if r.check != nil {
					m.run(t, r.name, cl, func(ctx context.Context) error { return r.check(ctx, c, cl) })
				}
			}
		}
	})
	t.Logf("cells took %s", time.Since(began).Round(time.Second))
	began = time.Now()
	t.Run("kills", func(t *testing.T) { m.kills(t, c) })
	t.Logf("kills took %s", time.Since(began).Round(time.Second))
	t.Run("elections", func(t *testing.T) {
		for _, cl := range columns {
			m.run(t, rowElect, cl, func(ctx context.Context) error { return elect(ctx, c, cl) })
		}
	})
	m.print(t)
}

// kills has every client produce while each broker in turn is killed with -9.
func (m *matrix) kills(t *testing.T, c *cluster) {
	t.Helper()
	if *against != "" {
		t.Skip("another cluster's brokers are not killed")
	}
	ctx, cancel := context.WithTimeout(m.ctx, killWithin)
	defer cancel()
	for _, cl := range m.columns {
		if err := c.topic(ctx, electTopic(cl), 6, 3); err != nil {
			t.Fatal(err)
		}
	}
	tick, stop := make(chan struct{}), make(chan struct{})
	runs := map[string]*killRun{}
	for _, cl := range m.columns {
		if cl.missing != nil {
			continue
		}
		run, err := startKillRun(ctx, c, cl, tick)
		if err != nil {
			t.Fatalf("%s: %v", cl.name, err)
		}
		t.Cleanup(run.p.kill)
		runs[cl.name] = run
	}
	// Only who writes already is held to outlive a kill: connect() of kafkajs 2.2 asks one broker for a producer id,
	// and fails if that broker dies before it answers.
	for name, run := range runs {
		if err := run.writes(ctx, c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	go pace(tick, stop)
	defer close(stop)
	for broker := range 3 {
		if err := c.kill(ctx, broker); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("clients", func(t *testing.T) {
		for _, cl := range m.columns {
			m.run(t, rowKill, cl, func(ctx context.Context) error {
				return runs[cl.name].check(ctx, c)
			})
		}
	})
}

// pace gives every producer that waits a tick, as often as the rate wants.
func pace(tick chan<- struct{}, stop <-chan struct{}) {
	ticker := time.NewTicker(killInterval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			close(tick)
			return
		case <-ticker.C:
		}
		for waiting := true; waiting; {
			select {
			case tick <- struct{}{}:
			default:
				waiting = false
			}
		}
	}
}

// cell is what came of one client in one row.
type cell struct {
	Row    string `json:"row"`
	Client string `json:"client"`
	// Result is yes, no, not yet, lacks or cannot run.
	Result string  `json:"result"`
	Reason string  `json:"reason,omitempty"`
	Took   float64 `json:"seconds"`
}

// matrix collects the cells.
type matrix struct {
	// ctx bounds everything.
	ctx     context.Context
	columns []*client
	mu      sync.Mutex
	cells   map[[2]string]cell
}

// deadlineOf is early enough before that of the test for everything to be stopped in order: a test that
// runs out of time leaves its processes behind.
func deadlineOf(t *testing.T) time.Time {
	if at, ok := t.Deadline(); ok {
		return at.Add(-stopsWithin)
	}
	return time.Now().Add(wholeWithin)
}

func (m *matrix) note(c cell) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cells[[2]string{c.Row, c.Client}] = c
}

// run runs one cell beside others, and judges it.
func (m *matrix) run(t *testing.T, name string, cl *client, check func(ctx context.Context) error) {
	t.Helper()
	t.Run(cl.name+" "+name, func(t *testing.T) {
		t.Parallel()
		done := cell{Row: name, Client: cl.name}
		defer func() { m.note(done) }()
		if why, ok := cl.lacks[name]; ok {
			done.Result, done.Reason = "lacks", why
			t.Skip(why)
		}
		if cl.missing != nil {
			done.Result, done.Reason = "cannot run", cl.missing.Error()
			if required() {
				t.Fatal(cl.missing)
			}
			t.Skip(cl.missing)
		}
		within, missing := cellWithin, notYet[name]
		if missing != "" && *against == "" {
			within = notYetWithin
			if done.Result, done.Reason = "not yet", missing; !*full {
				t.Skip("not yet: " + missing)
			}
		}
		ctx, cancel := context.WithTimeout(m.ctx, within)
		defer cancel()
		began := time.Now()
		err := check(ctx)
		done.Took = time.Since(began).Seconds()
		switch {
		case *against != "" && err == nil:
			done.Result, done.Reason = "yes", ""
		case *against != "":
			t.Error(err)
			done.Result, done.Reason = "no", err.Error()
		case missing != "" && err == nil:
			t.Errorf("it works, but %s is listed as not there yet", missing)
			done.Result, done.Reason = "yes", ""
		case missing != "":
			done.Reason = missing + ": " + err.Error()
		case err != nil:
			t.Error(err)
			done.Result, done.Reason = "no", err.Error()
		default:
			done.Result = "yes"
		}
	})
}

// print logs the table, and writes it where it is wanted.
func (m *matrix) print(t *testing.T) {
	t.Helper()
	table := m.table()
	t.Logf("the matrix:\n%s", table)
	for _, r := range rows {
		for _, cl := range m.columns {
			if c := m.cells[[2]string{r.name, cl.name}]; c.Reason != "" {
				t.Logf("%s, %s: %s: %s", r.name, cl.name, c.Result, c.Reason)
			}
		}
	}
	if *cellFile != "" {
		var all []cell
		for _, r := range rows {
			for _, cl := range m.columns {
				all = append(all, m.cells[[2]string{r.name, cl.name}])
			}
		}
		text, err := json.MarshalIndent(all, "", "  ")
		if err == nil {
			err = os.WriteFile(*cellFile, text, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if *readme != "" {
		if err := writeTable(*readme, table); err != nil {
			t.Error(err)
		}
	}
}

// table is in Markdown: what a client lacks and what is not there yet are told by notes below it.
func (m *matrix) table() string {
	var b strings.Builder
	var notes, missing []string
	b.WriteString("| |")
	for _, cl := range m.columns {
		b.WriteString(" " + cl.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(m.columns)) + "\n")
	for _, r := range rows {
		b.WriteString("| " + r.name + " |")
		for _, cl := range m.columns {
			c := m.cells[[2]string{r.name, cl.name}]
			switch c.Result {
			case "lacks":
				b.WriteString(" - |")
				notes = append(notes, fmt.Sprintf("%s, %s: %s", cl.name, r.name, c.Reason))
			case "not yet":
				b.WriteString(" not yet |")
				if why := notYet[r.name]; !slices.Contains(missing, why) {
					missing = append(missing, why)
				}
			case "":
				b.WriteString(" not run |")
			default:
				b.WriteString(" " + c.Result + " |")
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n" + noteLines(notes))
	if len(missing) > 0 {
		b.WriteString("`not yet`: " + strings.Join(missing, ", ") + ".\n")
	}
	return b.String()
}

// noteLines gather what each client lacks.
func noteLines(notes []string) string {
	byWhy, order := map[string][]string{}, []string{}
	for _, n := range notes {
		client, rest, _ := strings.Cut(n, ", ")
		at := strings.LastIndex(rest, ": ")
		key := client + " " + rest[at+2:]
		if byWhy[key] == nil {
			order = append(order, key)
		}
		byWhy[key] = append(byWhy[key], rest[:at])
	}
	if len(order) == 0 {
		return ""
	}
	return "`-`: " + strings.Join(order, "; ") + ".\n"
}

const (
	tableBegin = "<!-- interop: written by task interop -->\n"
	tableEnd   = "<!-- interop end -->\n"
)

// writeTable replaces what stands between the marks.
func writeTable(file, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), tableBegin)
	_, behind, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		return fmt.Errorf("%s has no marks for the table", file)
	}
	return os.WriteFile(file, []byte(before+tableBegin+table+tableEnd+behind), 0o600)
}
