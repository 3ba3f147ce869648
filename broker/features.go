package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/topic"
	"outrigger/broker/txn"
)

// feature is one of the features of the cluster: what this broker supports, and the finalized level.
type feature struct {
	name            string
	min, max, level int16
	// since is the format level from which on it is finalized: a broker that speaks that one reads what it writes.
	since uint16
}

// waits reports whether the feature is not finalized at a format level.
func (f *feature) waits(format uint16) bool { return f.since > format }

// featureMetadata is what tools map to a Kafka release. Its level is that of Kafka 4.4 (4.4-IV2), whose
// APIs are the reference.
const featureMetadata = "metadata.version"

// featureGroup stands for groups of KIP-848.
const featureGroup = "group.version"

// featureShare stands for share groups (KIP-932) with dead-letter queues (KIP-1191).
const featureShare = "share.version"

// featureTransaction has clients use the protocol of KIP-890.
const featureTransaction = "transaction.version"

// featureFormat is ours: the level of what brokers write to their disks and send each other. It is the
// only one that can be raised, once all brokers are of a version that speaks the next level.
const featureFormat = "outrigger.format"

// features are sorted by name. Clients take a feature's absence for "do not use it", so only what exists may stand here. The
// first versions that spoke the first format level had no share groups.
var features = []feature{fixed(featureGroup, 1, topic.FirstLevel), fixed(featureMetadata, 33, topic.FirstLevel),
	{name: featureFormat}, fixed(featureShare, 2, topic.AdoptionLevel), fixed(featureTransaction, txn.BumpsEpochs, topic.FirstLevel)}

func fixed(name string, level int16, since uint16) feature {
	return feature{name, level, level, level, since}
}

// featuresEpoch, and the format level on top, must grow with every change of the table: clients believe
// the answer with the larger one.
const featuresEpoch = 6

// features are those of the table as they are now. The level of one that is not finalized is 0.
func (b *Broker) features() []feature {
	all := slices.Clone(features)
	format := b.cluster.View().Level()
	for i := range all {
		switch f := &all[i]; {
		case f.name == featureFormat:
			levels := b.config.Levels
			if levels == (topic.Levels{}) {
				levels = topic.Levels{Min: topic.FirstLevel, Max: topic.FirstLevel}
			}
			f.min, f.max, f.level = int16(levels.Min), int16(levels.Max), int16(format)
		case f.waits(format):
			f.level = 0
		}
	}
	return all
}

// errFeatureWaits: a feature is not finalized, since some broker may not be able to read what it writes.
var errFeatureWaits = errors.New("feature is not finalized yet")

// finalized reports, by an error, that a feature is not finalized.
func (b *Broker) finalized(name string) error {
	format := b.cluster.View().Level()
	for i := range features { // Each fetch of a share group asks: nothing is copied.
		if f := &features[i]; f.name == name && f.waits(format) {
			return fmt.Errorf("%w: %s comes with %s %d: raise that once every broker runs this version", errFeatureWaits, name,
				featureFormat, f.since)
		}
	}
	return nil
}

// addFeatures completes an ApiVersions response.
func (b *Broker) addFeatures(response *kmsg.ApiVersionsResponse) {
	response.FinalizedFeaturesEpoch = featuresEpoch
	for _, f := range b.features() {
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MinVersion, supported.MaxVersion = f.name, f.min, f.max
		response.SupportedFeatures = append(response.SupportedFeatures, supported)
		if f.level == 0 { // Kafka does not tell of such a one either.
			continue
		}
		finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
		finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = f.name, f.level, f.level
		response.FinalizedFeatures = append(response.FinalizedFeatures, finalized)
		if f.name == featureFormat {
			response.FinalizedFeaturesEpoch += int64(f.level)
		}
	}
}

const (
	updateFeaturesWays  = 1 // from here on an update says how it changes a level
	updateFeaturesWhole = 2 // from here on there is one error for all features
)

