package main

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/policy"
	"vouchsafe/policies"
)

// recordDecisions writes the log that a server leaves behind: one decision that
// was allowed and carried out, one denied for another's address, one withheld.
// The ids are the variables ALLOWED, DENIED and WITHHELD.
func recordDecisions(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: decide DATA")
	}
	set, err := policy.Compile(policies.FS)
	ts.Check(err)
	data := ts.MkAbs(args[0])
	keys, err := keysBeside(data)
	ts.Check(err)
	log, err := audit.Open(filepath.Join(data, auditDir), auditOptions(keys, nil))
	ts.Check(err)
	start := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	site := &engine.Site{ID: "demo", Tier: engine.Pro, MaxTokenLifetime: 15 * time.Minute}
	lookup := &engine.Action{Name: "order.lookup", Personal: true, Risk: engine.Read, MinTier: engine.Pro}
	alex := policy.Identity{State: "verified", Subject: "cus_alex", Email: "alex@example.com", Name: "Alex Morgan", TokenID: "t1"}
	record := func(name string, minutes int, d audit.Decision, o *audit.Outcome) {
		at := start.Add(time.Duration(minutes) * time.Minute)
		d.ID, d.Time, d.Site, d.Policy = engine.NewID("d", at), at, site.ID, set.Revision()
		ts.Check(log.Decision(context.Background(), &d))
		if o != nil {
			o.Decision, o.Time, o.Connector, o.Status, o.Returned = d.ID, at, "shop", 200, 1
			ts.Check(log.Outcome(context.Background(), site.ID, *o))
		}
		ts.Setenv(name, d.ID)
	}
	input := func(target, order string, asserted ...string) *policy.Input {
		return &policy.Input{Site: site, Identity: alex, Action: lookup, Args: map[string]any{"order_id": order}, Target: target,
			Asserted: engine.Asserted{Emails: asserted}, Channel: engine.ChannelChat, Now: start,
			Conversation: policy.Conversation{ID: "cv_1", Subject: "cus_alex"}}
	}
	record("ALLOWED", 0, audit.Decision{Decision: engine.Decision{Allow: true},
		Input: input("alex@example.com", "1001")}, &audit.Outcome{Released: 1})
	record("DENIED", 1, audit.Decision{Decision: engine.Decision{Reasons: []engine.Reason{{Code: engine.CodeTargetMismatch}}},
		Input: input("jordan@example.com", "1002", "jordan@example.com")}, nil)
	record("WITHHELD", 2, audit.Decision{Decision: engine.Decision{Allow: true},
		Input: input("alex@example.com", "2002")}, &audit.Outcome{Code: engine.CodeNotFound, Problem: "the owner is another", Withheld: []string{engine.CodeNotOwner}})
	ts.Check(log.Close())
}

// keysBeside are the keys that init made beside a data folder, or else the
// demo's, made now.
func keysBeside(data string) (config.Keys, error) {
	dir := filepath.Join(filepath.Dir(data), "keys")
	if _, err := os.Stat(dir); err != nil {
		dir = demoKeys(data)
		if _, err := config.EnsureKeys(dir); err != nil {
			return config.Keys{}, err
		}
	}
	return config.LoadKeys(dir)
}

func testKeys(t testing.TB, data string) config.Keys {
	t.Helper()
	keys, err := keysBeside(data)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// editToken makes a hostile token of an honest one. `token none FILE` writes it
// with alg none and no signature; `token tail FILE` sets SIGNATURE to its
// signature.
func editToken(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: token none|tail FILE")
	}
	parts := strings.Split(strings.TrimSpace(ts.ReadFile(args[1])), ".")
	if len(parts) != 3 {
		ts.Fatalf("%s holds no token", args[1])
	}
	switch args[0] {
	case "none":
		header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
		ts.Setenv("UNSIGNED", header+"."+parts[1]+".")
	case "tail":
		ts.Setenv("SIGNATURE", parts[2])
	default:
		ts.Fatalf("unknown edit %s", args[0])
	}
}
