package policy

import (
	"strings"

	"vouchsafe/engine"
)

// askRelease asks the release policy about records of every odd shape. Whose
// they are is settled before it is asked; what it must do is to answer.
func (p *prober) askRelease() int {
	g, asked := p.generator, 0
	place := p.asked
	for i, a := range g.kinds {
		for _, change := range []func(document){
			func(document) {},
			func(d document) { d["identity"] = map[string]any{"state": "absent"} },
			func(d document) { d["channel"] = "action" },
		} {
			for _, records := range p.oddRecords(a) {
				if p.ctx.Err() != nil {
					return asked
				}
				d := ordinary(g.sites[i%len(g.sites)], a)
				change(d)
				d["records"] = copied(records)
				asked++
				if p.unusable(d) {
					p.fail(ProbeRelease, numbered{d, place + asked})
				}
			}
		}
	}
	return asked
}

// oddRecords are lists of records as outside systems bring them back.
func (p *prober) oddRecords(a *engine.Action) [][]any {
	fields := a.Fields
	if len(fields) == 0 {
		fields = []string{"id", "status"}
	}
	record := func(id string, value any) map[string]any {
		m := map[string]any{}
		for _, f := range fields {
			m[f] = value
		}
		return map[string]any{"id": id, "fields": m}
	}
	var odd []any
	for _, v := range []any{"x", "", nil, true, false, whole(0), whole(-1), whole(1 << 53), []any{}, []any{nil, "x"},
		map[string]any{}, map[string]any{"x": []any{nil}}, strings.Repeat("long ", 200), "\u202e\u0000é"} {
		odd = append(odd, record("1001", v))
	}
	lists := [][]any{
		{},
		{map[string]any{"id": "", "fields": map[string]any{}}},
		{record("1001", "x"), record("1001", "x")},
		{record("", nil), record("1002", "x")},
		odd,
	}
	for _, one := range odd {
		lists = append(lists, []any{one})
	}
	named := map[string]any{}
	for _, name := range p.generator.hints.strings { // fields that the policy speaks of
		if len(named) < 200 {
			named[name] = "x"
		}
	}
	var many []any
	for range 60 {
		many = append(many, record("1001", "x"))
	}
	return append(lists, []any{map[string]any{"id": "1001", "fields": named}}, many)
}

// unusable reports that the release policy has no well-formed answer.
func (p *prober) unusable(d document) bool {
	v, err := p.set.evaluate(p.ctx, p.set.release, jsonTerm(map[string]any(d)).Value)
	if err != nil {
		return p.ctx.Err() == nil
	}
	records, _ := d["records"].([]any)
	_, err = p.set.releaseOf(v, make([]Record, len(records)))
	return err != nil
}
