package natsconf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/conf"

	"outrigger/natsconf"
)

// config listens on any free ports of loopback.
func config(node int32, routes ...string) natsconf.Config {
	return natsconf.Config{
		NodeID: node, ClusterName: "test", ClientListen: "127.0.0.1:0", ClusterListen: "127.0.0.1:0",
		ClusterSecret: "s3cret", Routes: routes,
		OpsUser: "ops", OpsPassword: "ops", SysUser: "admin", SysPassword: "admin",
	}
}

func start(t testing.TB, c natsconf.Config) *natsconf.Server {
	t.Helper()
	s, err := natsconf.Start(t.Context(), c)
	if err != nil {
		t.Fatalf("start node %d: %v", c.NodeID, err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// eventually polls, since nothing announces what a server has heard from its peers.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		case <-ticker.C:
		}
	}
}

// logBuffer collects a server's log; servers write from many goroutines.
type logBuffer struct {
	mu struct {
		sync.Mutex
		text bytes.Buffer
	}
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.text.String()
}

func TestPeersFindEachOtherAndAreMissedWhenGone(t *testing.T) {
	a := start(t, config(1))
	b := start(t, config(2, a.ClusterAddr()))
	c := start(t, config(3, a.ClusterAddr(), b.ClusterAddr()))
	names := func(nodes ...int32) (list []string) {
		for _, node := range nodes {
			list = append(list, natsconf.NodeName(node))
		}
		return list
	}
	eventually(t, "full mesh", func() bool {
		return slices.Equal(a.Routes(), names(2, 3)) && slices.Equal(b.Routes(), names(1, 3)) &&
			slices.Equal(c.Routes(), names(1, 2))
	})
	if got := a.RouteCount(); got != 2 {
		t.Errorf("got %d peers, want 2", got)
	}

	type change struct {
		name string
		up   bool
	}
	changes := make(chan change, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.WatchRoutes(ctx, func(name string, up bool) { changes <- change{name, up} })
	}()
	want := []change{{"outrigger-2", true}, {"outrigger-3", true}}
	for _, w := range want {
		if got := <-changes; got != w {
			t.Fatalf("got change %v, want %v", got, w)
		}
	}
	c.Shutdown()
	if got, want := <-changes, (change{"outrigger-3", false}); got != want {
		t.Fatalf("got change %v, want %v", got, want)
	}
	cancel()
	<-ended
}

func TestPeerThatComesBackIsConnectedAgain(t *testing.T) {
	b := start(t, config(2))
	address := b.ClusterAddr()
	// only a knows where b is
	a := start(t, config(1, address))
	eventually(t, "connected", func() bool { return a.RouteCount() == 1 })
	b.Shutdown()
	eventually(t, "missed", func() bool { return a.RouteCount() == 0 })
	c := config(2)
	c.ClusterListen = address
	start(t, c)
	eventually(t, "connected again", func() bool { return a.RouteCount() == 1 })
}

func TestNodesThatKnowOnlyAThirdFindEachOther(t *testing.T) {
	a := start(t, config(1))
	b := start(t, config(2, a.ClusterAddr()))
	c := start(t, config(3, a.ClusterAddr()))
	eventually(t, "full mesh", func() bool { return b.RouteCount() == 2 && c.RouteCount() == 2 })
}

func TestTakenPortIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for key, set := range map[string]func(*natsconf.Config){
		"nats.client.listen":  func(c *natsconf.Config) { c.ClientListen = address },
		"nats.cluster.listen": func(c *natsconf.Config) { c.ClusterListen = address },
	} {
		c := config(1)
		set(&c)
		began := time.Now()
		s, err := natsconf.Start(t.Context(), c)
		if err == nil {
			s.Shutdown()
			t.Fatalf("%s: started on a port that is taken", key)
		}
		if want := "listen on " + key + " " + address + ": bind: address already in use"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("%s: told after %s, want it at once", key, waited)
		}
	}
}

func TestTakenMonitorPortOfAFileIsAnError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := config(1)
	c.OperatorFile = write(t, fmt.Sprintf("http: %q", taken.Addr()))
	s, err := natsconf.Start(t.Context(), c)
	if err == nil {
		s.Shutdown()
		t.Fatal("started on a monitor port that is taken")
	}
	if !strings.Contains(err.Error(), "monitor") {
		t.Errorf("got %q, want it to speak of monitoring", err)
	}
}

