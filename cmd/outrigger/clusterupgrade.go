package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// formatFeature is the feature that tells of format levels.
	formatFeature = "outrigger.format"
	// upgradeOnly is UpdateFeatures' type of an update that may only raise (KIP-584).
	upgradeOnly = 1
)

// levels is a range of format levels; zero is not known.
type levels struct {
	Min int16 `json:"min"`
	Max int16 `json:"max"`
}

// String is "min-max".
func (l levels) String() string {
	if l == (levels{}) {
		return "-"
	}
	return fmt.Sprintf("%d-%d", l.Min, l.Max)
}

// askFormats asks every live broker which format levels it speaks, and which one is finalized.
func (v *clusterView) askFormats(ctx context.Context, a *admins) error {
	for i := range v.Brokers {
		b := &v.Brokers[i]
		if !b.Live {
			continue
		}
		q := kmsg.NewPtrApiVersionsRequest()
		q.ClientSoftwareName, q.ClientSoftwareVersion = "outrigger", "1"
		answer, err := a.client.Broker(int(b.Broker)).RetriableRequest(ctx, q)
		if err != nil {
			return fmt.Errorf("ask broker %d for its format levels: %w", b.Broker, err)
		}
		b.Formats = levels{1, 1}
		r := answer.(*kmsg.ApiVersionsResponse)
		for _, f := range r.SupportedFeatures {
			if f.Name == formatFeature {
				b.Formats = levels{f.MinVersion, f.MaxVersion}
			}
		}
		for _, f := range r.FinalizedFeatures {
			if f.Name == formatFeature {
				v.Format = max(v.Format, f.MaxVersionLevel)
			}
		}
	}
	return nil
}

// upgradable is the highest format level that every registered broker speaks. Nobody knows what a fenced one
// does.
func (v *clusterView) upgradable() int16 {
	highest := int16(0)
	for i, b := range v.Brokers {
		if i == 0 || b.Formats.Max < highest {
			highest = b.Formats.Max
		}
	}
	return highest
}

// finalized is what `cluster upgrade` has done.
type finalized struct {
	Before int16 `json:"before"`
	Format int16 `json:"format"`
}

func (f *clusterFlags) upgrade() *cobra.Command {
	level := int16(0)
	command := &cobra.Command{
		Use:   "upgrade",
		Short: "Finalize the newest format level that every broker speaks",
		Long: `Finalize a format level: what brokers write to their disks and send each other. Until
then brokers of a new version write as the old one does, and the old one can be
started again; after that there is no way back. Every registered broker must be of
a version that speaks the level: restart them one by one, then run this.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return f.reach(c.Context(), f.timeout, func(ctx context.Context, a *admins) error {
				done, err := finalize(ctx, a, level)
				if err != nil {
					return err
				}
				if f.asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(done)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "format level %d is finalized, it was %d\n", done.Format, done.Before)
				return err
			})
		},
	}
	command.Flags().Int16Var(&level, "level", 0, "the level, instead of the newest that every broker speaks")
	return command
}

func finalize(ctx context.Context, a *admins, level int16) (finalized, error) {
	v := &clusterView{}
	if err := v.askBrokers(ctx, a); err != nil {
		return finalized{}, err
	}
	if err := v.askFormats(ctx, a); err != nil {
		return finalized{}, err
	}
	if level == 0 {
		level = max(v.Format, v.upgradable())
	}
	done := finalized{Before: v.Format, Format: level}
	if level == v.Format {
		return done, nil
	}
	q := kmsg.NewPtrUpdateFeaturesRequest()
	q.TimeoutMillis = 10_000
	update := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	update.Feature, update.MaxVersionLevel, update.UpgradeType = formatFeature, level, upgradeOnly
	q.FeatureUpdates = append(q.FeatureUpdates, update)
	r, err := q.RequestWith(ctx, a.client)
	if err == nil {
		if err = kerr.ErrorForCode(r.ErrorCode); err != nil && r.ErrorMessage != nil {
			err = fmt.Errorf("%s: %w", *r.ErrorMessage, err)
		}
	}
	if err == nil {
		for _, one := range r.Results { // before version 2 of the request
			if err == nil {
				err = kerr.ErrorForCode(one.ErrorCode)
			}
		}
	}
	if err != nil {
		return done, fmt.Errorf("finalize format level %d: %w", level, err)
	}
	return done, nil
}