// How a level may be changed (KIP-584); the last lowers it even if something is lost.
const (
	upgradeRaises = iota + 1
	upgradeLowers
	upgradeLowersAnyway
)

// updateFeatures raises the format level, and accepts what holds anyway: every other feature has one level
// in this version. As in Kafka, one bad update refuses all.
func (b *Broker) updateFeatures(
	ctx context.Context, r *request, q *kmsg.UpdateFeaturesRequest,
) kmsg.Response {
	response := kmsg.NewPtrUpdateFeaturesResponse()
	var refused error
	named := map[string]bool{}
	for i := range q.FeatureUpdates {
		update := &q.FeatureUpdates[i]
		err := b.judgeFeature(r.Version, update)
		if named[update.Feature] {
			err = fmt.Errorf("%w: feature %q is named twice", errInvalidRequest, update.Feature)
		}
		named[update.Feature] = true
		if refused == nil {
			refused = err
		}
		if r.Version < updateFeaturesWhole {
			result := kmsg.NewUpdateFeaturesResponseResult()
			result.Feature = update.Feature
			result.ErrorCode, result.ErrorMessage = b.outcome("UpdateFeatures", err)
			response.Results = append(response.Results, result)
		}
	}
	if refused == nil && !q.ValidateOnly {
		ctx, cancel := b.within(ctx, q.TimeoutMillis)
		defer cancel()
		refused = b.raise(ctx, q.FeatureUpdates)
	}
	if r.Version >= updateFeaturesWhole {
		response.ErrorCode, response.ErrorMessage = b.outcome("UpdateFeatures", refused)
	} else if refused != nil {
		for i := range response.Results {
			if one := &response.Results[i]; one.Feature == featureFormat && one.ErrorCode == 0 {
				one.ErrorCode, one.ErrorMessage = b.outcome("UpdateFeatures", refused)
			}
		}
	}
	return response
}

// raise has the format level finalized that the updates, all judged, ask for.
func (b *Broker) raise(ctx context.Context, updates []kmsg.UpdateFeaturesRequestFeatureUpdate) error {
	for i := range updates {
		if u := &updates[i]; u.Feature == featureFormat && uint16(u.MaxVersionLevel) > b.cluster.View().Level() {
			return b.cluster.FinalizeLevel(ctx, uint16(u.MaxVersionLevel))
		}
	}
	return nil
}

func (b *Broker) judgeFeature(version int16, update *kmsg.UpdateFeaturesRequestFeatureUpdate) error {
	name, level := update.Feature, update.MaxVersionLevel
	if version >= updateFeaturesWays && (update.UpgradeType < upgradeRaises || update.UpgradeType > upgradeLowersAnyway) {
		return fmt.Errorf("%w: %d is none of the ways in which a level changes: %d raises it, %d and %d lower it",
			errFeatureLevel, update.UpgradeType, upgradeRaises, upgradeLowers, upgradeLowersAnyway)
	}
	for _, f := range b.features() {
		if f.name == name && f.name == featureFormat {
			return judgeFormat(f, level)
		}
		if f.name == name && f.level != level {
			return fmt.Errorf("%w: %s has level %d in this version at %s %d, %d cannot be set",
				errFeatureLevel, name, f.level, featureFormat, b.cluster.View().Level(), level)
		}
		if f.name == name {
			return nil
		}
	}
	return fmt.Errorf("%w: feature %q does not exist in this version", errFeatureLevel, name)
}

func judgeFormat(f feature, level int16) error {
	switch {
	case level < f.level:
		return fmt.Errorf("%w: %s is %d and never falls, %d was asked for", errFeatureLevel, f.name, f.level, level)
	case level > f.max:
		return fmt.Errorf("%w: this broker speaks %s up to %d, %d was asked for: run a version that does on every broker",
			errFeatureLevel, f.name, f.max, level)
	}
	return nil
}
