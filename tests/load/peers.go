package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"vouchsafe/policies"
)

// The peers, at the versions they are measured at.
const (
	opaVersion    = "1.22.2"
	cerbosVersion = "0.51.0"
)

// errNotHere means that a peer is not to be had on this machine.
var errNotHere = errors.New("it is not to be had here")

// peerStarters start a peer in a folder of its own.
var peerStarters = map[string]func(ctx context.Context, dir string) (*target, error){
	"opa":    startOPA,
	"gin":    startGin,
	"cerbos": startCerbos,
}

// startOPA starts OPA's own server on the shipped policy and data, without
// decision logs or a line for every request.
func startOPA(ctx context.Context, dir string) (*target, error) {
	binary, err := findOPA(ctx, dir)
	if err != nil {
		return nil, err
	}
	bundle := filepath.Join(dir, "policies")
	if err := os.CopyFS(bundle, policies.FS); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := start(exec.Command(binary, "run", "--server", "--addr", addr, "--log-level", "error", "--skip-version-check",
		"--ignore", "*_test.rego", filepath.Join(bundle, "authz"), filepath.Join(bundle, "data.yaml")))
	if err != nil {
		return nil, err
	}
	t := &target{name: "opa", addr: addr, proc: p, want: []byte(`"allow":true`)}
	now := time.Now()
	for i := range visitors {
		body := fmt.Appendf(nil, `{"input":%s}`, input(visitorAt(i), now))
		t.requests = append(t.requests, request(addr, "/v1/data/authz/decision", "", body))
	}
	return ready(ctx, t)
}

// ready waits for the first right answer.
func ready(ctx context.Context, t *target) (*target, error) {
	if err := t.proc.answers(ctx, t); err != nil {
		t.proc.stop()
		return nil, err
	}
	return t, nil
}

// findOPA finds the program in PATH, or builds it.
func findOPA(ctx context.Context, dir string) (string, error) {
	if path, err := exec.LookPath("opa"); err == nil {
		out, err := exec.CommandContext(ctx, path, "version").Output()
		if err == nil && strings.Contains(string(out), "Version: "+opaVersion+"\n") {
			return path, nil
		}
	}
	cmd := exec.CommandContext(ctx, "go", "install", "github.com/open-policy-agent/opa@v"+opaVersion)
	cmd.Dir = dir // outside this module, whose dependencies are not its own
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: no opa %s in PATH, and building one failed: %v\n%s", errNotHere, opaVersion, err, out)
	}
	return filepath.Join(dir, "opa"), nil
}

// ginCommand is the hidden command that runs the bare gin handler.
const ginCommand = "serve-gin"

// question is what the decisions endpoint takes, answer what it gives, for the
// bare handler.
type question struct {
	Action string            `json:"action"`
	Args   map[string]string `json:"args"`
}

type answer struct {
	Decision    string       `json:"decision"`
	Allow       bool         `json:"allow"`
	Reasons     []string     `json:"reasons"`
	Obligations []obligation `json:"obligations"`
	Policy      string       `json:"policy"`
}

type obligation struct {
	Kind     string `json:"kind"`
	Argument string `json:"argument"`
}

