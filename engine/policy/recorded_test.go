package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/policies"
)

// exported writes a corpus of the decisions and reads it back.
func exported(t testing.TB, active *Set, recs ...Recorded) ([]byte, CorpusReport, []Recorded) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewCorpusWriter(&b, active, time.Unix(1773309600, 5))
	if err != nil {
		t.Fatalf("NewCorpusWriter: %v", err)
	}
	for _, rec := range recs {
		if err := w.Add(context.Background(), rec); err != nil {
			t.Fatalf("Add: %v", err)
		}
	}
	report, err := w.Close()
	if err != nil {
		t.Fatalf("Close: %v", err)
	}
	text := bytes.Clone(b.Bytes())
	return text, report, corpusOf(t, &b)
}

func corpusOf(t testing.TB, r io.Reader) []Recorded {
	t.Helper()
	schema, err := ReadInputSchema(policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadCorpus(r, schema)
	if err != nil {
		t.Fatalf("ReadCorpus: %v", err)
	}
	var out []Recorded
	for {
		rec, err := c.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		out = append(out, rec)
	}
}

// reach is the value at a path, nil for none.
func reach(v any, path ...string) any {
	for _, name := range path {
		o, _ := v.(map[string]any)
		v = o[name]
	}
	return v
}

// telling is a question full of people.
func telling() *Input {
	in := allowedInput()
	in.Identity.Subject, in.Identity.Name, in.Identity.TokenID = "cus_alexandra", "Alexandra Morgan", "jti-8f2c"
	in.Identity.Email, in.Target = "alexandra.morgan@harbor.test", "Alexandra.Morgan@harbor.test"
	in.Identity.Claims = json.RawMessage(`{"sub":"cus_alexandra","role":"buyer","phone_number":"+44 20 7946 0000","member":4711,
		"acr":"urn:mfa","amr":["pwd","otp"],"auth_time":1773309000,"friends":{"alexandra.morgan@harbor.test":["Bobby Tables"],"vip":true},"note":"ask for Alexandra Morgan"}`)
	in.Asserted = engine.Asserted{Emails: []string{"Alexandra.Morgan@harbor.test", "jordan@other.test"}, Names: []string{"Jordan Quimby"}}
	in.Args = map[string]any{"order_id": "ORD-55512", "gift_to": "Jordan Quimby", "mail": "jordan@other.test",
		"amount": json.Number("25"), "account": json.Number("7700123456"), "items": []any{"Violin", true, nil}}
	in.Conversation = Conversation{ID: "cv_sesamestreet", Subject: "cus_alexandra"}
	return in
}

// people are the texts of telling that say who somebody is.
var people = []string{"cus_alexandra", "lexandra", "organ", "harbor", "jti-8f2c", "other.test", "ordan", "uimby", "7946", "4711",
	"obby", "ables", "ORD-55512", "55512", "7700123456", "sesame", "iolin", "buyer"}

func TestCorpusNamesNobody(t *testing.T) {
	s := shipped(t)
	rec := record(t, s, "d_1", telling())
	if rec.Allow {
		t.Fatal("the telling question is allowed, want target_mismatch")
	}
	text, report, recs := exported(t, s, rec)
	if want := (CorpusReport{Policy: s.Revision(), Written: 1, LeftOut: map[string]int{}}); !cmp.Equal(report, want) {
		t.Fatalf("the report is %+v, want %+v", report, want)
	}
	for _, person := range people {
		if !bytes.Contains(rec.Input, []byte(person)) {
			t.Errorf("the question does not hold %q: the test proves nothing", person)
		}
		if bytes.Contains(bytes.ToLower(text), bytes.ToLower([]byte(person))) {
			t.Errorf("the corpus holds %q:\n%s", person, text)
		}
	}
	if header, _, _ := bytes.Cut(text, []byte("\n")); string(header) != `{"corpus":1,"policy":"`+s.Revision()+`","exported":"2026-03-12T10:00:00Z"}` {
		t.Errorf("the header is %s", header)
	}

	in := decoded(t, recs[0].Input).(map[string]any)
	at := func(path ...string) any { return reach(in, path...) }
	same := func(name string, a, b any) {
		if a != b || a == nil {
			t.Errorf("%s: %v and %v, want them equal as they were", name, a, b)
		}
	}
	claims := at("identity", "claims").(map[string]any)
	asserted := at("asserted", "emails").([]any)
	same("subject and conversation", at("identity", "subject"), at("conversation", "subject"))
	same("subject and claim", at("identity", "subject"), claims["sub"])
	same("target and what was typed", at("target", "email"), asserted[0])
	same("argument and what was typed", at("action", "args", "mail"), asserted[1])
	same("argument and name", at("action", "args", "gift_to"), at("asserted", "names").([]any)[0])
	same("amount", at("action", "args", "amount"), json.Number("25"))
	same("acr", claims["acr"], "urn:mfa")
	same("auth_time", claims["auth_time"], json.Number("1773309000"))
	if diff := cmp.Diff([]any{"pwd", "otp"}, claims["amr"]); diff != "" {
		t.Errorf("amr (-want +got):\n%s", diff)
	}
	email, target := at("identity", "email").(string), at("target", "email").(string)
	if email == target || !strings.EqualFold(email, target) {
		t.Errorf("%s and %s differed in case alone, and should still", email, target)
	}
	if domain := func(s any) string { _, d, _ := strings.Cut(s.(string), "@"); return d }; domain(email) == domain(asserted[1]) {
		t.Errorf("%s and %s share a domain, and did not", email, asserted[1])
	}
	for _, address := range []string{email, target, asserted[1].(string)} {
		if a, err := mail.ParseAddress(address); err != nil || a.Address != address || !strings.HasSuffix(address, ".example") {
			t.Errorf("the stand-in %s is not an address under .example: %v", address, err)
		}
	}
	friends := claims["friends"].(map[string]any)
	if friends[email] == nil || friends["vip"] != true {
		t.Errorf("friends are %v, want the stand-in %s among the members and vip untouched", friends, email)
	}
}

func TestStandInsAreConsistentInOneExportOnly(t *testing.T) {
	s := shipped(t)
	again := telling()
	again.Args, again.Identity.Claims = nil, nil
	_, _, recs := exported(t, s, record(t, s, "d_1", telling()), record(t, s, "d_2", again))
	_, _, other := exported(t, s, record(t, s, "d_1", telling()))
	email := func(r Recorded) any { return reach(decoded(t, r.Input), "identity", "email") }
	if a, b := email(recs[0]), email(recs[1]); a != b || a == nil {
		t.Errorf("one person is %s and %s in one export", a, b)
	}
	if a, b := email(recs[0]), email(other[0]); a == b {
		t.Errorf("one person is %s in two exports", a)
	}
}

// TestCorpusKeepsWhatThePolicyLooksFor leaves the policy's own words in claims
// and arguments, and never where they name somebody.
func TestCorpusKeepsWhatThePolicyLooksFor(t *testing.T) {
	s := compiled(t, shippedFiles(t, map[string]string{"authz/staff.rego": `package authz

# METADATA
# title: Auditors only
# custom:
#   code: auditors_only
#   message: Auditors only.
#   audit: Auditors only.
deny contains reason(rego.metadata.rule()) if {
	input.action.name == "book.close"
	not auditor
}

auditor if {
	input.identity.claims.role == "auditor"
	input.identity.claims.level >= 3
	input.action.args.kind in {"year", "month"}
}

auditor if input.identity.subject == "cus_chief"
`}))
	closing := func(change func(*Input)) Recorded {
		in := allowedInput()
		in.Action = &engine.Action{Name: "book.close", Personal: true, Risk: engine.Write, MinTier: engine.Pro}
		in.Args = map[string]any{"kind": "year", "note": "private"}
		in.Identity.Claims = json.RawMessage(`{"role":"auditor","level":3}`)
		change(in)
		return record(t, s, "d_x", in)
	}
	for _, c := range []struct {
		name    string
		rec     Recorded
		leftOut string
	}{
		{"its words stay", closing(func(*Input) {}), ""},
		{"the one it knows by subject does not", closing(func(in *Input) { in.Identity.Subject, in.Identity.Claims = "cus_chief", nil }), "would_change"},
		{"nor a word that is a name", closing(func(in *Input) { in.Identity.Name = "Auditor" }), "would_change"},
		{"a denial stays one", closing(func(in *Input) { in.Identity.Claims = nil }), ""},
		{"the policy said nothing", Recorded{ID: "d", Policy: s.Revision(), Reasons: []string{"unknown_action"}, Input: telling().AppendJSON(nil)}, "unknown_action"},
		{"it cannot be read", Recorded{ID: "d", Policy: s.Revision(), Allow: true, Input: json.RawMessage(`{`)}, "unreadable_input"},
		{"another policy decided", Recorded{ID: "d", Policy: "other", Allow: true, Input: telling().AppendJSON(nil)}, ""},
	} {
		text, report, recs := exported(t, s, c.rec)
		want := CorpusReport{Policy: s.Revision(), Written: 1, LeftOut: map[string]int{}}
		if c.leftOut != "" {
			want.Written, want.LeftOut[c.leftOut] = 0, 1
		}
		if c.rec.Policy == "other" {
			want.OtherPolicy = 1
		}
		if diff := cmp.Diff(want, report); diff != "" || len(recs) != want.Written {
			t.Errorf("%s: %d decisions, the report (-want +got):\n%s\n%s", c.name, len(recs), diff, text)
		}
		if bytes.Contains(text, []byte("cus_chief")) || bytes.Contains(text, []byte("private")) {
			t.Errorf("%s: somebody is in the corpus:\n%s", c.name, text)
		}
		for _, rec := range recs {
			if got, want := rec.Allow, c.rec.Allow; got != want {
				t.Errorf("%s: the decision became %v, was %v", c.name, got, want)
			}
		}
	}
}

// TestCorpusReplaysAsTheLogDoes finds the same flips in both.
func TestCorpusReplaysAsTheLogDoes(t *testing.T) {
	s := shipped(t)
	candidate := compiled(t, shippedFiles(t, map[string]string{"authz/tier.rego": "package authz\n\noffered := true\n"}))
	var recs []Recorded
	for i := range 60 {
		in := allowedInput()
		switch i % 4 {
		case 0:
			in.Site = &engine.Site{ID: "small", Tier: engine.Free, MaxTokenLifetime: 15 * time.Minute}
		case 1:
			in.Target = fmt.Sprintf("person%d@elsewhere.test", i)
		case 2:
			in.Action = &engine.Action{Name: "order.cancel", Personal: true, Risk: engine.Destructive, MinTier: engine.Pro}
		}
		recs = append(recs, record(t, s, fmt.Sprint("d_", i), in))
	}
	_, report, corpus := exported(t, s, recs...)
	if report.Written != len(recs) {
		t.Fatalf("the export left some out: %+v", report)
	}
	want, got := replayed(t, candidate, recs...), replayed(t, candidate, corpus...)
	if diff := cmp.Diff(want, got); diff != "" || want.Changed[FlipDenyToAllow] != 15 {
		t.Errorf("%d open; the log and the corpus differ (-log +corpus):\n%s", want.Changed[FlipDenyToAllow], diff)
	}
}

func TestCorpusIsReadStrictly(t *testing.T) {
	good, _, _ := exported(t, shipped(t), record(t, shipped(t), "d_1", allowedInput()))
	for _, c := range []struct{ name, from, to, want string }{
		{"empty", `(?s).*`, "", "the corpus is empty"},
		{"another version", `"corpus":1`, `"corpus":2`, "version 2"},
		{"no header", `(?s)^.*?\n`, "", "line 1 of the corpus is not what is expected"},
		{"a log is no corpus", `(?s)^.*`, `{"site":"demo","decision":{"v":1}}`, "line 1 of the corpus is not what is expected"},
		{"an unknown member", `"id":"d_1"`, `"id":"d_1","name":"Alex"`, "line 2 of the corpus is not what is expected"},
		{"a member twice", `"id":"d_1"`, `"id":"d_1","id":"d_2"`, "line 2 of the corpus is not what is expected"},
		{"no id", `"id":"d_1"`, `"id":""`, "line 2 of the corpus has no id"},
		{"no input", `,"input":.*`, `}`, "line 2 of the corpus has no id or no input"},
		{"not the schema's", `"chat"`, `"telepathy"`, "line 2 of the corpus: input.channel does not meet its enum"},
		{"cut off", `\}\n$`, ``, "line 2 of the corpus is not what is expected"},
		{"too long", `"d_1"`, `"` + strings.Repeat("d", maxCorpusLine) + `"`, "line 2 of the corpus: bufio.Scanner: token too long"},
	} {
		text := regexp.MustCompile(c.from).ReplaceAllLiteralString(string(good), c.to)
		schema, err := ReadInputSchema(policies.FS)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ReadCorpus(strings.NewReader(text), schema)
		if err == nil {
			_, err = r.Next()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// BenchmarkCorpus reads and replays a corpus on one core.
func BenchmarkCorpus(b *testing.B) {
	s := shipped(b)
	rec := record(b, s, "d_1", allowedInput())
	text, _, _ := exported(b, s, make([]Recorded, 0, 1)...)
	one, _, _ := exported(b, s, rec)
	text = append(text, bytes.Repeat(one[bytes.IndexByte(one, '\n')+1:], 500)...)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		batch := corpusOf(b, bytes.NewReader(text))
		r := NewReplay(s, ReplayOptions{Parallel: 1})
		if err := r.Add(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		n += len(batch)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "decisions/s")
}

// TestStandInsKeepWhatIsEqual holds random questions to the schema and to the
// relations among whoever is in them.
func TestStandInsKeepWhatIsEqual(t *testing.T) {
	s := shipped(t)
	people, schema := newStandIns(s), inputSchema(t)
	named := func(v any) []string {
		var out []string
		for _, path := range [][]string{{"identity", "subject"}, {"identity", "email"}, {"identity", "name"}, {"identity", "token_id"},
			{"target", "email"}, {"conversation", "id"}, {"conversation", "subject"}} {
			text, _ := reach(v, path...).(string)
			out = append(out, text)
		}
		for _, list := range []string{"emails", "names"} {
			texts, _ := reach(v, "asserted", list).([]any)
			for _, text := range texts {
				out = append(out, text.(string))
			}
		}
		return out
	}
	equal := 0
	for seed := range uint64(300) {
		text := randomInput(rand.New(rand.NewPCG(seed, 4)), []string{"Alex@example.com", "cv_x", "1001", "@", "ALEX"}[seed%5]).AppendJSON(nil)
		replaced, err := people.replace(text)
		if err != nil {
			t.Fatalf("replace(%s): %v", text, err)
		}
		if err := schema.Validate(decoded(t, replaced)); err != nil {
			t.Fatalf("%s\nbecame %s: %v", text, replaced, err)
		}
		before, after := named(decoded(t, text)), named(decoded(t, replaced))
		for i := range before {
			if (before[i] == "") != (after[i] == "") || before[i] != "" && before[i] == after[i] {
				t.Fatalf("%q became %q in\n%s", before[i], after[i], replaced)
			}
			for j := range before[:i] {
				if (before[i] == before[j]) != (after[i] == after[j]) || strings.EqualFold(before[i], before[j]) != strings.EqualFold(after[i], after[j]) {
					t.Fatalf("%q and %q became %q and %q", before[i], before[j], after[i], after[j])
				}
				if before[i] != "" && before[i] == before[j] {
					equal++
				}
			}
		}
	}
	if equal == 0 {
		t.Error("no two people of any question are one: the test proves nothing")
	}
}
