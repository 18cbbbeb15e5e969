package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/demo"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/identity"
)

func (c *cli) tokenCommand() *cobra.Command {
	var data, site string
	cmd := group("token", "Look into visitor tokens, and revoke them",
		c.tokenInspectCommand(&data, &site), c.tokenMintCommand(&data, &site), c.tokenRevokeCommand(&data, &site))
	dataFlag(cmd, &data)
	cmd.PersistentFlags().StringVar(&site, "site", "", "the `SITE` the token is for")
	return cmd
}

// maxTokenInput bounds what is read of standard input: more than any token.
const maxTokenInput = 64 << 10

// inspection is what became of a token's checks.
type inspection struct {
	State  string           `json:"state"` // verified, expired or invalid
	Cause  string           `json:"cause,omitempty"`
	Checks []identity.Check `json:"checks"`
	// Lifetime is set for a token that verifies and lives longer than the
	// site's policy is told to allow.
	Lifetime string `json:"lifetime,omitempty"`
}

func (c *cli) tokenInspectCommand(data, site *string) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect [TOKEN|-]",
		Short: "Run a site's checks on a token, and show what each wanted and got",
		Long: `Run a site's checks on a token, and show what each wanted and got. The token is
read from standard input when it is - or left out, which keeps it out of the
shell's history. It is not sent anywhere, and neither its signature nor an e-mail
address is shown. Without --config, with the demo's keys, in ./data.

Exits 0 when the token verifies, 1 when not, 2 when it could not be checked.`,
		Example: `  pbpaste | vouchsafe token inspect --site shop --config vouchsafe.yaml`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			at, err := c.place(*data, config.Load)
			if err != nil {
				return output.Cannot(err)
			}
			s, err := at.tokenSite(cmd.Context(), *site)
			if err != nil {
				return output.Cannot(err)
			}
			token, err := c.token(args)
			if err != nil {
				return output.Cannot(err)
			}
			return printInspection(p, inspect(cmd.Context(), s, token, time.Now()))
		},
	}
}

// token is the argument, or what stands on standard input.
func (c *cli) token(args []string) (string, error) {
	if len(args) == 1 && args[0] != "-" {
		return args[0], nil
	}
	b, err := io.ReadAll(io.LimitReader(c.in, maxTokenInput+1))
	if err != nil {
		return "", errors.New("the token cannot be read from standard input")
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return "", errors.New("there is no token on standard input")
	}
	return string(b), nil
}

func inspect(ctx context.Context, s siteSettings, token string, now time.Time) inspection {
	got := s.verifier.Verify(ctx, token, now)
	in := inspection{State: got.State.String(), Cause: got.Cause, Checks: s.verifier.Explain(ctx, token, now)}
	most := s.site.MaxTokenLifetime
	if d := got.Visitor.Lifetime(); got.State == identity.Verified && most > 0 && d > most {
		in.Lifetime = fmt.Sprintf("%s, and the site's max_lifetime is %s: the default policy answers identity_too_long_lived", d, most)
	}
	return in
}

