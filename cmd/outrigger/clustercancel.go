package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"outrigger/cmd/outrigger/internal/moves"
)

func (f *clusterFlags) cancel() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel [TOPIC[-PARTITION]...]",
		Short: "Take back the reassignments under way, all or those named, and end their throttle",
		Long: `Take back the reassignments under way, all or those named, and end their throttle.

Replicas go back to where they were. A broker that was to be drained still gets nothing
new: drain --undo ends that.`,
		RunE: func(c *cobra.Command, args []string) error {
			return f.reach(c.Context(), f.timeout, func(ctx context.Context, a *admins) error {
				taken, left, err := moves.Cancel(ctx, a, func(p moves.Partition) bool { return named(args, p) })
				if err != nil {
					return err
				}
				return f.showCancelled(c.OutOrStdout(), taken, left)
			})
		},
	}
}

// named reports whether a partition is meant: by nothing, by its topic, or by itself.
func named(args []string, p moves.Partition) bool {
	return len(args) == 0 || slices.Contains(args, p.Topic) || slices.Contains(args, p.Topic+"-"+strconv.Itoa(int(p.Index)))
}

func (f *clusterFlags) showCancelled(out io.Writer, taken []moves.Move, left int) error {
	names := []string{}
	for _, m := range taken {
		names = append(names, fmt.Sprintf("%s-%d", m.Topic, m.Index))
	}
	if f.asJSON {
		return json.NewEncoder(out).Encode(struct {
			Cancelled []string `json:"cancelled"`
			Left      int      `json:"left"`
		}{names, left})
	}
	text := "nothing was taken back"
	if len(names) > 0 {
		text = "taken back: " + strings.Join(names, ", ")
	}
	_, err := fmt.Fprintf(out, "%s; %d reassignments go on\n", text, left)
	return err
}
