package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// logFlags say how logs look. They are the same for every command.
type logFlags struct {
	format string
	level  string
}

const (
	formatAuto = "auto"
	formatText = "text"
	formatJSON = "json"
)

func (f *logFlags) register(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&f.format, "log-format", formatAuto, "auto (text on a terminal, else JSON), text or json")
	flags.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
}

// resolve turns auto into what stderr is.
func (f *logFlags) resolve() (string, error) {
	switch f.format {
	case formatText, formatJSON:
		return f.format, nil
	case formatAuto:
		if term.IsTerminal(int(os.Stderr.Fd())) {
			return formatText, nil
		}
		return formatJSON, nil
	}
	return "", &usageError{fmt.Errorf("--log-format=%s is refused: want auto, text or json", f.format)}
}

// logger writes to out.
func (f *logFlags) logger(out io.Writer) (*slog.Logger, error) {
	format, err := f.resolve()
	if err != nil {
		return nil, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, &usageError{fmt.Errorf("--log-level=%s is refused: want debug, info, warn or error", f.level)}
	}
	if format == formatText {
		return slog.New(tint.NewTextHandler(out, &tint.Options{Level: level, TimeFormat: time.TimeOnly + ".000"})), nil
	}
	return slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level})), nil
}

func isAddressInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
