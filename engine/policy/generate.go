package policy

import (
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"vouchsafe/engine"
)

// When and as whom probes ask, unless a probe says otherwise.
const (
	probeNow   = 1773309600
	probeEmail = "alex@example.com"
	otherEmail = "jordan@example.com"
	dayLong    = 24 * 60 * 60
)

// generator makes the inputs that probes ask. The same options make the same
// inputs in the same order.
type generator struct {
	catalog []*engine.Action
	byName  map[string]*engine.Action
	kinds   []*engine.Action // one action for each combination of what policies see of it
	sites   []*engine.Site
	hints   *hints
	waived  map[string]bool
	rng     *rand.Rand
	limit   int

	made    int
	until   int // how many may be made by the end of this phase
	leftOut int
	seen    map[uint64]bool
	args    map[*engine.Action][]map[string]any // worked out before
	yield   func(document) bool
	ended   bool
}

func newGenerator(s *Set, catalog []*engine.Action, sites []*engine.Site, seed uint64, limit int) *generator {
	g := &generator{catalog: catalog, byName: map[string]*engine.Action{}, sites: sites, hints: hintsOf(s), waived: s.waived,
		rng: rand.New(rand.NewPCG(seed, 1)), limit: limit, seen: map[uint64]bool{}, args: map[*engine.Action][]map[string]any{}}
	g.leftOut = max(0, g.hints.dropped)
	if len(g.sites) == 0 {
		g.sites = []*engine.Site{{ID: "probe", Tier: engine.Pro}}
	}
	met := map[actionFacts]bool{}
	for _, a := range catalog {
		g.byName[a.Name] = a
		kind := actionFacts{personal: a.Personal, risk: a.Risk, minTier: a.MinTier}
		if !met[kind] {
			met[kind] = true
			g.kinds = append(g.kinds, a)
		}
	}
	slices.SortStableFunc(g.kinds, func(a, b *engine.Action) int { return b2i(b.Personal) - b2i(a.Personal) })
	return g
}

// run yields every probe, the systematic ones first.
func (g *generator) run(yield func(document) bool) {
	g.yield = yield
	for _, phase := range []struct {
		share int // of the limit, in percent, that may be spent by its end
		make  func()
	}{{50, g.core}, {75, g.directed}, {90, g.sprinkled}, {100, g.mixed}} {
		g.until = g.limit * phase.share / 100
		phase.make()
	}
}

// full reports that this phase may make no more.
func (g *generator) full() bool { return g.ended || g.made >= g.until }

// ask yields the input unless it was asked before or may be allowed; probes
// that hold an input to more than the wall are asked all the same.
func (g *generator) ask(d document, always bool) {
	if g.ended || !always && len(breaches(d, g.waived)) == 0 {
		return
	}
	h := fnv.New64a()
	h.Write(raw(d))
	if g.seen[h.Sum64()] {
		return
	}
	if g.full() {
		g.leftOut++
		return
	}
	g.seen[h.Sum64()] = true
	g.made++
	g.ended = !g.yield(d)
}

// ordinary is what a policy is asked when a customer at this site does this to
// their own account, everything being in order.
func ordinary(site *engine.Site, a *engine.Action) document {
	return question(site, a, argsOf(a.Args)[0])
}

func question(site *engine.Site, a *engine.Action, args map[string]any) document {
	most := int64(site.MaxTokenLifetime.Seconds())
	if most <= 0 {
		most = 900
	}
	d := document{
		"site": map[string]any{"id": site.ID, "tier": max(site.Tier, a.MinTier).String(), "max_token_lifetime": whole(most)},
		"identity": map[string]any{"state": "verified", "subject": "cus_1001", "email": probeEmail, "name": "Alex", "token_id": "t-1",
			"issued_at": whole(probeNow - 60), "expires_at": whole(probeNow + 240), "lifetime": whole(min(300, most))},
		"asserted":     map[string]any{"emails": []any{}, "names": []any{}},
		"confirmation": map[string]any{"confirmed": false},
		"conversation": map[string]any{"id": "cv_1", "subject": "cus_1001"},
		"channel":      "chat",
		"now":          whole(probeNow),
	}
	if a.Personal {
		d["target"] = map[string]any{"email": probeEmail}
	}
	d.act(a, args)
	return d
}

// ordinary is as the function of that name, but works arguments out once.
func (g *generator) ordinary(site *engine.Site, a *engine.Action) document {
	return question(site, a, g.argsOf(a)[0])
}

