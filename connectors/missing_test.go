package connectors_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"vouchsafe/connectors"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// answering is an outside system that always says the same.
type answering struct{ reply provider.Reply }

func (a answering) Do(context.Context, provider.Call) (*provider.Reply, error) {
	reply := a.reply
	return &reply, nil
}

// Whatever status an outside system keeps somebody else's record back with, the
// visitor hears what they hear of a record that does not exist.
func TestForeignIsAsMissing(t *testing.T) {
	const src = `connector: {name: shop, kind: rest, connection: c}
actions:
  order.lookup:
    title: Look up an order
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}"}
    response: {records: .order, id: .id, owner: .email, fields: [id]}
  order.track:
    title: Track an order
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}/parcel"}
    response: {records: .order, id: .id, owner: .email, fields: [id], not_found: [404]}
  order.items:
    title: List what is in an order
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}/items"}
    response: {records: ".items[]", id: .id, owner: .email, fields: [id]}
  order.list:
    title: List my orders
    personal: true
    risk: read
    request: {method: GET, path: "/customers/{pinned.subject}/orders"}
    response: {records: ".orders[]", id: .id, owner: .email, fields: [id]}
`
	foreign := []byte(`{"order": {"id": "2001", "email": "jordan@example.com"}, "items": [{"id": "7", "email": "jordan@example.com"}]}`)
	tests := []struct {
		action string
		reply  provider.Reply
		want   string // code; "" for an empty result
	}{
		{"order.lookup", provider.Reply{Status: 404}, engine.CodeNotFound},
		{"order.lookup", provider.Reply{Status: 200, Body: foreign}, engine.CodeNotFound},
		{"order.lookup", provider.Reply{Status: 403}, engine.CodeNotFound},
		{"order.lookup", provider.Reply{Status: 410}, engine.CodeNotFound},
		{"order.lookup", provider.Reply{Status: 401}, engine.CodeConnectorFailed},
		{"order.lookup", provider.Reply{Status: 500}, engine.CodeConnectorFailed},
		{"order.track", provider.Reply{Status: 404}, engine.CodeNotFound},
		{"order.track", provider.Reply{Status: 403}, engine.CodeConnectorFailed}, // as its manifest says
		{"order.items", provider.Reply{Status: 404}, ""},
		{"order.items", provider.Reply{Status: 200, Body: foreign}, ""},
		{"order.items", provider.Reply{Status: 403}, ""},
		{"order.items", provider.Reply{Status: 500}, engine.CodeConnectorFailed},
		{"order.list", provider.Reply{Status: 404}, engine.CodeNotFound},
		{"order.list", provider.Reply{Status: 403}, engine.CodeConnectorFailed},
	}
	w := enginetest.New(t, enginetest.Options{})
	m, err := connectors.ParseManifest("m.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{} // what is said of a record that cannot be found, by action
	for _, tt := range tests {
		rest := connectors.NewREST(m, "demo", connectors.NewGuard(answering{tt.reply}, func(context.Context, time.Duration) error { return nil }), w.Clock.Now)
		var bindings []gate.Binding
		for _, a := range m.Actions() {
			bindings = append(bindings, gate.Binding{Action: a, Connector: rest})
		}
		site, err := gate.NewSite(&engine.Site{ID: "demo", Name: "Demo", Tier: engine.Pro, Location: time.UTC, MaxTokenLifetime: 15 * time.Minute}, bindings)
		if err != nil {
			t.Fatal(err)
		}
		args := map[string]any{"order_id": "2001"}
		if tt.action == "order.list" {
			args = nil
		}
		res, err := w.Gate.Do(context.Background(), gate.Request{Site: site, Identity: w.As(t, "demo", enginetest.Alex),
			Channel: engine.ChannelAction, Intent: engine.Intent{Action: tt.action, Args: args}})
		name := fmt.Sprintf("%s, %d %s", tt.action, tt.reply.Status, http.StatusText(tt.reply.Status))
		if tt.want == "" && (err != nil || !res.Decision.Allow || len(res.Records) != 0) || tt.want != "" && engine.CodeOf(err) != tt.want {
			t.Errorf("%s: Do = %v, %v; want %q", name, res, err, tt.want)
			continue
		}
		if tt.want == engine.CodeNotFound {
			if first, ok := said[tt.action]; ok && first != fmt.Sprint(err) {
				t.Errorf("%s: %v; want word for word %q", name, err, first)
			}
			said[tt.action] = fmt.Sprint(err)
		}
	}
}
