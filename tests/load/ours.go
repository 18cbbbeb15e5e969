package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/policy"
)

// What every server is asked about: a customer's own order.
const (
	siteID    = "shop"
	issuer    = "https://shop.example"
	audience  = "vouchsafe-shop"
	action    = "order.lookup"
	orderID   = "1001"
	visitors  = 64 // each with a token of their own
	tokenLife = 12 * time.Hour
)

var site = &engine.Site{ID: siteID, Tier: engine.Pro, MaxTokenLifetime: tokenLife}

const configuration = `addr: 127.0.0.1:0
data: %q
keys: ./keys
limits: {per_visitor: off, per_address: off}
sites:
  - id: ` + siteID + `
    tier: pro
    tokens:
      issuer: ` + issuer + `
      audience: ` + audience + `
      max_lifetime: 12h
      keys:
        - {kid: k1, alg: HS256, secret_file: k1.secret}
    actions: ["actions/*.yaml"]
connections:
  provider: embedded
`

const manifest = `connector: {name: shop, kind: rest, connection: shop-admin}
actions:
  order.lookup:
    title: Look up one of my orders
    personal: true
    risk: read
    min_tier: pro
    args:
      type: object
      required: [order_id]
      properties: {order_id: {type: string, pattern: "^[0-9]{4,}$"}}
    request: {method: GET, path: "/orders/{order_id}"}
    response: {records: ".order", id: ".id", owner: ".customer.email", fields: [id, status, total]}
    examples: ["where is my order"]
`

// visitor is one customer.
type visitor struct{ subject, email, name, tokenID string }

func visitorAt(i int) visitor {
	return visitor{
		subject: fmt.Sprintf("cus_%04d", 1000+i),
		email:   fmt.Sprintf("visitor%d@example.com", i),
		name:    fmt.Sprintf("Visitor %d", i),
		tokenID: fmt.Sprintf("t-%d", i),
	}
}

// moduleDir is the folder of go.mod, from which the server is built.
func moduleDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "vouchsafe").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildServer builds the server into dir.
func buildServer(ctx context.Context, dir string) (binary string, err error) {
	module, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "vouchsafe")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/vouchsafe")
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the server: %w\n%s", err, out)
	}
	return binary, nil
}

// ours is the server under test, on a configuration of its own.
type ours struct {
	target
	data   string
	tokens []string // the visitors'
}

// startOurs starts the built server with one site, its data on disk in dir.
func startOurs(ctx context.Context, binary, dir string) (*ours, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	data := filepath.Join(dir, "data")
	for name, content := range map[string][]byte{
		"vouchsafe.yaml":     fmt.Appendf(nil, configuration, data),
		"k1.secret":          secret,
		"actions/order.yaml": []byte(manifest),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return nil, err
		}
	}
	p, err := start(exec.Command(binary, "serve", "--config", filepath.Join(dir, "vouchsafe.yaml")))
	if err != nil {
		return nil, err
	}
	o := &ours{data: data, target: target{name: "vouchsafe", proc: p, want: []byte(`"allow":true`)}}
	if o.addr, err = p.line(ctx, served); err != nil {
		p.stop()
		return nil, err
	}
	body := fmt.Appendf(nil, `{"action":%q,"args":{"order_id":%q}}`, action, orderID)
	now := time.Now()
	for i := range visitors {
		token, err := mint(visitorAt(i), secret, now)
		if err != nil {
			p.stop()
			return nil, err
		}
		o.tokens = append(o.tokens, token)
		o.requests = append(o.requests, request(o.addr, "/v1/sites/"+siteID+"/decisions", token, body))
	}
	if err := p.answers(ctx, &o.target); err != nil {
		p.stop()
		return nil, err
	}
	return o, nil
}

// served picks the address out of what the server says when it is ready.
func served(line string) (string, bool) {
	_, addr, ok := strings.Cut(line, " on http://")
	addr, _, _ = strings.Cut(addr, "/")
	return strings.TrimSuffix(addr, "."), ok
}

func mint(v visitor, secret []byte, now time.Time) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": issuer, "aud": audience, "sub": v.subject, "email": v.email, "name": v.name, "jti": v.tokenID,
		"iat": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	})
	t.Header["kid"] = "k1"
	return t.SignedString(secret)
}

// input is what the policy is asked for a visitor, as the server asks it.
func input(v visitor, now time.Time) []byte {
	in := policy.Input{
		Site: site,
		Identity: policy.Identity{State: "verified", Subject: v.subject, Email: v.email, Name: v.name, TokenID: v.tokenID,
			IssuedAt: now, ExpiresAt: now.Add(tokenLife + time.Minute), Lifetime: tokenLife},
		Action:  &engine.Action{Name: action, Personal: true, Risk: engine.Read, MinTier: engine.Pro},
		Args:    map[string]any{"order_id": orderID},
		Target:  v.email,
		Channel: engine.ChannelAction,
		Now:     now,
	}
	return in.AppendJSON(nil)
}
