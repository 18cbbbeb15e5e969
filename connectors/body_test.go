package connectors

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"
)

// bodies are expressions and the arguments they take, "*" for all of them.
var bodies = map[string][]string{
	".args.a":                                {"a"},
	`.args["a"]`:                             {"a"},
	`."args"."a"`:                            {"a"},
	".args | .a":                             {"a"},
	"(.args, 1) | .a?":                       {"a"},
	"[.args.a, .args.b]":                     {"a", "b"},
	".args as $x | $x.a":                     {"a"},
	".args as {a: $v} | $v":                  {"*"},
	"{args: {a: 1}} | .args.a":               nil,
	"{x: .args} | .x.a":                      {"*"},
	".args | to_entries":                     {"*"},
	`.args[.args.a]`:                         {"*", "a"},
	".args | .a = 1":                         {"*"},
	"try .args.a catch .":                    {"a"},
	"label $out | .args.a | ., break $out":   {"a"},
	"foreach .args.a[] as $x (0; . + $x)":    {"a"},
	"-.args.a":                               {"a"},
	`"\(.args.a)"`:                           {"a"},
	`@base64 "\(.args.a)"`:                   {"a"},
	"first(.args.a, .args.b)":                {"a", "b"},
	"{a: 1} | .a":                            nil,
	"if .args.a then 1 else 2 end":           {"a"},
	"if 1 then 1 elif .args.a then 2 end":    {"*", "a"},
	"reduce range(.args.a) as $i (0; . + 1)": {"a"},
}

func TestUseOfBody(t *testing.T) {
	for source, want := range bodies {
		q, err := gojq.Parse(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		u := useOf(q, nil)
		got, wanted := map[string]bool{}, map[string]bool{}
		for name := range u.args {
			got[name] = true
		}
		if u.allArgs {
			got["*"] = true
		}
		for _, name := range want {
			wanted[name] = true
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", source, diff)
		}
	}
}

// What a body is not seen to take must make no difference to it.
func FuzzUseOfBody(f *testing.F) {
	for source := range bodies {
		f.Add(source)
	}
	for _, source := range []string{".", ". as {args: $a} | $a", "def f: .args; f", `getpath(["args", "a"])`, "[..]", ".[]", "to_entries",
		". as [$x] | $x", ". as {$args} | $args", "{args}", `{"\("args")"}`, "{(\"args\")}", "reduce . as $x (.; $x)", "limit(1; .) | .args", "try error catch .",
		"path(.args)", ".args as {a: $x} ?// [$x] | $x", ". as $x | {$x}", "label $f | ., break $f", "input", "env", "$ENV", "now | .", "@json", "-.", "walk(.)"} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 200 {
			return
		}
		e, err := compileJQ(source)
		if err != nil {
			return
		}
		u := useOf(e.query, nil)
		if u.allArgs {
			return
		}
		result := func(secret string) (string, bool) {
			in := map[string]any{"pinned": map[string]any{"email": "p"}, "args": map[string]any{}}
			for _, name := range []string{"a", "b", "c"} {
				in["args"].(map[string]any)[name] = secret
				if u.args[name] {
					in["args"].(map[string]any)[name] = "given"
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), jqTimeout)
			defer cancel()
			out, err := e.all(ctx, in)
			b, _ := json.Marshal(out)
			return string(b), err == nil
		}
		one, first := result("1")
		other, second := result("22")
		if again, _ := result("1"); again != one {
			return // it tells the time
		}
		if one != other || first != second {
			t.Errorf("%s takes more than %v: %s, %s", source, u.args, one, other)
		}
	})
}
