// Package assign divides the partitions of topics among the members of a consumer group, as the
// coordinator does for the KIP-848 protocol. It is pure and deterministic: the same input gives the
// same assignment on every node, which is what lets a new coordinator go on with an old one's.
//
//	topics, subscriptions, last target --> Uniform or Range --> next target
//
// Uniform gives everybody as many partitions as the others, one more or less, and lets each keep what
// it had, as far as that goes. Range gives members adjoining partitions, the same ones of topics with
// the same number of partitions, so that what is joined by key meets in one member.
package assign
