package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// goneRecords collects, file by file, what is missing of a site's log and what
// the log says of that.
type goneRecords struct {
	ends   map[uint64]tlog.Hash // roots of the tree where files end
	stated []*Drop              // by the seals of files whose records are gone
	acts   []dropAct            // in the log
	bare   uint64               // records before this number are gone
	kept   bool                 // there were records
}

// take adds a site's part of the next file. What is wrong with it concerns
// record at and those after it.
func (g *goneRecords) take(p *portionState) (at uint64, what string) {
	if p.base == nil || p.end == nil {
		return 0, ""
	}
	g.ends[p.end.size] = p.end.root()
	g.acts = append(g.acts, p.acts...)
	switch {
	case p.dropped == 0:
		g.kept = g.kept || p.end.size > p.base.size
	case g.kept:
		return p.base.size, fmt.Sprintf("records %d to %d are gone from behind older ones: retention does not do that", p.base.size, p.end.size-1)
	default:
		g.bare = p.end.size
		if p.drop != nil {
			g.stated = append(g.stated, p.drop)
		}
	}
	return 0, ""
}

// account holds what is gone against the acts on record.
func (g *goneRecords) account() (d *Dropped, at uint64, what string) {
	if g.bare == 0 {
		return nil, 0, ""
	}
	for _, s := range g.stated {
		if g.ends[s.End] != s.Root {
			return nil, 0, fmt.Sprintf("the first %d records are gone, and they are not those that retention said it dropped", g.bare)
		}
	}
	// Each act speaks for all before it too, so that the newest is enough.
	covered := uint64(0)
	for _, a := range g.acts {
		if root, known := g.ends[a.drop.End]; !known || root != a.drop.Root {
			continue
		}
		if a.drop.End >= g.bare && d == nil {
			d = &Dropped{Records: g.bare, First: a.drop.First, Last: a.drop.Last, Act: a.ID, By: a.By, At: a.Time}
		}
		covered = max(covered, a.drop.End)
	}
	if d == nil {
		return nil, covered, fmt.Sprintf("records %d to %d are gone, and no act on record says that retention dropped them", covered, g.bare-1)
	}
	return d, 0, ""
}
