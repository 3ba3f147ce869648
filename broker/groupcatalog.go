package broker

import (
	"sync"

	"outrigger/broker/group"
	"outrigger/broker/group/assign"
)

// catalogCache holds what topics there are, as groups see them: one for all shards, and the same one as
// long as no topic has come, gone or grown, although the view changes with every election.
type catalogCache struct {
	mu struct {
		sync.Mutex
		changed <-chan struct{}
		catalog *group.Catalog
	}
}

// of is the catalog of the newest view.
func (c *catalogCache) of(cluster Cluster) *group.Catalog {
	// Asked for first: a view that comes in between is looked at twice, not missed.
	changed := cluster.Changed()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.catalog != nil && c.mu.changed == changed {
		return c.mu.catalog
	}
	topics := cluster.View().Topics()
	listed := make([]assign.Topic, len(topics))
	for i, t := range topics {
		listed[i] = assign.Topic{ID: t.ID, Name: t.Name, Partitions: int32(len(t.Partitions))}
	}
	next := group.NewCatalog(listed)
	if !next.Same(c.mu.catalog) {
		c.mu.catalog = next
	}
	c.mu.changed = changed
	return c.mu.catalog
}
