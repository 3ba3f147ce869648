package broker

import (
	"context"
	"strings"
	"testing"
)

// TestListenersShareThePortTheyFound and advertise what they are told to.
func TestListenersShareThePortTheyFound(t *testing.T) {
	s, err := Listen(context.Background(), []Listener{
		{Name: "PLAINTEXT", Addresses: []string{"127.0.0.1:0", "127.0.0.2:0"}},
		{Name: "OUTSIDE", Addresses: []string{"127.0.0.1:0"}, AdvertisedHost: "kafka.example", AdvertisedPort: 31000},
	})
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	defer func() { _ = s.Close() }()
	if len(s.open) != 3 || s.open[0].Addr().String()[len("127.0.0.1"):] != s.open[1].Addr().String()[len("127.0.0.2"):] {
		t.Errorf("sockets: got %v, %v, want one port", s.open[0].Addr(), s.open[1].Addr())
	}
	got := s.Endpoints()
	if len(got) != 2 || got[0].Host != "127.0.0.1" || got[0].Port == 0 {
		t.Errorf("endpoints: got %+v, want the bound port", got)
	}
	if got[1].Host != "kafka.example" || got[1].Port != 31000 {
		t.Errorf("endpoint: got %+v, want what is advertised", got[1])
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

// TestListenOpensAllOrNone: a taken port leaves nothing open.
func TestListenOpensAllOrNone(t *testing.T) {
	taken, err := Listen(context.Background(), []Listener{{Name: "A", Addresses: []string{"127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.open[0].Addr().String()
	if _, err := Listen(context.Background(), []Listener{
		{Name: "B", Addresses: []string{"127.0.0.1:0"}}, {Name: "C", Addresses: []string{address}},
	}); err == nil || !strings.Contains(err.Error(), "listen on C") {
		t.Errorf("listen on a taken port: got %v, want an error that names C", err)
	}
}

// TestConfigNamesTheKeyThatIsWrong.
func TestConfigNamesTheKeyThatIsWrong(t *testing.T) {
	cases := map[string]func(*Config){
		"listeners":                  func(c *Config) { c.Listeners = nil },
		"node.id":                    func(c *Config) { c.Node = -1 },
		"num.partitions":             func(c *Config) { c.Topics.Partitions = -1 },
		"default.replication.factor": func(c *Config) { c.Topics.ReplicationFactor = -3 },
		"message.max.bytes":          func(c *Config) { c.Topics.MessageBytesMax = -1 },
		"socket.request.max.bytes":   func(c *Config) { c.Requests.BytesMax = 1000 },
		"fetch.max.bytes":            func(c *Config) { c.Requests.FetchBytesMax = 10 },
		"max.connections":            func(c *Config) { c.Connections.Max = -1 },
	}
	for key, spoil := range cases {
		config := Config{Listeners: []Listener{{Name: "A", Addresses: []string{"127.0.0.1:0"}}}}.withDefaults()
		if err := config.validate(); err != nil {
			t.Fatalf("defaults: %v", err)
		}
		spoil(&config)
		if err := config.validate(); err == nil || !strings.HasPrefix(err.Error(), key+":") {
			t.Errorf("%s: got %v, want an error that names it", key, err)
		}
	}
}

// TestWildcardIsNeverAdvertised (checklist 28).
func TestWildcardIsNeverAdvertised(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		l := Listener{Name: "W", Addresses: []string{address}}
		if s, err := Listen(context.Background(), []Listener{l}); err == nil {
			t.Errorf("%s: got %v, want it refused", address, s.Endpoints())
			_ = s.Close()
		}
		l.AdvertisedHost = "kafka.example"
		s, err := Listen(context.Background(), []Listener{l})
		if err != nil {
			t.Errorf("%s with an advertised host: %v", address, err)
			continue
		}
		_ = s.Close()
	}
}
