// Package config turns what an operator wrote into one typed Config. It is pure: it opens no file,
// reads no environment and resolves no name; its caller hands all of that in.
//
//	server.properties ─┐
//	KAFKA_<KEY>=value ─┼─> settings (last wins) ─> checked by the key table ─> derived ─> Config
//	--set key=value   ─┘           │                        │
//	                               └── unknown keys: Note   └── bad values: *Refusal
//
// The key table (keys.go) is the only place that knows a key's name, default, unit and bounds.
// Where Apache Kafka has a key, its name and default are Kafka's. A key is one of three things:
// in force; accepted without effect (Kafka has it, this version does not act on it; said once, when
// somebody sets it); or unknown (warned about, once). A value that breaks its key's rules is refused
// with key, value and reason: nothing starts on a guess.
package config
