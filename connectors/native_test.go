package connectors

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// table is a Native that does as it is told.
type table struct {
	do func(context.Context, NativeCall) ([]gate.Record, error)
}

func (n table) Do(ctx context.Context, call NativeCall) ([]gate.Record, error) {
	return n.do(ctx, call)
}

func tables(do func(context.Context, NativeCall) ([]gate.Record, error)) *Kind {
	return &Kind{
		Name: "table",
		Operations: map[string]Operation{
			"list":  {Personal: true, Risk: engine.Read, List: true, Fields: []string{"id", "seat"}},
			"find":  {Personal: true, Risk: engine.Read, Required: []string{"table_id"}, Record: "table_id", Fields: []string{"id", "seat"}},
			"clear": {Personal: true, Risk: engine.Destructive, Required: []string{"table_id"}, Optional: []string{"why"}, Record: "table_id", Fields: []string{"id"}},
			"hours": {Risk: engine.Read, Fields: []string{"day"}},
		},
		Settings: map[string]any{"properties": map[string]any{"floor": map[string]any{"type": "integer"}}},
		Open: func(settings map[string]any) (Native, error) {
			if settings["floor"] != nil && idText(settings["floor"]) == "13" {
				return nil, errors.New("there is no floor 13")
			}
			return table{do}, nil
		},
	}
}

const tableManifest = `connector: {name: hall, kind: table, connection: hall, settings: {floor: 2}}
actions:
  table.list:
    title: List my tables
    personal: true
    risk: read
    operation: list
    response: {fields: [id, seat]}
  table.find:
    title: Find one of my tables
    personal: true
    risk: read
    operation: find
    args: {type: object, required: [table_id], properties: {table_id: {type: string}}}
    response: {fields: [seat]}
  table.clear:
    title: Give up one of my tables
    personal: true
    risk: destructive
    operation: clear
    timeout: 100ms
    args: {type: object, required: [table_id], properties: {table_id: {type: string}}}
    resource: {table_id: table.list}
    response: {fields: [id]}
`