func (g *generator) argsOf(a *engine.Action) []map[string]any {
	if g.args[a] == nil {
		g.args[a] = argsOf(a.Args)
	}
	return g.args[a]
}

// act makes the input be about another action.
func (d document) act(a *engine.Action, args map[string]any) {
	d["action"] = map[string]any{"name": a.Name, "personal": a.Personal, "risk": a.Risk.String(), "min_tier": a.MinTier.String(),
		"args": copied(args)}
}

func (d document) set(value any, path ...string) {
	if n := len(path); path[n-1] == inArray {
		path, value = path[:n-1], []any{value}
	}
	m := map[string]any(d)
	for _, step := range path[:len(path)-1] {
		next, ok := m[step].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[step] = next
		}
		m = next
	}
	m[path[len(path)-1]] = value
}

func (d document) drop(path ...string) {
	m, ok := d.value(path[:len(path)-1]...).(map[string]any)
	if ok {
		delete(m, path[len(path)-1])
	}
}

// change is one step away from the ordinary.
type change struct {
	do   func(d document)
	rank int // 1 for those that are combined with the policy's conditions, 2 for those with everything
}

func put(value any, path ...string) change {
	return change{do: func(d document) { d.set(copied(value), path...) }}
}
func lack(path ...string) change { return change{do: func(d document) { d.drop(path...) }} }
func keyed(c change) change      { c.rank = 1; return c }
func first(c change) change      { c.rank = 2; return c }

// later moves a member of the input to some seconds from another one.
func later(by int64, path, from []string) change {
	return change{do: func(d document) {
		if n, ok := d.integer(from...); ok {
			d.set(whole(n+by), path...)
		}
	}}
}

var (
	expiresAt = []string{"identity", "expires_at"}
	lifetime  = []string{"identity", "lifetime"}
	mostLife  = []string{"site", "max_token_lifetime"}
	nowAt     = []string{"now"}
	emailAt   = []string{"identity", "email"}
	targetAt  = []string{"target", "email"}
	stateAt   = []string{"identity", "state"}
)

// changes are the boundary values of each dimension. What the gate always
// says, and in which type, they leave: it cannot ask anything else.
var changes = []change{
	// Nobody, or nobody one may believe.
	first(change{do: func(d document) { d["identity"] = map[string]any{"state": "absent"} }}),
	keyed(change{do: func(d document) { d["identity"] = map[string]any{"state": "invalid"} }}),
	keyed(change{do: func(d document) {
		now, _ := d.integer("now")
		subject := d.text("identity", "subject")
		d["identity"] = map[string]any{"state": "expired", "subject": subject, "token_id": "t-1", "issued_at": whole(now - 400), "expires_at": whole(now - 100)}
	}}),
	keyed(put("absent", stateAt...)), keyed(put("invalid", stateAt...)), keyed(put("expired", stateAt...)),
	put("", stateAt...), put("Verified", stateAt...), put("revoked", stateAt...),
	first(put(true, "identity", "revoked")), put(false, "identity", "revoked"),
	put(false, "identity", "email_verified"), put(true, "identity", "email_verified"),
	// Time.
	first(later(0, expiresAt, nowAt)), later(-1, expiresAt, nowAt), later(1, expiresAt, nowAt), later(-dayLong, expiresAt, nowAt),
	keyed(lack(expiresAt...)),
	first(later(1, lifetime, mostLife)), later(0, lifetime, mostLife), later(-1, lifetime, mostLife), put(whole(dayLong+1), lifetime...),
	lack(lifetime...), lack(mostLife...),
	// Whose account.
	first(put(otherEmail, targetAt...)), put("", targetAt...), keyed(lack("target")), lack(targetAt...),
	put("Alex@Example.com", targetAt...), put(probeEmail+" ", targetAt...), put(probeEmail+".example", targetAt...),
	lack(emailAt...), put(otherEmail, emailAt...),
	{do: func(d document) { d.drop(emailAt...); d.drop("target") }},
	{do: func(d document) { d.set("", emailAt...); d.set("", targetAt...) }},
	// Tiers.
	first(put("free", "site", "tier")), put("pro", "site", "tier"), put("business", "site", "tier"), put("enterprise", "site", "tier"),
	put("", "site", "tier"), lack("site", "tier"), keyed(put("business", "action", "min_tier")), put("", "action", "min_tier"),
	// Actions nobody described.
	keyed(change{do: func(d document) {
		d["action"] = map[string]any{"name": "probe.unknown", "personal": false, "args": map[string]any{}}
	}}),
	{do: func(d document) {
		d["action"] = map[string]any{"name": "probe.unknown", "personal": true, "args": map[string]any{}}
	}},
	lack("action", "min_tier"),
}

