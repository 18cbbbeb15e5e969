package policy

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"vouchsafe/engine"
	"vouchsafe/policies"
)

// asJSON is v the way a JSON decoder would have made it.
func asJSON(t testing.TB, v ast.Value) any {
	t.Helper()
	plain, err := ast.JSON(v)
	if err != nil {
		t.Fatalf("ast.JSON: %v", err)
	}
	return decoded(t, must(json.Marshal(plain)))
}

func decoded(t testing.TB, b []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytesReader(b))
	if err != nil {
		t.Fatalf("not JSON: %v\n%s", err, b)
	}
	return v
}

func inputSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := policies.FS.ReadFile(inputSchemaFile)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := compileSchema(inputSchemaFile, text)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// agree holds both ways of writing an input to each other and to the schema.
func agree(t testing.TB, schema *jsonschema.Schema, in *Input) {
	t.Helper()
	text := in.AppendJSON([]byte("x"))[1:]
	value, document := asJSON(t, in.Value()), decoded(t, text)
	if diff := cmp.Diff(value, document); diff != "" {
		t.Fatalf("Value and AppendJSON differ (-Value +AppendJSON):\n%s", diff)
	}
	if err := schema.Validate(document); err != nil {
		t.Fatalf("AppendJSON = %s\nagainst the schema: %v", text, err)
	}
	records := asJSON(t, in.value(recordsTerm([]Record{{ID: "1", Fields: in.Args}})))
	if err := schema.Validate(records); err != nil {
		t.Fatalf("with records, against the schema: %v", err)
	}
}

func TestWhatIsNotKnownIsAbsent(t *testing.T) {
	in := &Input{
		Site:     &engine.Site{ID: "demo"},
		Identity: Identity{State: "absent"},
		Action:   &engine.Action{Name: "kb.answer"},
		Channel:  engine.ChannelChat,
		Now:      time.Unix(1700000000, 999),
	}
	got := string(in.AppendJSON(nil))
	want := `{"site":{"id":"demo"},"identity":{"state":"absent"},"action":{"name":"kb.answer","personal":false,"args":{}},` +
		`"asserted":{"emails":[],"names":[]},"confirmation":{"confirmed":false},"channel":"chat","now":1700000000}`
	if got != want {
		t.Errorf("AppendJSON =\n%s, want\n%s", got, want)
	}
	agree(t, inputSchema(t), in)
}

func TestEverythingKnownIsSaid(t *testing.T) {
	no := false
	in := allowedInput()
	in.Identity.EmailVerified = &no
	in.Identity.Revoked = true
	in.Identity.Claims = json.RawMessage(`{"role":"buyer","since":2019,"tags":["a",{"b":null}]}`)
	in.Asserted = engine.Asserted{Emails: []string{"jordan@example.com"}, Names: []string{"Jordan \"J\"\u2028"}}
	in.Confirmed = true
	got := string(in.AppendJSON(nil))
	want := `{"site":{"id":"demo","tier":"pro","max_token_lifetime":900},` +
		`"identity":{"state":"verified","subject":"cus_1001","email":"alex@example.com","email_verified":false,"name":"Alex",` +
		`"issued_at":1773309540,"expires_at":1773309900,"lifetime":300,"token_id":"t-1","revoked":true,` +
		`"claims":{"role":"buyer","since":2019,"tags":["a",{"b":null}]}},` +
		`"action":{"name":"order.lookup","personal":true,"risk":"read","min_tier":"pro","args":{"order_id":"1001"}},` +
		`"target":{"email":"alex@example.com"},` +
		`"asserted":{"emails":["jordan@example.com"],"names":["Jordan \"J\"\u2028"]},` +
		`"confirmation":{"confirmed":true},"conversation":{"id":"cv_1","subject":"cus_1001"},"channel":"chat","now":1773309600}`
	if got != want {
		t.Errorf("AppendJSON =\n%s, want\n%s", got, want)
	}
	agree(t, inputSchema(t), in)
}

func TestLifetimeIsNeverCutToFit(t *testing.T) {
	in := allowedInput()
	in.Site.MaxTokenLifetime = 900*time.Second + 900*time.Millisecond
	in.Identity.Lifetime = 900*time.Second + time.Millisecond
	r, err := shipped(t).Decide(t.Context(), in)
	if err != nil || r.Allow || r.Reasons[0].Code != "identity_too_long_lived" {
		t.Errorf("Decide(lifetime a millisecond over whole seconds) = %+v, %v; want identity_too_long_lived", r, err)
	}
}

func TestChangedSiteOrActionIsSeen(t *testing.T) {
	in := allowedInput()
	in.Value()
	in.Site.Tier = engine.Free
	in.Action.Risk = engine.Destructive
	agree(t, inputSchema(t), in)
}