func TestNativeManifest(t *testing.T) {
	kind := tables(nil)
	if _, err := ParseManifest("m.yaml", []byte(tableManifest)); err == nil || !strings.Contains(err.Error(), `m.yaml:1: connector: there is no kind "table"`) {
		t.Errorf("a kind that the program does not have: %v", err)
	}
	m, err := ParseManifest("m.yaml", []byte(tableManifest), kind)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCatalog([]*Manifest{m}); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, old, new, want string }{
		{"settings", "floor: 2", "flor: 2", `m.yaml:1: connector: settings of table: unknown argument: "flor"`},
		{"settings of the wrong type", "floor: 2", "floor: two", `m.yaml:1: connector: settings of table: argument "floor" does not meet its type`},
		{"settings that the kind refuses", "floor: 2", "floor: 13", "m.yaml:1: connector: settings of table: there is no floor 13"},
		{"unknown operation", "operation: clear", "operation: cleer", `m.yaml:20: operation: table has no "cleer" (did you mean "clear"?)`},
		{"no operation", "    operation: find\n", "", "operation is missing"},
		{"a request", "operation: find", "operation: find\n    request: {method: GET, path: /x}", "an action of a connector of kind table has no request"},
		{"public", "personal: true\n    risk: destructive", "personal: false\n    risk: destructive", "operation clear has personal: true"},
		{"too little risk", "risk: destructive", "risk: write", "operation clear has at least risk: destructive"},
		{"an argument that the operation does not take", "{table_id: {type: string}}}\n    resource", "{table_id: {type: string}, hall: {type: string}}}\n    resource", `takes no "hall"`},
		{"an argument too few", "    args: {type: object, required: [table_id], properties: {table_id: {type: string}}}\n    response: {fields: [seat]}", "    response: {fields: [seat]}", `operation find requires "table_id"`},
		{"unproven", "    resource: {table_id: table.list}\n", "", `"table_id" says what is changed, and nothing proves that it is the customer's`},
		{"proven by what proves nothing", "{table_id: table.list}", "{table_id: table.clear}", "not a personal action that only reads"},
		{"an unknown field", "fields: [seat]", "fields: [set]", `operation find has no "set" (did you mean "seat"?)`},
		{"a field worked out", "fields: [seat]", "fields: [{seat: .other}]", `operation find has no "seat"`},
		{"no fields", "    response: {fields: [seat]}\n", "", "fields must say what of a record may be shown"},
		{"an owner of one's own", "fields: [seat]", "fields: [seat], owner: .email", `response: unknown key "owner"`},
	}
	for _, tt := range tests {
		if strings.Count(tableManifest, tt.old) != 1 {
			t.Fatalf("%s: %q is there %d times", tt.name, tt.old, strings.Count(tableManifest, tt.old))
		}
		m, err := ParseManifest("m.yaml", []byte(strings.Replace(tableManifest, tt.old, tt.new, 1)), kind)
		if err == nil {
			_, err = NewCatalog([]*Manifest{m})
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := ParseManifest("m.yaml", []byte("connector: {name: a, kind: rest, connection: a}\nactions:\n  a.b:\n    title: T\n    personal: false\n    risk: read\n    operation: x\n"), kind); err == nil || !strings.Contains(err.Error(), "operation is for connectors written in Go") {
		t.Errorf("an operation of a REST action: %v", err)
	}
}

// sender is the far side of a native connector's calls.
type sender func(provider.Call) (*provider.Reply, error)

func (s sender) Do(_ context.Context, call provider.Call) (*provider.Reply, error) { return s(call) }

func TestNativeCall(t *testing.T) {
	var do func(context.Context, NativeCall) ([]gate.Record, error)
	m, err := ParseManifest("m.yaml", []byte(tableManifest), tables(func(ctx context.Context, call NativeCall) ([]gate.Record, error) { return do(ctx, call) }))
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, m)
	var sent []provider.Call
	c := NewConnector(m, &engine.Site{ID: siteID, Location: time.UTC}, NewGuard(sender(func(call provider.Call) (*provider.Reply, error) {
		sent = append(sent, call)
		return &provider.Reply{Status: 207}, nil
	}), nil), d.clock)
	call := func(action string, args map[string]any) (gate.Response, error) {
		claim, permit := d.permit(t, action, args)
		return c.Call(context.Background(), claim, permit)
	}
	one := argsOf("table_id", "p1")

	t.Run("the pin, the connection and the fields", func(t *testing.T) {
		do = func(ctx context.Context, call NativeCall) ([]gate.Record, error) {
			if call.Pinned.Email != alexEmail || call.Operation != "find" {
				t.Errorf("call %+v", call)
			}
			alex, sam := gate.Owner{Email: alexEmail}, gate.Owner{Email: "sam@example.com"}
			for _, tt := range []struct {
				owner gate.Owner
				want  bool
			}{
				{alex, true}, {sam, false}, {gate.Owner{}, false}, {gate.Owner{Email: alexEmail, Subject: "c-2"}, false},
				{gate.Owner{Subject: "c-1"}, true}, {gate.Owner{Email: "ALEX@example.com"}, false}, {gate.Owner{Email: "alex@EXAMPLE.com"}, true},
				{gate.Owner{Any: []gate.Owner{sam, alex}}, true}, {gate.Owner{Any: []gate.Owner{sam, {Subject: "c-1"}}}, true},
				{gate.Owner{Any: []gate.Owner{sam, {}}}, false}, {gate.Owner{Any: []gate.Owner{}}, false},
				{gate.Owner{Any: []gate.Owner{{Any: []gate.Owner{alex}}}}, false},
				{gate.Owner{Email: sam.Email, Any: []gate.Owner{alex}}, false}, {gate.Owner{Subject: "c-2", Any: []gate.Owner{alex}}, false},
			} {
				if call.Owns(tt.owner) != tt.want {
					t.Errorf("Owns(%+v) = %t", tt.owner, !tt.want)
				}
			}
			if _, err := call.Send(ctx, provider.Call{Site: "other", Connection: "other", IdempotencyKey: "mine", Method: "GET", Path: "/x"}); err != nil {
				t.Error(err)
			}
			return []gate.Record{
				{ID: "p1", Owner: gate.Owner{Email: alexEmail}, Fields: map[string]any{"seat": 4, "id": "p1", "secret": "x"}},
				{ID: "T2", Owner: gate.Owner{Email: alexEmail}, Fields: map[string]any{"seat": 5}},
			}, nil
		}
		got, err := call("table.find", one)
		if err != nil || len(got.Records) != 1 || got.Records[0].ID != "p1" || len(got.Records[0].Fields) != 1 || got.Status != 207 {
			t.Errorf("Call: %+v, %v; want the seat of p1 alone", got, err)
		}
		if len(sent) != 1 || sent[0].Site != siteID || sent[0].Connection != "hall" || sent[0].IdempotencyKey != "" {
			t.Errorf("sent %+v", sent)
		}
	})

	t.Run("a permit works once, and only here", func(t *testing.T) {
		calls := 0
		do = func(context.Context, NativeCall) ([]gate.Record, error) { calls++; return nil, nil }
		claim, permit := d.permit(t, "table.find", one)
		other := claim
		other.Args = argsOf("table_id", "T2")
		for name, try := range map[string]func() error{
			"no permit":  func() error { _, err := c.Call(context.Background(), claim, gate.Permit{}); return err },
			"other args": func() error { _, err := c.Call(context.Background(), other, permit); return err },
		} {
			if err := try(); engine.CodeOf(err) != engine.CodeConnectorFailed || calls != 0 {
				t.Errorf("%s: %v after %d calls", name, err, calls)
			}
		}
		c.Call(context.Background(), claim, permit)
		if _, err := c.Call(context.Background(), claim, permit); err == nil || calls != 1 {
			t.Errorf("a second use: %v after %d calls", err, calls)
		}
	})

	for name, tt := range map[string]struct {
		err         error
		read, write string
	}{
		"not found":   {ErrNotFound, engine.CodeNotFound, engine.CodeNotFound},
		"coded":       {&engine.Error{Code: engine.CodeInvalidArguments}, engine.CodeInvalidArguments, engine.CodeInvalidArguments},
		"not sent":    {&provider.Error{Code: provider.CodeUpstreamRefused, NotSent: true}, engine.CodeConnectorFailed, engine.CodeConnectorFailed},
		"broke off":   {&provider.Error{Code: provider.CodeUpstreamBroke}, engine.CodeConnectorFailed, engine.CodeOutcomeUnknown},
		"too slow":    {&provider.Error{Code: provider.CodeUpstreamTimeout, Timeout: true}, engine.CodeConnectorTimeout, engine.CodeOutcomeUnknown},
		"other":       {errors.New("something"), engine.CodeConnectorFailed, engine.CodeOutcomeUnknown},
		"over time":   {context.DeadlineExceeded, engine.CodeConnectorFailed, engine.CodeOutcomeUnknown},
		"all is well": {nil, "", ""},
	} {
		do = func(ctx context.Context, call NativeCall) ([]gate.Record, error) {
			call.Send(ctx, provider.Call{Method: "POST", Path: "/x"})
			return nil, tt.err
		}
		if _, err := call("table.find", one); engine.CodeOf(err) != tt.read {
			t.Errorf("%s: a read: %v, want %s", name, err, tt.read)
		}
		if _, err := call("table.clear", one); engine.CodeOf(err) != tt.write {
			t.Errorf("%s: a write: %v, want %s", name, err, tt.write)
		}
		// As long as it has only read, nothing can have happened.
		do = func(ctx context.Context, call NativeCall) ([]gate.Record, error) {
			call.Send(ctx, provider.Call{Method: "REPORT", Path: "/x"})
			return nil, tt.err
		}
		if _, err := call("table.clear", one); engine.CodeOf(err) != tt.read {
			t.Errorf("%s: a write that has only read: %v, want %s", name, err, tt.read)
		}
	}
}