// neutral changes open nothing by themselves.
var neutral = []change{
	put("action", "channel"), put(true, "confirmation", "confirmed"), lack("conversation"), put("cus_2002", "conversation", "subject"),
	lack("conversation", "subject"),
	put([]any{otherEmail}, "asserted", "emails"), put([]any{probeEmail}, "asserted", "emails"), put([]any{"Jordan"}, "asserted", "names"),
	put(map[string]any{"role": "admin", "groups": []any{"staff"}}, "identity", "claims"),
	put("read", "action", "risk"), put("write", "action", "risk"), put("destructive", "action", "risk"),
	lack("identity", "name"), lack("identity", "token_id"), lack("identity", "subject"), lack("identity", "issued_at"),
}

// keys are the changes that every condition of the policy is combined with,
// foremost those that everything is.
var keys, foremost = ranked(1), ranked(2)

func ranked(least int) []change {
	return slices.DeleteFunc(slices.Clone(changes), func(c change) bool { return c.rank < least })
}

// core asks of every action what the boundary values of each dimension come to.
func (g *generator) core() {
	list, doors := changes, []string{"chat", "action"}
	if len(g.catalog)*len(list)*len(doors) > g.until {
		doors = doors[:1]
	}
	if len(g.catalog)*len(list) > g.until {
		list = keys
	}
	for i, a := range g.catalog {
		site := g.sites[i%len(g.sites)]
		args := g.argsOf(a)
		g.ask(g.ordinary(site, a), true)
		for _, n := range neutral {
			d := g.ordinary(site, a)
			n.do(d)
			g.ask(d, i < len(g.kinds))
		}
		for j, c := range list {
			for _, door := range doors {
				d := g.ordinary(site, a)
				d["channel"] = door
				d.set(copied(args[j%len(args)]), "action", "args")
				d.set(j%4 == 3, "confirmation", "confirmed")
				c.do(d)
				g.ask(d, false)
			}
		}
	}
	for _, site := range g.sites { // each at the tier it has
		for _, a := range g.kinds {
			d := g.ordinary(site, a)
			d.set(site.Tier.String(), "site", "tier")
			g.ask(d, false)
		}
	}
}

// directed asks for what the policy's own conditions look out for, each rule's
// together, with one thing that must deny.
func (g *generator) directed() {
	kinds, list := g.kinds, keys
	room := max(0, g.until-g.made)
	if len(g.hints.patches)*len(kinds)*len(list)*2 > room {
		kinds = kinds[:min(len(kinds), 1)]
	}
	if len(g.hints.patches)*len(kinds)*len(list)*2 > room {
		list = foremost
	}
	for _, p := range g.hints.patches {
		about := kinds
		for _, a := range p {
			name, isText := a.value.(string)
			if named := g.byName[name]; isText && named != nil && strings.Join(a.path, ".") == "action.name" {
				about = []*engine.Action{named}
			}
		}
		for i, a := range about {
			site := g.sites[i%len(g.sites)]
			d := g.ordinary(site, a)
			g.apply(d, p)
			g.ask(d, false)
			for _, c := range list {
				once := g.ordinary(site, a)
				g.apply(once, p)
				c.do(once)
				g.ask(once, false)
				again := g.ordinary(site, a)
				g.apply(again, p)
				c.do(again)
				g.apply(again, p)
				g.ask(again, false)
			}
		}
	}
}

// apply sets what a patch says, keeping in order what would otherwise only
// deny: an action is the catalog's, times move with now, and whoever has this
// address acts on their own account.
func (g *generator) apply(d document, p patch) {
	for _, a := range p {
		if name, ok := a.value.(string); ok && strings.Join(a.path, ".") == "action.name" && g.byName[name] != nil && d.text(a.path...) != name {
			d.act(g.byName[name], g.argsOf(g.byName[name])[0])
		}
	}
	for _, a := range p {
		switch strings.Join(a.path, ".") {
		case "now":
			if n, ok := a.value.(json.Number); ok {
				if to, err := n.Int64(); err == nil {
					d.move(to)
					continue
				}
			}
		case "identity.email":
			if d.text(emailAt...) == d.text(targetAt...) {
				d.set(copied(a.value), targetAt...)
			}
		}
		d.set(copied(a.value), a.path...)
	}
}

