package sidecar

import (
	"testing"

	"outrigger/broker/topic"
)

func TestKafkaAddressNamesEveryListener(t *testing.T) {
	inside := topic.Endpoint{Listener: "INSIDE", Host: "10.0.0.1", Port: 9092}
	outside := topic.Endpoint{Listener: "OUTSIDE", Host: "2001:db8::1", Port: 9093}
	for want, endpoints := range map[string][]topic.Endpoint{
		"":                   nil,
		"10.0.0.1:9092":      {inside},
		"[2001:db8::1]:9093": {outside},
		"INSIDE://10.0.0.1:9092,OUTSIDE://[2001:db8::1]:9093": {inside, outside},
	} {
		if got := kafkaAddress(endpoints); got != want {
			t.Errorf("%v: got %q, want %q", endpoints, got, want)
		}
	}
}
