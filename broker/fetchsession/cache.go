package fetchsession

import (
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config bounds a cache.
type Config struct {
	// Slots is how many sessions there may be (`max.incremental.fetch.session.cache.slots`).
	Slots int
	// Partitions is how many partitions all sessions may name together.
	Partitions int
	// EvictionMillis is how long a session is safe from others: from its last use from any, and from
	// its creation from larger ones.
	EvictionMillis int64
	// Seed is where session ids are drawn from.
	Seed uint64
}

// Cache holds the sessions.
type Cache struct {
	config     Config
	draw       *rand.Rand
	byID       map[int32]*Session
	partitions int
	evictions  int
}

// NewCache makes an empty cache.
func NewCache(c Config) *Cache {
	return &Cache{config: c, draw: rand.New(rand.NewPCG(c.Seed, 0)), byID: map[int32]*Session{}}
}

// Len is the number of sessions.
func (c *Cache) Len() int { return len(c.byID) }

// Partitions is the number of partitions that all sessions name.
func (c *Cache) Partitions() int { return c.partitions }

// Evictions is how many sessions ended to make room for others.
func (c *Cache) Evictions() int { return c.evictions }

// Open makes a session of what a full request asks for, or returns nil if there is no room for it.
// The caller settles every partition of it. byID says that topics are named by id.
func (c *Cache) Open(nowMillis int64, byID bool, asked []kmsg.FetchRequestTopic) *Session {
	s := newSession(byID, asked)
	if s.Len() == 0 || !c.makeRoom(nowMillis, s.Len()) {
		return nil
	}
	for s.ID == 0 || c.byID[s.ID] != nil {
		s.ID = c.draw.Int32()
	}
	s.created, s.used, s.counted = nowMillis, nowMillis, s.Len()
	c.partitions += s.counted
	c.byID[s.ID] = s
	return s
}

// makeRoom makes room for a session of so many partitions, if anybody may be evicted for it.
func (c *Cache) makeRoom(nowMillis int64, size int) bool {
	if c.config.Slots <= 0 || size > c.config.Partitions {
		return false
	}
	for len(c.byID) >= c.config.Slots || c.partitions+size > c.config.Partitions {
		victim := c.victim(nowMillis, size)
		if victim == nil {
			return false
		}
		c.Close(victim.ID)
		c.evictions++
	}
	return true
}

// victim is whom KIP-227 lets a new session of some size replace: the one that was unused for longest,
// if that was long enough, else the smallest of those that have had their time, if it is smaller.
// Sessions of followers, which go before those of consumers there, do not exist here.
func (c *Cache) victim(nowMillis int64, size int) *Session {
	var idle, small *Session
	for _, s := range c.byID {
		if idle == nil || less(s.used, s.ID, idle.used, idle.ID) {
			idle = s
		}
		if nowMillis-s.created > c.config.EvictionMillis &&
			(small == nil || less(int64(s.counted), s.ID, int64(small.counted), small.ID)) {
			small = s
		}
	}
	if idle != nil && nowMillis-idle.used > c.config.EvictionMillis {
		return idle
	}
	if small != nil && small.counted < size {
		return small
	}
	return nil
}

// less compares by value, and by id where that is equal: maps are walked in no order.
func less(a int64, aID int32, b int64, bID int32) bool {
	return a < b || a == b && aID < bID
}

// Find returns a session, or nil.
func (c *Cache) Find(id int32) *Session { return c.byID[id] }

// Used notes that a session is in use and how large it is now. It ends a session that has become
// empty, or for which there is no room any more, and reports whether it goes on.
func (c *Cache) Used(s *Session, nowMillis int64) bool {
	if c.byID[s.ID] != s {
		return false
	}
	c.partitions += s.Len() - s.counted
	s.counted = s.Len()
	s.used = nowMillis
	if s.counted == 0 || c.partitions > c.config.Partitions {
		c.Close(s.ID)
		return false
	}
	return true
}

// Close ends a session; one that is not there has ended already.
func (c *Cache) Close(id int32) {
	if s := c.byID[id]; s != nil {
		c.partitions -= s.counted
		delete(c.byID, id)
	}
}
