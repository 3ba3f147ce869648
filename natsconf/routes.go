package natsconf

import (
	"context"
	"slices"
	"time"
)

// routesAgeMax is how old a list of peers may be that the number of connections does not contradict.
const routesAgeMax = time.Second

// listAgeMax is the same for Routes, which is asked several times a second: a walk over all routes is
// worth it when their number changes, and else hardly ever.
const listAgeMax = 10 * time.Second

// After a cue, WatchRoutes looks this often, this many times.
const (
	closeLookPause = 20 * time.Millisecond
	closeLooksMax  = 25
)

// routeList is a list of peers and when it was right. The newest spares most calls of Routes the
// walk over all connections.
type routeList struct {
	names       []string
	connections int
	at          time.Time
}

// Routes are the server names of the peers that we are wholly connected to, sorted. A peer counts
// while each pinned account has its connection: without any of them some traffic goes nowhere. The
// caller may keep the slice and must not change it.
func (s *Server) Routes() []string {
	connections := s.server.NumRoutes()
	last := s.routes.Load()
	if last != nil && last.connections == connections && time.Since(last.at) < listAgeMax {
		return last.names
	}
	now := &routeList{names: s.connectedPeers(), connections: connections, at: time.Now()}
	s.routes.Store(now)
	return now.names
}

// RoutesCue says that a connection was made or lost, and Routes may change at once or soon. It has one
// slot, for one reader, which may not be WatchRoutes as well.
func (s *Server) RoutesCue() <-chan struct{} { return s.logger.cue }

// RouteCount is the number of peers that Routes lists.
func (s *Server) RouteCount() int { return len(s.Routes()) }

func (s *Server) connectedPeers() []string {
	routes, err := s.server.Routez(nil)
	if err != nil {
		return nil
	}
	pinned := make(map[string]int)
	for _, route := range routes.Routes {
		if slices.Contains(pinnedAccounts, route.Account) {
			pinned[route.RemoteName]++
		}
	}
	var names []string
	for name, accounts := range pinned {
		if accounts >= len(pinnedAccounts) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// WatchRoutes calls changed for every peer that comes or goes, until ctx or the server ends. A lost
// route is a hint that the peer may be gone, never proof. changed must not block. One caller only.
//
// The server announces no routes, but it writes a line to its log for each connection that is made
// or lost: a line is the cue to look closely for a while. Else one look in routesAgeMax is enough.
func (s *Server) WatchRoutes(ctx context.Context, changed func(name string, up bool)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var known []string
	closeLooks := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.closing:
			return
		case <-s.logger.cue:
			// the line may come before the connection is in the server's table, or out of it
			closeLooks = closeLooksMax
		case <-timer.C:
		}
		known = s.compareRoutes(known, changed)
		pause := routesAgeMax
		if closeLooks > 0 {
			closeLooks--
			pause = closeLookPause
		}
		timer.Reset(pause)
	}
}

func (s *Server) compareRoutes(known []string, changed func(name string, up bool)) []string {
	now := s.Routes()
	for _, name := range known {
		if !slices.Contains(now, name) {
			changed(name, false)
		}
	}
	for _, name := range now {
		if !slices.Contains(known, name) {
			changed(name, true)
		}
	}
	return now
}
