package identity

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	defaultCacheSize = 4096
	cacheShards      = 16
)

// cache remembers tokens that verified, by their SHA-256, so that it holds no
// token anybody could use. Only verified tokens get in: a flood of bad ones
// evicts nothing. It is bounded in number, and each entry by the size a token
// may have.
type cache struct {
	shards [cacheShards]shard
	limit  int // entries per shard
}

type shard struct {
	mu      sync.Mutex
	entries map[tokenHash]*entry
	ring    []tokenHash // in order of arrival, once full overwritten at next
	next    int
}

type tokenHash [sha256.Size]byte

// entry is a verified token and the time in which that stays true.
type entry struct {
	visitor *visitor
	from    time.Time
	until   time.Time // first of expiry, the key's retirement and the age its published set may reach
	set     *keySet   // the published set its key came from, nil for a configured key
	used    bool      // since the ring last passed; guarded by the shard
}

func newCache(size int) *cache {
	if size <= 0 {
		size = defaultCacheSize
	}
	return &cache{limit: (size + cacheShards - 1) / cacheShards}
}

func (c *cache) shard(h *tokenHash) *shard { return &c.shards[h[0]%cacheShards] }

// get returns the entry of a token, nil when there is none.
func (c *cache) get(h *tokenHash) *entry {
	s := c.shard(h)
	s.mu.Lock()
	e := s.entries[*h]
	if e != nil {
		e.used = true
	}
	s.mu.Unlock()
	return e
}

// put remembers a verified token. When the shard is full it forgets the oldest
// one that was not asked for since it was last passed over.
func (c *cache) put(h tokenHash, e *entry) {
	s := c.shard(&h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = make(map[tokenHash]*entry)
	}
	if _, known := s.entries[h]; known {
		s.entries[h] = e
		return
	}
	if len(s.ring) < c.limit {
		s.ring = append(s.ring, h)
		s.entries[h] = e
		return
	}
	for {
		old := s.ring[s.next]
		if kept := s.entries[old]; kept.used {
			kept.used = false
			s.next = (s.next + 1) % len(s.ring)
			continue
		}
		delete(s.entries, old)
		s.ring[s.next] = h
		s.next = (s.next + 1) % len(s.ring)
		s.entries[h] = e
		return
	}
}

// len returns the number of tokens remembered.
func (c *cache) len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}