// serveGin answers decisions with a handler that decodes and encodes JSON and
// does nothing else. It never returns but for an error.
func serveGin() error {
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.POST("/v1/sites/:site/decisions", func(c *gin.Context) {
		var q question
		if err := c.ShouldBindJSON(&q); err != nil {
			c.JSON(http.StatusBadRequest, gin.H{"error": err.Error()})
			return
		}
		c.JSON(http.StatusOK, answer{
			Decision: "d_06dbcfyz6g000ek2v6nwst0g7c", Allow: q.Action == action, Reasons: []string{},
			Obligations: []obligation{{Kind: "ownership", Argument: "order_id"}},
			Policy:      "sha256:0000000000000000000000000000000000000000000000000000000000000000",
		})
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("gin answers on http://" + l.Addr().String())
	return http.Serve(l, g)
}

// startGin runs this program's own bare handler in a process of its own. It is
// asked what the server under test is asked.
func startGin(ctx context.Context, _ string) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := start(exec.Command(self, ginCommand))
	if err != nil {
		return nil, err
	}
	addr, err := p.line(ctx, served)
	if err != nil {
		p.stop()
		return nil, err
	}
	t := &target{name: "gin", addr: addr, proc: p, want: []byte(`"allow":true`)}
	body := fmt.Appendf(nil, `{"action":%q,"args":{"order_id":%q}}`, action, orderID)
	secret := bytes.Repeat([]byte{1}, 32)
	for i := range visitors {
		token, err := mint(visitorAt(i), secret, time.Now())
		if err != nil {
			p.stop()
			return nil, err
		}
		t.requests = append(t.requests, request(addr, "/v1/sites/"+siteID+"/decisions", token, body))
	}
	return ready(ctx, t)
}

const cerbosConfiguration = `server:
  httpListenAddr: %q
  grpcListenAddr: %q
storage:
  driver: disk
  disk: {directory: %q, watchForChanges: false}
telemetry: {disabled: true}
`

// cerbosPolicy has the shape of the shipped policy: the same denials, and an
// allow that takes a verified visitor.
const cerbosPolicy = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  version: default
  resource: action
  rules:
    - name: not-live
      actions: ["*"]
      effect: EFFECT_DENY
      roles: ["visitor"]
      condition: {match: {expr: "!(R.attr.now < P.attr.expires_at)"}}
    - name: too-long-lived
      actions: ["*"]
      effect: EFFECT_DENY
      roles: ["visitor"]
      condition: {match: {expr: "!(P.attr.lifetime <= R.attr.site.max_token_lifetime)"}}
    - name: not-pinned
      actions: ["*"]
      effect: EFFECT_DENY
      roles: ["visitor"]
      condition: {match: {expr: "R.attr.target.email != P.attr.email || P.attr.email == ''"}}
    - name: not-offered
      actions: ["*"]
      effect: EFFECT_DENY
      roles: ["visitor"]
      condition: {match: {expr: "!(R.attr.min_tier in {'free': ['free'], 'pro': ['free', 'pro'], 'business': ['free', 'pro', 'business']}[R.attr.site.tier])"}}
    - name: revoked
      actions: ["*"]
      effect: EFFECT_DENY
      roles: ["visitor"]
      condition: {match: {expr: "has(P.attr.revoked) && P.attr.revoked"}}
    - name: unverified
      actions: ["*"]
      effect: EFFECT_DENY
      roles: ["visitor"]
      condition: {match: {expr: "has(P.attr.email_verified) && !P.attr.email_verified"}}
    - name: verified-visitor
      actions: ["*"]
      effect: EFFECT_ALLOW
      roles: ["visitor"]
      condition: {match: {expr: "P.attr.state == 'verified' && R.attr.channel in ['action', 'chat']"}}
`

// startCerbos starts Cerbos with a policy of the same shape and no audit log.
func startCerbos(ctx context.Context, dir string) (*target, error) {
	binary, err := findCerbos(ctx, dir)
	if err != nil {
		return nil, err
	}
	var addrs [2]string
	for i := range addrs {
		if addrs[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	storage := filepath.Join(dir, "storage")
	if err := os.MkdirAll(storage, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "cerbos.yaml")
	if err := errors.Join(
		os.WriteFile(config, fmt.Appendf(nil, cerbosConfiguration, addrs[0], addrs[1], storage), 0o600),
		os.WriteFile(filepath.Join(storage, "action.yaml"), []byte(cerbosPolicy), 0o600),
	); err != nil {
		return nil, err
	}
	p, err := start(exec.Command(binary, "server", "--config", config, "--log-level", "ERROR"))
	if err != nil {
		return nil, err
	}
	t := &target{name: "cerbos", addr: addrs[0], proc: p, want: []byte(`"EFFECT_ALLOW"`)}
	now := time.Now()
	for i := range visitors {
		v := visitorAt(i)
		body := fmt.Appendf(nil, `{"requestId":"r%d","principal":{"id":%q,"roles":["visitor"],"attr":{"state":"verified","email":%q,"name":%q,"token_id":%q,"issued_at":%d,"expires_at":%d,"lifetime":%d}},`+
			`"resources":[{"actions":[%q],"resource":{"kind":"action","id":%q,"attr":{"site":{"id":%q,"tier":"pro","max_token_lifetime":%d},"risk":"read","min_tier":"pro","args":{"order_id":%q},"target":{"email":%q},"asserted":{"emails":[],"names":[]},"channel":"action","now":%d}}}]}`,
			i, v.subject, v.email, v.name, v.tokenID, now.Unix(), now.Add(tokenLife).Unix(), int64(tokenLife.Seconds()),
			action, action, siteID, int64(tokenLife.Seconds()), orderID, v.email, now.Unix())
		t.requests = append(t.requests, request(t.addr, "/api/check/resources", "", body))
	}
	return ready(ctx, t)
}

// findCerbos finds the program in PATH, or has npm, which ships it, install it
// into dir.
func findCerbos(ctx context.Context, dir string) (string, error) {
	if path, err := exec.LookPath("cerbos"); err == nil {
		return path, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("%w: neither cerbos nor npm is in PATH", errNotHere)
	}
	cmd := exec.CommandContext(ctx, npm, "install", "--no-audit", "--no-fund", "--prefix", dir, "cerbos@"+cerbosVersion)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: npm could not install it: %v\n%s", errNotHere, err, out)
	}
	// The program itself rather than the script that starts it, whose process
	// would be measured instead.
	found, err := fs.Glob(os.DirFS(dir), "node_modules/@cerbos/cerbos-*/cerbos-*")
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%w: the npm package holds no program for this machine", errNotHere)
	}
	return filepath.Join(dir, found[0]), nil
}