func TestURLOfAWildcardListenerCanBeDialled(t *testing.T) {
	c := config(1)
	c.ClientListen = "0.0.0.0:0"
	s := start(t, c)
	address := strings.TrimPrefix(s.ClientURL(), "nats://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if host, _, _ := net.SplitHostPort(address); host == "0.0.0.0" || host == "::" {
		t.Errorf("got host %s, want one that clients can use", host)
	}
}

func TestPeerWithoutAddressIsRetriedAndNeverFatal(t *testing.T) {
	c := config(1, "no-such-host.invalid:6222")
	log := &logBuffer{}
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	fatal := make(chan error, 1)
	c.Fatal = func(err error) { fatal <- err }
	start(t, c)
	eventually(t, "the missing peer is named in the log", func() bool {
		return strings.Contains(log.String(), "no-such-host.invalid")
	})
	select {
	case err := <-fatal:
		t.Errorf("got fatal %v, want none", err)
	default:
	}
}

func TestWrongSecretJoinsNobody(t *testing.T) {
	a := start(t, config(1))
	c := config(2, a.ClusterAddr())
	c.ClusterSecret = "guessed"
	log := &logBuffer{}
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	b := start(t, c)
	eventually(t, "the refusal is logged", func() bool {
		return strings.Contains(log.String(), "Authorization Violation")
	})
	if a.RouteCount() != 0 || b.RouteCount() != 0 {
		t.Errorf("got peers %v and %v, want none", a.Routes(), b.Routes())
	}
}

