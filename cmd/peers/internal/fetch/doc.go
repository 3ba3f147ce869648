// Package fetch gets the programs that are compared: it owns the tools that build and download.
//
//	Outrigger          go build, from this checkout
//	Apache Kafka       mvn dependency:copy-dependencies, by a project file that is written for it
//	JetStream          go build of nats-server, at the version that go.mod names; go install of the nats CLI
//
// Everything lands in one cache directory, and what came from elsewhere is got once. Where Maven and
// Go download from is what they are configured to.
package fetch
