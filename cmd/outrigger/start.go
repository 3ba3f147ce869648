package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"outrigger/cmd/outrigger/internal/config"
	"outrigger/cmd/outrigger/internal/dev"
	"outrigger/cmd/outrigger/internal/node"
	"outrigger/natsconf"
)

// startFlags are the flags of `start`.
type startFlags struct {
	logs      *logFlags
	file      string
	sets      []string
	print     bool
	printNATS bool
	stopOnEOF bool
}

func newStart(logs *logFlags) *cobra.Command {
	f := startFlags{logs: logs}
	command := &cobra.Command{
		Use:   "start",
		Short: "Run one broker",
		Long: `Run one broker.

Configuration comes from --config (Kafka's server.properties), from KAFKA_<KEY>
environment variables and from --set key=value; the last to name a key wins.
--print-config lists every key with the value in force.

SIGINT and SIGTERM move leadership away, drain the log and stop within 8 s; a
second one stops at once. Timers may fire up to a millisecond late, all at once,
which saves processor time (Linux; OUTRIGGER_TIMER_SLACK, 0s to leave them). Exit codes: 0 stopped when asked to, 2 configuration
refused, 3 data directory refused, 4 port taken, 5 storage failed, 1 anything else.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.OutOrStdout()) },
	}
	flags := command.Flags()
	flags.StringVar(&f.file, "config", "", "path of a server.properties")
	flags.StringArrayVar(&f.sets, "set", nil, "key=value, may be repeated")
	flags.BoolVar(&f.print, "print-config", false, "print the configuration in force and exit, secrets redacted")
	flags.BoolVar(&f.printNATS, "print-nats-config", false, "print the NATS server's configuration and exit, secrets redacted")
	flags.BoolVar(&f.stopOnEOF, dev.FlagStopOnEOF, false, "stop when stdin ends")
	if err := flags.MarkHidden(dev.FlagStopOnEOF); err != nil {
		panic(err) // the flag was registered one line above
	}
	return command
}

func (f *startFlags) run(out io.Writer) error {
	if f.stopOnEOF {
		// Whoever reads our logs may die first. A log line must then be lost, not the clean stop.
		signal.Ignore(syscall.SIGPIPE)
	}
	logger, err := f.logs.logger(os.Stderr)
	if err != nil {
		return err
	}
	if !f.print && !f.printNATS { // before anything is read or opened
		slack, err := timerSlack(os.Getenv(timerSlackEnv))
		if err != nil {
			return &usageError{err}
		}
		if err := coalesceTimers(slack); err != nil {
			logger.Warn("timers are not coalesced, small requests cost more", "err", err)
		}
	}
	cfg, notes, err := f.load()
	if err != nil {
		return err
	}
	// Rendering judges the operator's nats.conf, too, before anything is touched.
	natsText, err := natsconf.Render(withPlaceholders(node.NATSConfig(cfg)))
	if err != nil {
		return &usageError{fmt.Errorf("configure NATS: %w", err)}
	}
	say(logger, notes) // who prints the configuration wants to know what of it is ignored, too
	switch {
	case f.print:
		_, err := io.WriteString(out, cfg.Print())
		return err
	case f.printNATS:
		_, err := io.WriteString(out, natsText)
		return err
	}
	if !cfg.HTTPProfiles {
		runtime.MemProfileRate = 0 // what is allocated for large batches would all be in a profile that nobody can ask for
	}
	ctx, stop := stopContext(logger, f.stopOnEOF)
	defer stop()
	return node.Run(ctx, node.Options{Config: cfg, Version: fullVersion(), Logger: logger, Died: die})
}

const (
	// timerSlackEnv is a duration, 0 to leave timers as they are. It is no key of the configuration since it has to be
	// known before that is read.
	timerSlackEnv     = "OUTRIGGER_TIMER_SLACK"
	timerSlackDefault = time.Millisecond
	timerSlackMost    = 50 * time.Millisecond
)

// timerSlack is what the environment asks for.
func timerSlack(text string) (time.Duration, error) {
	if text == "" {
		return timerSlackDefault, nil
	}
	slack, err := time.ParseDuration(text)
	if err != nil || slack < 0 || slack > timerSlackMost {
		return 0, fmt.Errorf("%s=%s: want a duration from 0s to %s", timerSlackEnv, text, timerSlackMost)
	}
	return slack, nil
}

func (f *startFlags) load() (*config.Config, []config.Note, error) {
	sources := config.Sources{File: f.file, Environ: os.Environ(), Sets: f.sets}
	if f.file != "" {
		content, err := os.ReadFile(f.file)
		if err != nil {
			return nil, nil, &usageError{fmt.Errorf("read --config: %w", err)}
		}
		sources.Properties = content
	}
	return config.Load(sources, machineName)
}

// withPlaceholders stands in for passwords that are drawn only once there is a data directory; the
// rendering redacts them.
func withPlaceholders(c natsconf.Config) natsconf.Config {
	for _, password := range []*string{&c.OpsPassword, &c.SysPassword} {
		if *password == "" {
			*password = "drawn at the start"
		}
	}
	return c
}

// say logs what configuration had to say.
func say(logger *slog.Logger, notes []config.Note) {
	for _, note := range notes {
		level := slog.LevelInfo
		if note.Warn {
			level = slog.LevelWarn
		}
		logger.Log(context.Background(), level, note.Message, note.Attrs...)
	}
}

// lookupTimeout bounds the one name that we look up about ourselves.
const lookupTimeout = 2 * time.Second

// machineName is this machine's name if other machines may be expected to resolve it: it does so
// here. Otherwise clients are sent to localhost, which is right for a machine on its own.
func machineName() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, name); err != nil {
		return "localhost"
	}
	return name
}
