package connectors_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"vouchsafe/connectors"
	"vouchsafe/connectors/connectortest"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// The example of the README begins here.

// parcels is a courier whose API answers in XML.
var parcels = &connectors.Kind{
	Name: "parcels",
	Operations: map[string]connectors.Operation{
		"track": {Personal: true, Risk: engine.Read, Required: []string{"parcel_id"}, Record: "parcel_id", Fields: []string{"id", "status"}},
	},
	Rules: []connectors.Rule{{Method: http.MethodGet, Path: "/parcels/{parcel_id}"}},
	Open:  func(settings map[string]any) (connectors.Native, error) { return courier{}, nil },
}

type courier struct{}

func (courier) Do(ctx context.Context, call connectors.NativeCall) ([]gate.Record, error) {
	id, _ := call.Args["parcel_id"].(string)
	reply, err := call.Send(ctx, provider.Call{
		Method:  http.MethodGet,
		Path:    "/parcels/" + url.PathEscape(id),
		Headers: map[string]string{"Accept": "application/xml"},
	})
	switch {
	case err != nil:
		return nil, err
	case reply.Status == http.StatusNotFound:
		return nil, connectors.ErrNotFound
	case reply.Status != http.StatusOK:
		return nil, fmt.Errorf("the courier answers %d", reply.Status)
	}
	var parcel struct{ Number, Recipient, Status string }
	if err := xml.Unmarshal(reply.Body, &parcel); err != nil {
		return nil, fmt.Errorf("the courier's reply: %w", err)
	}
	return []gate.Record{{
		ID:     parcel.Number,
		Owner:  gate.Owner{Email: parcel.Recipient},
		Fields: map[string]any{"id": parcel.Number, "status": parcel.Status},
	}}, nil
}

// The example of the README ends here.

const parcelManifest = `connector: {name: courier, kind: parcels, connection: courier}
actions:
  parcel.track:
    title: Track one of my parcels
    personal: true
    risk: read
    operation: track
    args: {type: object, required: [parcel_id], properties: {parcel_id: {type: string}}}
    response: {fields: [id, status]}
    examples: ["where is parcel P-1001"]
`

func TestREADMEConnector(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("native_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(source), "// The example of the README begins here.\n\n")
	want, _, ok := strings.Cut(rest, "\n// The example of the README ends here.\n")
	if !ok {
		t.Fatal("the example is not marked")
	}
	_, rest, _ = strings.Cut(string(readme), "```go\n")
	got, _, ok := strings.Cut(rest, "```\n")
	if !ok || got != want {
		t.Error("the README's connector is not the one that is run here")
	}
	if !strings.Contains(string(readme), parcelManifest) {
		t.Error("the README's manifest for it is not the one that is run here")
	}
	m, err := connectors.ParseManifest("parcels.yaml", []byte(parcelManifest), parcels)
	if err != nil {
		t.Fatal(err)
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/parcels/P-1001":
			io.WriteString(w, "<parcel><Number>P-1001</Number><Recipient>alex@example.com</Recipient><Status>on its way</Status></parcel>")
		case "/parcels/P-1002":
			io.WriteString(w, "<parcel><Number>P-1001</Number><Recipient>alex@example.com</Recipient></parcel>") // another one than was asked for
		case "/parcels/P-1003":
			io.WriteString(w, "nothing")
		default:
			http.NotFound(w, r)
		}
	}))
	defer up.Close()
	b := connectortest.New(t, connectortest.Options{
		Manifests: []*connectors.Manifest{m},
		Links:     []connectortest.Link{{Connection: provider.Connection{ID: "courier", Type: provider.None, BaseURL: up.URL}}},
	})
	alex := connectortest.Customer{Email: "alex@example.com", Name: "Alex", Subject: "1"}
	sam := connectortest.Customer{Email: "sam@example.com", Name: "Sam", Subject: "2"}
	res, err := b.Do(t, alex, "parcel.track", map[string]any{"parcel_id": "P-1001"})
	if err != nil || len(res.Records) != 1 || res.Records[0].Fields["status"] != "on its way" {
		t.Errorf("Alex's own: %v, %v", res.Records, err)
	}
	for _, tt := range []struct {
		who      connectortest.Customer
		id, want string
	}{
		{sam, "P-1001", engine.CodeNotFound},
		{alex, "P-1002", engine.CodeNotFound},
		{alex, "P-1004", engine.CodeNotFound},
		{alex, "P-1003", engine.CodeConnectorFailed},
	} {
		if _, err := b.Do(t, tt.who, "parcel.track", map[string]any{"parcel_id": tt.id}); engine.CodeOf(err) != tt.want {
			t.Errorf("%s as %s: %v, want %s", tt.id, tt.who.Name, err, tt.want)
		}
	}
}
