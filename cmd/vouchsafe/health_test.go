package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vouchsafe/connectors"
	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/rollout"
	"vouchsafe/engine/store"
	"vouchsafe/policies"
)

// TestHealthNamesAnIssuerThatIsDown: a site whose published keys cannot be had
// is named, and the gate still serves the others.
func TestHealthNamesAnIssuerThatIsDown(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, auditDir), audit.Options{Master: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	state, err := store.Open(filepath.Join(dir, stateFile), "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody answers there now
	published, err := identity.NewJWKS(identity.JWKSConfig{URL: "http://" + l.Addr().String() + "/jwks"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := identity.NewVerifier(identity.Config{Site: "shop", Issuer: "i", Audience: "a", Published: published})
	if err != nil {
		t.Fatal(err)
	}
	history, err := rollout.OpenHistory(filepath.Join(dir, historyFile), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer history.Close()
	inForce, err := rollout.Start(t.Context(), rollout.Options{Source: rollout.Fixed{Name: embeddedPolicies, Files: policies.FS}, History: history,
		Record: func(context.Context, rollout.Event) error { return nil }, Probe: policy.ProbeOptions{Limit: 100}})
	if err != nil {
		t.Fatal(err)
	}
	a := &app{audit: log, state: state, guard: connectors.NewGuard(nil, nil), rollout: inForce}
	a.sites.Store(&[]siteSettings{{site: engine.Site{ID: "shop"}, verifier: v}})
	if h := a.health(); !h.Ready || len(h.Degraded) != 0 {
		t.Errorf("before anybody needed the keys: %+v", h)
	}
	if err := published.Refresh(context.Background(), time.Now()); err == nil {
		t.Fatal("a key set was fetched from nobody")
	}
	if h := a.health(); !h.Ready || len(h.Degraded) != 1 || !strings.Contains(h.Degraded[0], "site shop") {
		t.Errorf("with the issuer down: %+v; want it named, and the gate ready", h)
	}
}
