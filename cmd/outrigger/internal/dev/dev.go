package dev

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"outrigger/cmd/outrigger/internal/config"
	"outrigger/cmd/outrigger/internal/datadir"
	"outrigger/cmd/outrigger/internal/port"
)

// portTries is how often free ports are drawn anew when somebody took one before its broker could.
const portTries = 5

// Options are what Run needs beside the flags.
type Options struct {
	Flags
	// Executable and Arguments start a broker, as in "<executable> start <arguments> --set ...".
	Executable string
	Arguments  []string
	// Environ is what brokers will find in their environment.
	Environ []string
	// Ready takes the one line that says that all brokers serve.
	Ready io.Writer
	// Logger and Output take what dev and its brokers say; both lead to the same place.
	Logger *slog.Logger
	Output io.Writer
}

// NewOutput makes an Output and a place for the Logger of many writers that never makes a broker
// wait for a slow reader. close waits, for a moment, until everything is written.
func NewOutput(out io.Writer) (output io.Writer, close func()) {
	r := newRelay(out)
	return r, r.close
}

// Run runs the cluster until ctx ends. Everything that can be refused is refused before anything is
// made or started.
func Run(ctx context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	o.Data = datadir.Absolute(o.Data)
	known, err := checkHome(o.Data, o.Brokers)
	if err != nil {
		return err
	}
	dirs := brokerDirs(o.Data, o.Brokers)
	if err := checkBrokers(ctx, o.Logger, dirs, known.ClusterID); err != nil {
		return err
	}
	hosts := port.Loopbacks()
	p, err := o.draw(hosts, dirs)
	if err != nil {
		return err
	}
	h, err := openHome(o.Data, o.Brokers)
	if err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		p.cluster = h.ClusterID
		c := command{executable: o.Executable, arguments: o.Arguments, output: o.Output}
		err := newSupervisor(p, c, o.Restart, o.Logger, o.Ready).run(ctx)
		if !o.takenAnew(err) || tries == portTries || ctx.Err() != nil {
			return errors.Join(err, h.close())
		}
		o.Logger.Warn("a free port was taken by somebody else, choosing others", attrError, err)
		if p, err = o.draw(hosts, dirs); err != nil {
			return errors.Join(err, h.close())
		}
	}
}

// draw decides the ports, looks whether they are free, and whether every broker would accept its
// configuration.
func (o Options) draw(hosts, dirs []string) (plan, error) {
	free, err := port.Free(o.unchosen(), hosts)
	if err != nil {
		return plan{}, err
	}
	p := newPlan(o.Flags, hosts, dirs, free)
	for _, b := range p.brokers {
		sources := config.Sources{Environ: o.Environ, Sets: p.settings(b)}
		if _, _, err := config.Load(sources, func() string { return "localhost" }); err != nil {
			return plan{}, err
		}
	}
	return p, port.Check(p.uses())
}

// takenAnew reports whether a broker lost a race for a port that dev had chosen.
func (o Options) takenAnew(err error) bool {
	var refused *Refused
	return o.Ports.anyFree() && errors.As(err, &refused) && refused.Code == ExitPort
}

// parentEvery is how often dev looks whether its parent is still there.
const parentEvery = 200 * time.Millisecond

// WatchGoRun calls gone if dev was started by `go run` and that is no more. A terminal's Ctrl-C
// reaches both; but a SIGTERM for `go run` ends it without being handed on, and dev would stay behind.
// Any other parent may go: whoever starts dev from a script may want it to stay.
func WatchGoRun(ctx context.Context, gone func()) {
	parent := os.Getppid()
	if !isGo(parent) {
		return
	}
	for pause(ctx, parentEvery) {
		if os.Getppid() != parent {
			gone()
			return
		}
	}
}

// isGo reports whether the process is the go command. Where that cannot be found out, it is not.
func isGo(pid int) bool {
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return err == nil && strings.TrimSpace(string(name)) == "go"
}
