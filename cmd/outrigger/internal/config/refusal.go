package config

import "fmt"

// Refusal is a value that nothing may start on. Its text is one sentence for the operator.
type Refusal struct {
	Key    string
	Value  string
	Reason string
}

// Error names key, value and reason.
func (r *Refusal) Error() string {
	if r.Value == "" {
		return fmt.Sprintf("%s is refused: %s", r.Key, r.Reason)
	}
	return fmt.Sprintf("%s=%s is refused: %s", r.Key, r.Value, r.Reason)
}

// refuse builds a Refusal that never shows a secret.
func refuse(key Key, value, reason string) *Refusal {
	if key.Secret {
		value = Redacted
	}
	return &Refusal{Key: key.Name, Value: value, Reason: reason}
}

// Redacted stands for a secret wherever settings are shown.
const Redacted = "<redacted>"

// Note is something that the operator should hear once, at the start.
type Note struct {
	// Warn is false for what is merely worth knowing.
	Warn    bool
	Message string
	// Attrs are alternating keys and values, as slog takes them.
	Attrs []any
}

func unknownKey(name, source string) Note {
	return Note{Warn: true, Message: "configuration key is unknown and ignored",
		Attrs: []any{"key", name, "source", source}}
}

func inertKeysSet(names []string) Note {
	return Note{Warn: true, Message: "configuration keys have no effect in this version",
		Attrs: []any{"keys", names}}
}

func controllerListenerClosed(name string) Note {
	return Note{Warn: true, Message: "controller listener is not opened, brokers meet over NATS",
		Attrs: []any{"listener", name}}
}

func hostNameAdvertised(listener, host string) Note {
	return Note{Message: "listener has no host of its own, clients are told the machine's name",
		Attrs: []any{"listener", listener, "host", host}}
}

func streamsGroupsAbsent() Note {
	return Note{Warn: true, Message: "streams groups do not exist in this version, Kafka Streams runs on classic groups",
		Attrs: []any{"key", keyProtocols}}
}

func firstListenerForBrokers(name string) Note {
	return Note{Warn: true, Message: "inter.broker.listener.name is not set, brokers ask each other at the first listener",
		Attrs: []any{"listener", name}}
}

func defaultLogDirUsed(dir string) Note {
	return Note{Warn: true, Message: "log.dirs is not set, data lies in Kafka's default directory",
		Attrs: []any{"dir", dir}}
}

func flushIntervalUnused() Note {
	return Note{Warn: true, Message: "log.flush.interval.ms has no effect unless log.flush.policy is interval",
		Attrs: []any{"policy", "always"}}
}
