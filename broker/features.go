package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"outrigger/broker/txn"
)

// feature is one of Kafka's features at the one level that this version has.
type feature struct {
	name  string
	level int16
}

// featureMetadata is what tools map to a Kafka release. Its level is that of Kafka 4.4 (4.4-IV2), whose
// APIs are the reference.
const featureMetadata = "metadata.version"

// featureGroup stands for groups of KIP-848.
const featureGroup = "group.version"

// featureTransaction has clients use the protocol of KIP-890.
const featureTransaction = "transaction.version"

// features are finalized from the start, sorted by name. Clients take a feature's absence for "do not
// use it", so only what exists may stand here.
var features = []feature{{featureGroup, 1}, {featureMetadata, 33}, {featureTransaction, txn.BumpsEpochs}}

// featuresEpoch must grow with every change of the table: clients believe the answer with the larger
// one.
const featuresEpoch = 3

// addFeatures completes an ApiVersions response.
func addFeatures(response *kmsg.ApiVersionsResponse) {
	response.FinalizedFeaturesEpoch = featuresEpoch
	for _, f := range features {
		supported := kmsg.NewApiVersionsResponseSupportedFeature()
		supported.Name, supported.MinVersion, supported.MaxVersion = f.name, f.level, f.level
		response.SupportedFeatures = append(response.SupportedFeatures, supported)
		finalized := kmsg.NewApiVersionsResponseFinalizedFeature()
		finalized.Name, finalized.MinVersionLevel, finalized.MaxVersionLevel = f.name, f.level, f.level
		response.FinalizedFeatures = append(response.FinalizedFeatures, finalized)
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

// updateFeatures accepts what holds anyway: every feature has one level in this version. As in Kafka,
// one bad update refuses all.
func (b *Broker) updateFeatures(
	_ context.Context, r *request, q *kmsg.UpdateFeaturesRequest,
) kmsg.Response {
	response := kmsg.NewPtrUpdateFeaturesResponse()
	var refused error
	named := map[string]bool{}
	for i := range q.FeatureUpdates {
		update := &q.FeatureUpdates[i]
		err := judgeFeature(r.Version, update)
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
	if r.Version >= updateFeaturesWhole {
		response.ErrorCode, response.ErrorMessage = b.outcome("UpdateFeatures", refused)
	}
	return response
}

func judgeFeature(version int16, update *kmsg.UpdateFeaturesRequestFeatureUpdate) error {
	name, level := update.Feature, update.MaxVersionLevel
	if version >= updateFeaturesWays && (update.UpgradeType < upgradeRaises || update.UpgradeType > upgradeLowersAnyway) {
		return fmt.Errorf("%w: %d is none of the ways in which a level changes: %d raises it, %d and %d lower it",
			errFeatureLevel, update.UpgradeType, upgradeRaises, upgradeLowers, upgradeLowersAnyway)
	}
	for _, f := range features {
		if f.name == name && f.level != level {
			return fmt.Errorf("%w: %s has level %d in this version, %d cannot be set",
				errFeatureLevel, name, f.level, level)
		}
		if f.name == name {
			return nil
		}
	}
	return fmt.Errorf("%w: feature %q does not exist in this version", errFeatureLevel, name)
}
