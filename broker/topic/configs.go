package topic

// ConfigKind says what kind of resource has configs that are set while the cluster runs.
type ConfigKind uint8

// The kinds of resources. Numbers travel and are never given out twice.
const (
	// TopicConfigs belong to one topic.
	TopicConfigs ConfigKind = 1
	// BrokerConfigs belong to the broker whose id in decimal is the name, or, under the empty name,
	// to all brokers that have no value of their own.
	BrokerConfigs ConfigKind = 2
	// GroupConfigs belong to the consumer group of that name, whether or not it exists yet.
	GroupConfigs ConfigKind = 3
)

// AnyEpoch in a ConfigChange stands for whatever the epoch is.
const AnyEpoch int32 = -1

// ConfigSet is what was set for one resource.
type ConfigSet struct {
	Values map[string]string
	// Epoch grows with every change of Values.
	Epoch int32
}

// ConfigChange asks for other configs of one resource, by compare-and-set. The same change again is
// success, so a proposal of unknown outcome can be made again.
type ConfigChange struct {
	Kind ConfigKind
	// ID names a topic, Name any other resource.
	ID   ID
	Name string
	// Epoch is that of the configs which the change was derived from, or AnyEpoch.
	Epoch int32
	// Values are all that shall be set in the end.
	Values map[string]string
}