func TestStartRefusesWhatCannotBeRight(t *testing.T) {
	for want, change := range map[string]func(*natsconf.Config){
		"nats.cluster.secret is not set": func(c *natsconf.Config) {
			c.ClusterListen, c.ClusterSecret = "0.0.0.0:0", ""
		},
		`nats.client.listen "4222": want host:port`: func(c *natsconf.Config) { c.ClientListen = "4222" },
		"port is not a number":                      func(c *natsconf.Config) { c.ClusterListen = "127.0.0.1:x" },
		"a peer needs a port":                       func(c *natsconf.Config) { c.Routes = []string{"b:0"} },
		"nats.ops.password is empty":                func(c *natsconf.Config) { c.OpsPassword = "" },
		"are both":                                  func(c *natsconf.Config) { c.SysUser = "ops" },
		"is Outrigger's own":                        func(c *natsconf.Config) { c.OpsUser = "outrigger-repl" },
		"message.max.bytes 70000000":                func(c *natsconf.Config) { c.MaxMessageBytes = 70_000_000 },
		`nats.debug.tap "all"`:                      func(c *natsconf.Config) { c.DebugTap = "all" },
		"node.id -1":                                func(c *natsconf.Config) { c.NodeID = -1 },
		"contains a space":                          func(c *natsconf.Config) { c.ClusterName = "a b" },
	} {
		c := config(1)
		change(&c)
		s, err := natsconf.Start(t.Context(), c)
		if err == nil {
			s.Shutdown()
			t.Errorf("started, want an error with %q", want)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %q, want one line with %q", err, want)
		}
	}
	c := config(1)
	c.ClusterListen, c.ClusterSecret = "0.0.0.0:0", ""
	if _, err := natsconf.Start(t.Context(), c); !errors.Is(err, natsconf.ErrInsecureCluster) {
		t.Errorf("got %v, want ErrInsecureCluster", err)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := natsconf.Start(ctx, config(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestShutdownLeavesNothingBehind(t *testing.T) {
	// the first server starts goroutines that nats-server keeps for the process
	first, err := natsconf.Start(t.Context(), config(1))
	if err != nil {
		t.Fatal(err)
	}
	first.Shutdown()
	before := runtime.NumGoroutine()
	for range 3 {
		s, err := natsconf.Start(t.Context(), config(1))
		if err != nil {
			t.Fatal(err)
		}
		s.Shutdown()
		s.Shutdown()
		if conn, err := net.Dial("tcp", s.ClientAddr()); err == nil && s.ClientAddr() != "" {
			conn.Close()
			t.Error("the client listener is open after Shutdown")
		}
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestRenderIsReadableAndTellsNoSecret(t *testing.T) {
	c := config(7, "b1:6222", "b2:6222")
	c.DebugTap = natsconf.TapPayload
	c.OpsPassword, c.SysPassword = "ops-hidden", "sys-hidden"
	c.ClusterSecret = "cluster-hidden"
	c.OperatorFile = write(t, "max_connections: 99\naccounts { GUESTS { users: [ {user: guest, password: guest-hidden} ] } }\n")
	text, err := natsconf.Render(c)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "hidden") {
		t.Errorf("rendered text tells a secret:\n%s", text)
	}
	tree, err := conf.Parse(text)
	if err != nil {
		t.Fatalf("parse rendered text: %v\n%s", err, text)
	}
	if got := tree["server_name"]; got != "outrigger-7" {
		t.Errorf("got server_name %v, want outrigger-7", got)
	}
	if got := tree["max_connections"]; got != int64(99+64) {
		t.Errorf("got max_connections %v, want the file's 99 beside those of the sidecar and of feeds", got)
	}
	accounts, _ := tree["accounts"].(map[string]any)
	for _, name := range []string{"HB", "RAFT", "REPL", "CATCHUP", "OPS", "SYS", "GUESTS"} {
		if accounts[name] == nil {
			t.Errorf("account %s is missing:\n%s", name, text)
		}
	}
	for _, want := range []string{"nats-route://b1:6222", `deny: ["local.>"]`, "wal.>", "sidecar.status.*"} {
		if !strings.Contains(text, want) {
			t.Errorf("rendered text lacks %s:\n%s", want, text)
		}
	}
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOperatorFileMayNotTouchWhatIsOurs(t *testing.T) {
	for text, want := range map[string]string{
		"jetstream: enabled":                                              ":1: jetstream is not allowed",
		"debug: false\njetstream {\n}\n":                                  ":2: jetstream is not allowed",
		"accounts {\n REPL {\n users: [] }\n}":                            ":2: account REPL is not allowed",
		"accounts { MINE { users: [ {user: ops, password: x} ] } }":       ":1: user ops is not allowed",
		"authorization { users: [ {user: outrigger-hb, password: x} ] }":  "user outrigger-hb is not allowed",
		"authorization { token: abc }":                                    "authorization.token is not allowed",
		"authorization { user: bob, password: x }":                        "authorization.user is not allowed",
		"\ncluster {\n name: other\n}":                                    ":3: cluster name is not allowed",
		"no_auth_user: guest":                                             "nobody may connect without a password",
		"websocket { port: 0, no_tls: true, no_auth_user: x }":            "nobody may connect without a password",
		"system_account: MINE":                                            "the system account is SYS",
		"operator: /x.jwt":                                                "operator mode",
		"gateway { name: g }":                                             "gateway is not allowed",
		"leafnodes { remotes: [ {url: \"nats://x:1\", account: RAFT} ] }": "account RAFT is not allowed here",
		"no_such_setting: 1":                                              `no_such_setting`,
		"max_connections: {":                                              "read nats.config",
	} {
		c := config(1)
		c.OperatorFile = write(t, text)
		s, err := natsconf.Start(t.Context(), c)
		if err == nil {
			s.Shutdown()
			t.Errorf("%q: started, want an error with %q", text, want)
			continue
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nats.conf") {
			t.Errorf("%q: got %q, want the file and %q", text, err, want)
		}
	}
	c := config(1)
	c.OperatorFile = "/no/such/nats.conf"
	if _, err := natsconf.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), c.OperatorFile) {
		t.Errorf("got %v, want the missing file named", err)
	}
}

func TestOperatorFileIsMergedBelowOurs(t *testing.T) {
	c := config(1)
	c.OperatorFile = write(t, `
		http: "127.0.0.1:-1"
		port: 1
		max_payload: 10
		server_name: mine
		no_fast_producer_stall: true
		cluster { port: 2, pool_size: -1, authorization { user: x, password: y }, routes: ["nats://z:1"] }
		accounts { GUESTS { users: [ {user: guest, password: guest} ] } }
	`)
	log := &logBuffer{}
	c.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(log, io.Discard), nil))
	s := start(t, c)
	if got := s.Name(); got != "outrigger-1" {
		t.Errorf("got server name %s, want ours", got)
	}
	if got := s.MaxPayload(); got != 2<<20 {
		t.Errorf("got max payload %d, want %d", got, 2<<20)
	}
	for _, want := range []string{"max_payload", "cluster.pool_size", "nats.client.listen decides"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log does not tell that %s has no effect: %s", want, log)
		}
	}
	b := start(t, config(2, s.ClusterAddr()))
	eventually(t, "the file did not keep peers away", func() bool { return b.RouteCount() == 1 })
}
