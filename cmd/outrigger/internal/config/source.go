package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/magiconair/properties"
)

// Sources are everything that an operator said, as read by the caller.
type Sources struct {
	// File names the properties file in messages; empty if there is none.
	File string
	// Properties is the content of that file.
	Properties []byte
	// Environ is the process's environment, "NAME=value" each.
	Environ []string
	// Sets are the values of --set, "key=value" each, in order.
	Sets []string
}

// Setting is one value and who said it.
type Setting struct {
	Value string
	// Source is "default", the file's name, a variable's name, "--set", or how it was derived.
	Source string
}

// sourceDefault is the Source of a value that nobody set.
const sourceDefault = "default"

// environPrefix starts every variable that may name a key.
const environPrefix = "KAFKA_"

// environIgnored are variables of Kafka's start scripts and images that name no key.
var environIgnored = []string{
	"KAFKA_VERSION", "KAFKA_HOME", "KAFKA_OPTS", "KAFKA_DEBUG", "KAFKA_HEAP_OPTS", "KAFKA_GC_LOG_OPTS",
	"KAFKA_LOG4J_OPTS", "KAFKA_LOG4J_LOGGERS", "KAFKA_LOG4J_ROOT_LOGLEVEL",
	"KAFKA_TOOLS_LOG4J_LOGLEVEL", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_JMX_OPTS", "KAFKA_JMX_PORT",
	"KAFKA_JMX_HOSTNAME", "KAFKA_SCALA_VERSION",
}

// gather merges the sources, the last to name a key winning. Keys are not judged here.
func gather(s Sources) (map[string]Setting, error) {
	settings := make(map[string]Setting)
	fromFile, err := readProperties(s.Properties)
	if err != nil {
		return nil, &Refusal{Key: s.File, Reason: err.Error()}
	}
	for key, value := range fromFile {
		settings[key] = Setting{Value: strings.TrimSpace(value), Source: s.File}
	}
	// Sorted, so that two variables that mean the same key have one winner on every run.
	for _, variable := range slices.Sorted(slices.Values(s.Environ)) {
		name, value, _ := strings.Cut(variable, "=")
		if key, ok := environKey(name); ok {
			settings[key] = Setting{Value: strings.TrimSpace(value), Source: name}
		}
	}
	for _, set := range s.Sets {
		key, value, ok := strings.Cut(set, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, &Refusal{Key: "--set " + set, Reason: "want key=value"}
		}
		settings[key] = Setting{Value: strings.TrimSpace(value), Source: "--set"}
	}
	return settings, nil
}

// readProperties reads Java's properties format without expanding "${...}", as Kafka does.
func readProperties(content []byte) (map[string]string, error) {
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	parsed, err := loader.LoadBytes(content)
	if err != nil {
		return nil, fmt.Errorf("read properties: %w", err)
	}
	return parsed.Map(), nil
}

// environKey turns a variable's name into the key it means, by the rule of Apache Kafka's image:
// "___" is '-', "__" is '_', "_" is '.'. The image also takes the cluster's id from CLUSTER_ID.
func environKey(name string) (string, bool) {
	if name == "CLUSTER_ID" {
		return keyClusterID, true
	}
	rest, ok := strings.CutPrefix(name, environPrefix)
	if !ok || rest == "" || slices.Contains(environIgnored, name) {
		return "", false
	}
	underscores := strings.NewReplacer("___", "-", "__", "_", "_", ".")
	return underscores.Replace(strings.ToLower(rest)), true
}

// judge checks every setting against the table: the values of known keys by their rules, and the
// rest into notes. All refusals are returned, in the order of the keys' names.
func judge(settings map[string]Setting, table map[string]Key) (notes []Note, refusals []error) {
	var inert []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		setting := settings[name]
		key, known := table[name]
		switch {
		case !known:
			notes = append(notes, unknownKey(name, setting.Source))
			delete(settings, name)
		case setting.Value == "" && key.Kind != List:
			// An empty value is "unset", as in `KAFKA_CLUSTER_ID=` of a compose file.
			delete(settings, name)
		default:
			if reason := key.check(setting.Value); reason != "" {
				refusals = append(refusals, refuse(key, setting.Value, reason))
			}
			if key.Effect == NoEffect {
				inert = append(inert, name)
			}
		}
	}
	if len(inert) > 0 {
		notes = append(notes, inertKeysSet(inert))
	}
	return notes, refusals
}
