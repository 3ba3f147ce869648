package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the release (semver.org). What was built in between carries its commit behind a plus.
const version = "0.1.0"

// revisionLength is how much of a commit's hash is shown.
const revisionLength = 12

// build describes this executable.
type build struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	// Revision is empty when the tree it was built from is not known.
	Revision string `json:"revision,omitempty"`
	// Modified: the tree held changes that are in no commit.
	Modified bool   `json:"modified,omitempty"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value[:min(revisionLength, len(setting.Value))]
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	if b.Revision != "" {
		b.Version += "+" + b.Revision
	}
	return b
}

// fullVersion is version with the commit, if it is known.
func fullVersion() string { return thisBuild().Version }

func newVersion() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(thisBuild())
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), fullVersion())
			return err
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

// noArguments and exactlyArguments are cobra's checks with our exit code.
// asGroup makes a command of others: alone it explains itself, and a word that is none of them is refused.
func asGroup(c *cobra.Command) *cobra.Command {
	c.Args = noArguments
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	return c
}

func noArguments(c *cobra.Command, args []string) error { return asUsage(cobra.NoArgs(c, args)) }

func exactlyArguments(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error { return asUsage(cobra.ExactArgs(n)(c, args)) }
}

func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}
