package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// baseData answers topdown's look-ups in `data` straight from the policy's
// data, which never changes, instead of copying it out of the store each time.
type baseData struct{ root ast.Object }

// Get returns the value at ref, nil for what is not there: topdown then asks
// the store, which has the same answer.
func (d baseData) Get(ref ast.Ref) ast.Value {
	if len(ref) < 2 {
		return nil
	}
	v, err := d.root.Find(ref[1:])
	if err != nil {
		return nil
	}
	return v
}

// Put has nothing to do: whatever the store holds, root holds.
func (baseData) Put(ast.Ref, ast.Value) {}

// ruleCache remembers the rules one evaluation has worked out. A decision works
// out a handful, for which a list searched from its end beats topdown's own
// tree of hash maps; a frame that grows past crowded hands over to the tree.
type ruleCache struct {
	frames  []cacheFrame // above the first, which is always there
	first   cacheFrame
	entries []cacheEntry
	terms   []*ast.Term // the refs of all entries, end to end
}

type cacheFrame struct {
	from int // of its entries
	tree topdown.VirtualCache
}

type cacheEntry struct {
	from, to int       // of its ref in terms
	value    *ast.Term // nil when the rule is undefined
}

const crowded = 48

func (c *ruleCache) top() *cacheFrame {
	if n := len(c.frames); n > 0 {
		return &c.frames[n-1]
	}
	return &c.first
}

func (c *ruleCache) Push() {
	c.frames = append(c.frames, cacheFrame{from: len(c.entries)})
}

func (c *ruleCache) Pop() {
	c.drop(c.top().from)
	c.frames = c.frames[:len(c.frames)-1]
}

// drop forgets the entries from n on.
func (c *ruleCache) drop(n int) {
	if n < len(c.entries) {
		at := c.entries[n].from
		clear(c.terms[at:])
		c.terms = c.terms[:at]
	}
	clear(c.entries[n:])
	c.entries = c.entries[:n]
}

func (c *ruleCache) Get(ref ast.Ref) (value *ast.Term, undefined bool) {
	f := c.top()
	if f.tree != nil {
		return f.tree.Get(ref)
	}
	for i := len(c.entries) - 1; i >= f.from; i-- {
		if e := c.entries[i]; sameRef(c.terms[e.from:e.to], ref) {
			return e.value, e.value == nil
		}
	}
	return nil, false
}

func (c *ruleCache) Put(ref ast.Ref, value *ast.Term) {
	f := c.top()
	if f.tree == nil && len(c.entries)-f.from >= crowded {
		f.tree = topdown.NewVirtualCache()
		for _, e := range c.entries[f.from:] {
			f.tree.Put(c.terms[e.from:e.to], e.value)
		}
		c.drop(f.from)
	}
	if f.tree != nil {
		f.tree.Put(ref, value)
		return
	}
	from := len(c.terms)
	c.terms = append(c.terms, ref...)
	c.entries = append(c.entries, cacheEntry{from, len(c.terms), value})
}

// Keys returns the refs remembered in the active frame.
func (c *ruleCache) Keys() []ast.Ref {
	f := c.top()
	if f.tree != nil {
		return f.tree.Keys()
	}
	var keys []ast.Ref
	for _, e := range c.entries[f.from:] {
		keys = append(keys, c.terms[e.from:e.to:e.to])
	}
	return keys
}

func (c *ruleCache) reset() {
	c.drop(0)
	clear(c.frames)
	c.frames = c.frames[:0]
	c.first = cacheFrame{}
}

// sameRef compares from the end, where refs differ first.
func sameRef(a, b []*ast.Term) bool {
	if len(a) != len(b) {
		return false
	}
	for i := len(a) - 1; i >= 0; i-- {
		if a[i] != b[i] && !ast.KeyHashEqual(a[i].Value, b[i].Value) {
			return false
		}
	}
	return true
}