// move asks at another time, the token as old as it was.
func (d document) move(to int64) {
	from, ok := d.integer("now")
	if !ok {
		return
	}
	d.set(whole(to), "now")
	for _, at := range [][]string{expiresAt, {"identity", "issued_at"}} {
		if n, ok := d.integer(at...); ok {
			d.set(whole(n+to-from), at...)
		}
	}
}

// places are the members of input where a literal could be looked for.
func (g *generator) places() (texts, numbers [][]string) {
	texts = [][]string{
		{"site", "id"}, {"identity", "subject"}, emailAt, {"identity", "name"}, {"identity", "token_id"}, {"action", "name"}, targetAt,
		{"asserted", "emails", inArray}, {"asserted", "names", inArray}, {"conversation", "id"}, {"conversation", "subject"}, {"channel"},
	}
	numbers = [][]string{nowAt, lifetime, expiresAt, {"identity", "issued_at"}, mostLife}
	args := map[string]bool{}
	for _, a := range g.catalog {
		if a.Args == nil {
			continue
		}
		for _, name := range a.Args.Names() {
			if !args[name] {
				args[name] = true
				texts, numbers = append(texts, []string{"action", "args", name}), append(numbers, []string{"action", "args", name})
			}
		}
	}
	for _, slot := range g.hints.slots {
		path := strings.Split(slot, "\x00")
		if len(path) > 2 && (path[1] == "claims" || path[1] == "args" && !args[path[2]]) {
			texts, numbers = append(texts, path), append(numbers, path)
		}
	}
	return texts, numbers
}

// literals are single members of input set to a literal of the policy.
func (g *generator) literals() []assignment {
	texts, numbers := g.places()
	var out []assignment
	for _, literal := range g.hints.strings {
		for _, at := range texts {
			out = append(out, assignment{at, literal})
		}
		out = append(out, assignment{[]string{"identity", "claims", literal}, true})
	}
	for _, n := range g.hints.numbers {
		for _, near := range around(n) {
			for _, at := range numbers {
				out = append(out, assignment{at, near})
			}
		}
	}
	return out
}

// takes returns an action that the argument belongs to, or any.
func (g *generator) takes(path []string, i int) *engine.Action {
	if len(path) > 2 && path[1] == "args" {
		for _, a := range g.catalog {
			if a.Args != nil && a.Args.Has(path[2]) {
				return a
			}
		}
	}
	return g.kinds[i%len(g.kinds)]
}

// sprinkled puts every literal of the policy everywhere it might be looked for.
func (g *generator) sprinkled() {
	if len(g.kinds) == 0 {
		return
	}
	all := g.literals()
	g.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i, a := range all {
		for j, c := range foremost {
			if g.full() {
				g.leftOut += len(all) - i
				return
			}
			d := g.ordinary(g.sites[i%len(g.sites)], g.takes(a.path, j))
			g.apply(d, patch{a})
			c.do(d)
			g.ask(d, false)
		}
	}
}

// mixed puts things together at random.
func (g *generator) mixed() {
	if len(g.catalog) == 0 {
		return
	}
	all := g.literals()
	for tries := (g.until - g.made) / 2; tries > 0 && !g.ended; tries-- {
		a := g.catalog[g.rng.IntN(len(g.catalog))]
		d := g.ordinary(g.sites[g.rng.IntN(len(g.sites))], a)
		args := g.argsOf(a)
		d.set(copied(args[g.rng.IntN(len(args))]), "action", "args")
		d.move(probeNow + int64(g.rng.IntN(7*24))*3600)
		for range g.rng.IntN(4) {
			neutral[g.rng.IntN(len(neutral))].do(d)
		}
		if len(g.hints.patches) > 0 {
			for range g.rng.IntN(3) {
				g.apply(d, g.hints.patches[g.rng.IntN(len(g.hints.patches))])
			}
		}
		if len(all) > 0 {
			for range g.rng.IntN(3) {
				g.apply(d, patch{all[g.rng.IntN(len(all))]})
			}
		}
		for range 1 + g.rng.IntN(2) {
			changes[g.rng.IntN(len(changes))].do(d)
		}
		g.ask(d, false)
	}
}