func printInspection(p *output.Printer, in inspection) error {
	if p.Format() == output.JSON {
		if err := p.Object(in); err != nil {
			return err
		}
	} else {
		t := p.Table("CHECK", "HOLDS", "WANTED", "GOT")
		for _, check := range in.Checks {
			holds := "yes"
			if !check.OK {
				holds = "no: " + check.Cause
			}
			if err := t.Row(check, check.Name, holds, check.Want, check.Got); err != nil {
				return err
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
		if in.Lifetime != "" {
			if err := p.Line("Note: the token lives %s.", in.Lifetime); err != nil {
				return err
			}
		}
	}
	if in.State != identity.Verified.String() {
		return output.Fails(fmt.Errorf("the token does not verify: %s, %s", in.State, in.Cause))
	}
	return p.Line("The token verifies.")
}

// tokenSite is a site with its verifier, as serve would assemble it.
func (p place) tokenSite(ctx context.Context, id string) (siteSettings, error) {
	if err := p.checkSite(id); err != nil {
		return siteSettings{}, err
	}
	if p.config != nil {
		s := p.configuredSite(id)
		v, err := verifierOf(p.config, s, nil)
		return siteSettings{site: s.Engine(), verifier: v}, err
	}
	origin, err := p.shopOrigin(ctx)
	if err != nil {
		return siteSettings{}, err
	}
	sites, err := demoSites(origin, demo.FilesIn(shopDir(p.data)).PublicKey)
	if errors.Is(err, fs.ErrNotExist) {
		return siteSettings{}, errNoDemo(p.data)
	}
	if err != nil {
		return siteSettings{}, err
	}
	for _, s := range sites {
		if s.site.ID == id {
			return s, nil
		}
	}
	return siteSettings{}, fmt.Errorf("the demo has no site %q", id)
}

func errNoDemo(data string) error {
	return output.WithHint(fmt.Errorf("the demo has no keys in %s", data),
		"run `vouchsafe serve` once, which makes them, or name a configuration with --config")
}

// shopOrigin is the demo shop's origin, which is also the issuer of its tokens:
// the running one's, or else where it would be.
func (p place) shopOrigin(ctx context.Context) (string, error) {
	client, err := dialAdmin(ctx, p.data)
	if errors.Is(err, errNoServer) {
		host, port, err := net.SplitHostPort(demoAddr)
		if err != nil {
			return "", err
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return "", err
		}
		return "http://" + net.JoinHostPort(host, strconv.Itoa(n+1)), nil
	}
	if err != nil {
		return "", err
	}
	defer client.close()
	var s siteDetail
	if err := client.get(ctx, "/v1/admin/sites/"+url.PathEscape(demo.SiteID), nil, &s); err != nil {
		return "", err
	}
	if len(s.Origins) != 1 {
		return "", errors.New("the server that runs is not the demo: name its configuration with --config")
	}
	return s.Origins[0], nil
}

// minting is what token mint was told to vouch for.
type minting struct {
	sub, email, name, kid string
	expires, age          time.Duration
	claims                []string
}

func (c *cli) tokenMintCommand(data, site *string) *cobra.Command {
	var m minting
	cmd := &cobra.Command{
		Use:   "mint",
		Short: "Sign a token, for the demo and for tests only",
		Long: `Sign a token as the site's backend would, for the demo and for tests only: a real
token is signed by the website, for the customer who signed in there. It takes the
site's shared secret (HS256, HS384 or HS512) from the configuration, or, without
--config, the demo shop's own key, in ./data.

--claim adds or replaces a claim; its value is JSON, or else text. --age makes a
token that was signed some time ago, so that --age 10m has expired already.`,
		Example: `  vouchsafe token mint --site demo --sub cus_alex --email alex@example.com --name Alex`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			at, err := c.place(*data, config.Load)
			if err != nil {
				return output.Cannot(err)
			}
			if err := at.checkSite(*site); err != nil {
				return output.Cannot(err)
			}
			s, err := at.signer(cmd.Context(), *site, m.kid)
			if err != nil {
				return output.Cannot(err)
			}
			token, expires, err := m.sign(s, time.Now())
			if err != nil {
				return output.Cannot(err)
			}
			if p.Format() == output.JSON {
				return p.Object(struct {
					Token   string    `json:"token"`
					Expires time.Time `json:"expires_at"`
				}{token, expires})
			}
			return p.Line("%s", token)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&m.sub, "sub", "", "the customer's `ID` in the site's own words")
	flags.StringVar(&m.email, "email", "", "the customer's `ADDRESS`")
	flags.StringVar(&m.name, "name", "", "the customer's `NAME`")
	flags.DurationVar(&m.expires, "expires", 5*time.Minute, "how long it lives")
	flags.DurationVar(&m.age, "age", 0, "how long ago it was signed")
	flags.StringArrayVar(&m.claims, "claim", nil, "a further claim, `KEY=VALUE`; may be repeated")
	flags.StringVar(&m.kid, "kid", "", "the `KEY` to sign with, where the site has several")
	return cmd
}

// signer signs as a site's backend does.
type signer struct {
	method           jwt.SigningMethod
	kid              string
	key              any
	issuer, audience string
}

// signer finds what to sign with.
func (p place) signer(ctx context.Context, site, kid string) (signer, error) {
	if p.config == nil {
		return p.demoSigner(ctx, site)
	}
	t := p.configuredSite(site).Tokens
	now := time.Now()
	for _, k := range t.Keys {
		active := !now.Before(k.NotBefore) && (k.RetireAfter.IsZero() || now.Before(k.RetireAfter))
		if !k.Symmetric() || kid != "" && k.KID != kid || kid == "" && !active {
			continue
		}
		secret, err := k.Source.Read()
		if err != nil {
			return signer{}, p.config.Refuse(k.Place, err)
		}
		return signer{jwt.GetSigningMethod(k.Alg), k.KID, secret, t.Issuer, t.Audience}, nil
	}
	if kid != "" {
		return signer{}, errors.New("the site has no shared secret of that kid")
	}
	return signer{}, output.WithHint(fmt.Errorf("site %s has no shared secret to sign with", site),
		"its private key is with its backend, which alone can sign")
}

// demoSigningKey is the demo shop's private key, beside its public one.
const demoSigningKey = "token.key.pem"

func (p place) demoSigner(ctx context.Context, site string) (signer, error) {
	text, err := os.ReadFile(filepath.Join(shopDir(p.data), demoSigningKey))
	if errors.Is(err, fs.ErrNotExist) {
		return signer{}, errNoDemo(p.data)
	}
	if err != nil {
		return signer{}, errors.New("the demo shop's signing key cannot be read")
	}
	key, err := jwt.ParseECPrivateKeyFromPEM(text)
	if err != nil {
		return signer{}, errors.New("the demo shop's signing key is not one for ES256")
	}
	issuer, err := p.shopOrigin(ctx)
	if err != nil {
		return signer{}, err
	}
	return signer{jwt.SigningMethodES256, demo.KeyID, key, issuer, demo.Audience(site)}, nil
}

// sign makes the token.
func (m *minting) sign(s signer, now time.Time) (token string, expires time.Time, err error) {
	if m.sub == "" || m.email == "" {
		return "", expires, errors.New("a token is about somebody: give --sub and --email")
	}
	issued := now.Add(-m.age).Truncate(time.Second)
	expires = issued.Add(m.expires)
	claims := jwt.MapClaims{
		"iss": s.issuer, "aud": s.audience, "sub": m.sub, "email": m.email,
		"iat": issued.Unix(), "exp": expires.Unix(), "jti": rand.Text(),
	}
	if m.name != "" {
		claims["name"] = m.name
	}
	for _, claim := range m.claims {
		key, value, ok := strings.Cut(claim, "=")
		if !ok || key == "" {
			return "", expires, errors.New("--claim is KEY=VALUE")
		}
		claims[key] = claimValue(value)
	}
	t := jwt.NewWithClaims(s.method, claims)
	t.Header["kid"] = s.kid
	if token, err = t.SignedString(s.key); err != nil {
		return "", expires, errors.New("the token cannot be signed with that key")
	}
	return token, expires, nil
}

// claimValue reads a value as JSON, or takes it for text.
func claimValue(s string) any {
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		return s
	}
	return v
}
