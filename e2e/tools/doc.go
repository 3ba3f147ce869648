// Package tools gets the programs of others that our tests talk to: it owns the package managers.
//
//	kafka-python, confluent-kafka   pip install --target
//	kafkajs                         npm install
//	Kafka's tools, clients, broker  mvn dependency:copy-dependencies
//	kcat                            apt-get install, by root
//
// Versions are pinned. Everything lands in a directory of one cache, named for its versions, which is
// moved there once it is whole: a second run finds it and asks nobody. Where the package managers
// download from is what they are configured to.
package tools
