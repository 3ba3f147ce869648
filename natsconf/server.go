package natsconf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrNotReady ends Start when a listener did not open in time.
var ErrNotReady = errors.New("NATS listeners did not open in time")

// readyPollInterval is how long one look at the listeners may take while Start waits.
const readyPollInterval = 50 * time.Millisecond

// Server is a running embedded nats-server. Its methods may be called from any goroutine.
type Server struct {
	server  *server.Server
	options *server.Options
	secrets credentials
	config  Config
	logger  *logger

	fatal   chan *failure // from the server's logger
	closing chan struct{} // closed by Shutdown
	done    sync.WaitGroup
	once    sync.Once

	routes atomic.Pointer[routeList]
}

// Start returns once operators and peers can connect, or with the reason why they never will. A
// peer that is down, or whose name does not resolve, is no reason.
func Start(ctx context.Context, c Config) (*Server, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	secrets := newCredentials()
	options, err := newOptions(c, secrets)
	if err != nil {
		return nil, err
	}
	embedded, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("configure NATS server: %w", err)
	}
	fatal := make(chan *failure, 1)
	s := &Server{
		server: embedded, options: options, secrets: secrets, config: c,
		logger:  newLogger(c.Logger, fatal),
		fatal:   fatal,
		closing: make(chan struct{}),
	}
	embedded.SetLoggerV2(s.logger, options.Debug, options.Trace, false)
	embedded.Start()
	if err := s.awaitReady(ctx); err != nil {
		s.Shutdown()
		return nil, err
	}
	s.done.Add(1)
	go s.watchFatal()
	return s, nil
}

// awaitReady looks at the listeners in short steps, since the server tells of a port that is taken
// through its logger only.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.config.ReadyTimeout, ErrNotReady)
	defer cancel()
	for {
		select {
		case failure := <-s.fatal:
			return s.explain(failure)
		case <-ctx.Done():
			return fmt.Errorf("start NATS server: %w", context.Cause(ctx))
		default:
		}
		if s.server.ReadyForConnections(readyPollInterval) {
			return nil
		}
	}
}

// explain says which of the configured addresses a failed start speaks of. nats-server tells them
// apart by its words only.
func (s *Server) explain(f *failure) error {
	cause := f.cause
	var network *net.OpError
	if errors.As(cause, &network) {
		// its own text would repeat the address
		cause = network.Err
	}
	switch {
	case cause == nil:
	case strings.HasPrefix(f.format, "Error listening on port"):
		return fmt.Errorf("listen on nats.client.listen %s: %w", s.config.ClientListen, cause)
	case strings.HasPrefix(f.format, "Error listening on router port"):
		return fmt.Errorf("listen on nats.cluster.listen %s: %w", s.config.ClusterListen, cause)
	}
	return fmt.Errorf("start NATS server: %w", f)
}

// watchFatal hands on what stops a part of the server later.
func (s *Server) watchFatal() {
	defer s.done.Done()
	select {
	case failure := <-s.fatal:
		if s.config.Fatal == nil {
			s.config.Logger.Error("nats server failed", "error", failure)
			return
		}
		s.config.Fatal(fmt.Errorf("run NATS server: %w", failure))
	case <-s.closing:
	}
}

// Shutdown closes every connection and listener and returns when all of the server's goroutines
// have ended. It may be called again.
func (s *Server) Shutdown() {
	s.once.Do(func() {
		close(s.closing)
		s.logger.silence()
		s.server.Shutdown()
		s.server.WaitForShutdown()
	})
	s.done.Wait()
}

// InProcessConn opens a connection from inside: a pipe, no socket.
func (s *Server) InProcessConn() (net.Conn, error) { return s.server.InProcessConn() }

// Credentials are the login of an account's in-process user. SYS has none.
func (s *Server) Credentials(account string) (user, password string) {
	for _, candidate := range inProcessUsers {
		if candidate.account == account {
			return candidate.name, s.secrets[account]
		}
	}
	return "", ""
}

// ClientURL is what an operator on this machine connects to, without a login.
func (s *Server) ClientURL() string {
	address, ok := s.server.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := address.IP.String()
	switch {
	case !address.IP.IsUnspecified():
	case address.IP.To4() != nil:
		host = "127.0.0.1"
	default:
		// a wildcard listener of both families answers here too
		host = "localhost"
	}
	return "nats://" + net.JoinHostPort(host, strconv.Itoa(address.Port))
}

// ClientAddr is the operators' host:port, with the port that was really taken.
func (s *Server) ClientAddr() string { return addressOf(s.server.Addr()) }

// ClusterAddr is the peers' host:port, with the port that was really taken.
func (s *Server) ClusterAddr() string {
	if address := s.server.ClusterAddr(); address != nil {
		return addressOf(address)
	}
	return ""
}

func addressOf(address net.Addr) string {
	if address == nil {
		return ""
	}
	return address.String()
}

// Name is the server's name, NodeName of its node.
func (s *Server) Name() string { return s.options.ServerName }

// MaxPayload is the largest message in bytes; every node of a cluster must have the same.
func (s *Server) MaxPayload() int { return int(s.options.MaxPayload) }

// Interest reports whether anybody in account, on any node, subscribes to subject, which has no
// wildcards. It costs a look into the server's subscription tree.
func (s *Server) Interest(account, subject string) bool {
	found, err := s.server.LookupAccount(account)
	return err == nil && found.SubscriptionInterest(subject)
}

// InterestVersion grows whenever somebody in account, on any node, subscribes or unsubscribes: what
// Interest answered under one version still holds under the same one.
func (s *Server) InterestVersion(account string) uint64 {
	stats, err := s.server.Subsz(&server.SubszOptions{Account: account})
	if err != nil {
		return 0
	}
	return stats.NumInserts + stats.NumRemoves
}