func TestForgedNumbersBecomeNull(t *testing.T) {
	for _, forged := range []json.Number{"", "1,\"personal\":false", "true", "01", "1e", `"x"`, "NaN", " 1"} {
		in := allowedInput()
		in.Args = map[string]any{"n": forged, "ok": json.Number("1.50")}
		agree(t, inputSchema(t), in)
		args := decoded(t, in.AppendJSON(nil)).(map[string]any)["action"].(map[string]any)["args"]
		want := map[string]any{"n": nil, "ok": json.Number("1.50")}
		if diff := cmp.Diff(want, args); diff != "" {
			t.Errorf("args of the number %q (-want +got):\n%s", forged, diff)
		}
	}
}

func TestClaimsThatAreNoObjectAreAbsent(t *testing.T) {
	for _, claims := range []string{"null", "[]", "1", "{", `{} {}`, `"x"`} {
		in := allowedInput()
		in.Identity.Claims = json.RawMessage(claims)
		agree(t, inputSchema(t), in)
		identity := decoded(t, in.AppendJSON(nil)).(map[string]any)["identity"].(map[string]any)
		if _, ok := identity["claims"]; ok {
			t.Errorf("claims %s: present, want absent", claims)
		}
	}
}

// FuzzInput makes a random input of each seed.
func FuzzInput(f *testing.F) {
	schema := inputSchema(f)
	for seed := range uint64(300) {
		f.Add(seed, "plain")
	}
	for _, s := range []string{"", "\x00\x1f\"\\/\b\f\n\r\t", "é\u2028\u2029😀", "\xff\xfe broken \xc3", "</script>", "\u007f"} {
		f.Add(uint64(len(s)), s)
	}
	f.Fuzz(func(t *testing.T, seed uint64, s string) {
		agree(t, schema, randomInput(rand.New(rand.NewPCG(seed, 1)), s))
	})
}

func randomInput(r *rand.Rand, s string) *Input {
	str := func() string {
		return []string{"", s, "alex@example.com", "a\"b\\", "\u2028", "ünï", "verified"}[r.IntN(7)]
	}
	strs := func() []string {
		list := make([]string, r.IntN(3))
		for i := range list {
			list[i] = str()
		}
		return list
	}
	when := func() time.Time {
		if r.IntN(4) == 0 {
			return time.Time{}
		}
		return time.Unix(r.Int64N(4e9), r.Int64N(1e9))
	}
	var value func(depth int) any
	object := func(depth int) map[string]any {
		m := map[string]any{}
		for i := range r.IntN(4) {
			m[[]string{"order_id", "when", "ü", "a\"b"}[i]] = value(depth + 1)
		}
		return m
	}
	value = func(depth int) any {
		if depth > 3 {
			return str()
		}
		switch r.IntN(10) {
		case 0:
			return nil
		case 1:
			return r.IntN(2) == 0
		case 2:
			return json.Number([]string{"0", "-1", "1.5e3", "12345678901234567890", "nope"}[r.IntN(5)])
		case 3:
			return r.Int()
		case 4:
			return float64(r.IntN(1000)) / 4
		case 5:
			list := make([]any, r.IntN(3))
			for i := range list {
				list[i] = value(depth + 1)
			}
			return list
		case 6:
			return object(depth)
		case 7:
			return strs()
		case 8:
			return struct{}{}
		}
		return str()
	}
	in := &Input{
		Site: &engine.Site{ID: str(), Tier: engine.Tier(r.IntN(4)), MaxTokenLifetime: time.Duration(r.Int64N(3)) * 450 * time.Second},
		Identity: Identity{
			State:   []string{"absent", "invalid", "expired", "verified"}[r.IntN(4)],
			Subject: str(), Email: str(), Name: str(), TokenID: str(),
			IssuedAt: when(), ExpiresAt: when(), Lifetime: time.Duration(r.Int64N(2e12)) - time.Second, Revoked: r.IntN(5) == 0,
		},
		Action: &engine.Action{
			Name: str(), Personal: r.IntN(2) == 0, Risk: engine.Risk(r.IntN(4)), MinTier: engine.Tier(r.IntN(4)),
		},
		Args:         object(0),
		Target:       str(),
		Asserted:     engine.Asserted{Emails: strs(), Names: strs()},
		Confirmed:    r.IntN(2) == 0,
		Conversation: Conversation{ID: str(), Subject: str()},
		Channel:      []engine.Channel{engine.ChannelChat, engine.ChannelAction}[r.IntN(2)],
		Now:          when(),
	}
	if r.IntN(2) == 0 {
		verified := r.IntN(2) == 0
		in.Identity.EmailVerified = &verified
	}
	if r.IntN(3) == 0 {
		in.Identity.Claims = appendObject(nil, object(0))
	}
	return in
}
