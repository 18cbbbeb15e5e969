package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/identity"
)

// How a check came out.
const (
	findingOK   = "ok"
	findingWarn = "warn" // it works, or could not be told; somebody should look
	findingFail = "fail"
)

// finding is what one check found.
type finding struct {
	Site  string `json:"site,omitempty"`
	Check string `json:"check"`
	State string `json:"state"`
	Found string `json:"found"`         // what it means
	Fix   string `json:"fix,omitempty"` // what to do; "" when nothing is to be done
}

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	data, site string
	tokenURL   string
	cookies    []string
	otherEmail string
	token      string
	gate       string
}

// probeAddress belongs to nobody: example.com is reserved.
const probeAddress = "vouchsafe-doctor@example.com"

func (c *cli) doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find integration mistakes before visitors do",
		Long: `Examine a site of the configuration as it is set up, and say of each finding how
to put it right: keys, published keys, connections, manifests, help pages,
origins, the sign-in URL and clocks.

With --token-url, the site's own endpoint that mints tokens is examined too: a
token it mints is held to every check, and it is asked, without a session and
with parameters that name somebody else, for a token it must not sign. Use a
test customer's session for --cookie, and another test customer's address for
--other-email. Nobody's token, cookie or address is shown.

With --token, the personal actions that only list records are performed at the
running gate, to see that the shop's records are recognised as the customer's.
Those are decisions like any other, and are recorded. - reads the token from
standard input, which keeps it out of the shell's history.

Only hosts that the configuration or a flag names are contacted.

Exits 0 when nothing has to be repaired, 1 when something has, 2 when it could
not be asked.`,
		Example: `  vouchsafe doctor --config vouchsafe.yaml
  vouchsafe doctor --config vouchsafe.yaml --site shop --token-url https://shop.example/vouchsafe-token --cookie session=...`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return output.Cannot(err)
			}
			if o.token == "-" {
				if o.token, err = c.token(nil); err != nil {
					return output.Cannot(err)
				}
			}
			d := &doctor{ctx: cmd.Context(), out: p, options: o, now: time.Now}
			return d.examine(c)
		},
	}
	dataFlag(cmd, &o.data)
	flags := cmd.Flags()
	flags.StringVar(&o.site, "site", "", "the `SITE` to examine (default: all of them)")
	flags.StringVar(&o.tokenURL, "token-url", "", "the `URL` of the site's endpoint that mints tokens")
	flags.StringArrayVar(&o.cookies, "cookie", nil, "a cookie of a signed-in test customer, `NAME=VALUE`; may be repeated")
	flags.StringVar(&o.otherEmail, "other-email", probeAddress, "the `ADDRESS` of another test customer, for whom no token may be signed")
	flags.StringVar(&o.token, "token", "", "a customer's `TOKEN`, to list that customer's records at the running gate; - for standard input")
	flags.StringVar(&o.gate, "gate", "", "the `URL` of the running gate (default: the configuration's addr)")
	return cmd
}

// check refuses flags that cannot be followed.
func (o *doctorOptions) check() error {
	if o.tokenURL != "" {
		u, err := url.Parse(o.tokenURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return errors.New("--token-url is not a URL such as https://shop.example/vouchsafe-token")
		}
	} else if len(o.cookies) > 0 {
		return errors.New("--cookie is for --token-url")
	}
	for _, cookie := range o.cookies {
		if name, _, ok := strings.Cut(cookie, "="); !ok || name == "" || strings.ContainsAny(cookie, "\r\n;") {
			return errors.New("--cookie is NAME=VALUE")
		}
	}
	if _, err := identity.CanonicalEmail(o.otherEmail, false); err != nil {
		return fmt.Errorf("--other-email %w", err)
	}
	if o.gate != "" {
		if u, err := url.Parse(o.gate); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return errors.New("--gate is not a URL such as http://127.0.0.1:8080")
		} else if u.Scheme != "https" && !onLoopback(u.Hostname()) {
			return errors.New("--gate must be https, unless it is on this machine: the token could be read on the way")
		}
	}
	return nil
}

// doctor examines and prints as it goes.
type doctor struct {
	ctx     context.Context
	out     *output.Printer
	options doctorOptions
	now     func() time.Time

	site  string // under examination
	shown string // the site whose heading was printed last
	fails int
	warns int
	err   error // of printing
}

func (d *doctor) ok(check, found string, args ...any) {
	d.report(finding{Check: check, State: findingOK, Found: fmt.Sprintf(found, args...)})
}

func (d *doctor) warn(check, fix, found string, args ...any) {
	d.report(finding{Check: check, State: findingWarn, Found: fmt.Sprintf(found, args...), Fix: fix})
}

func (d *doctor) fail(check, fix, found string, args ...any) {
	d.report(finding{Check: check, State: findingFail, Found: fmt.Sprintf(found, args...), Fix: fix})
}

// report prints a finding.
func (d *doctor) report(f finding) {
	f.Site = d.site
	mark := "ok  "
	switch f.State {
	case findingWarn:
		d.warns++
		mark = "WARN"
	case findingFail:
		d.fails++
		mark = "FAIL"
	}
	if d.out.Format() == output.JSON {
		d.keep(d.out.Object(f))
		return
	}
	if d.shown != d.site {
		d.shown = d.site
		d.keep(d.out.Line("Site %s", d.site))
	}
	d.keep(d.out.Line("%s  %-13s %s", mark, f.Check, f.Found))
	if f.Fix != "" {
		d.keep(d.out.Line("      %-13s %s", "fix:", f.Fix))
	}
}

func (d *doctor) keep(err error) {
	if d.err == nil {
		d.err = err
	}
}

// examine runs every check on the sites that were asked for.
func (d *doctor) examine(c *cli) error {
	if c.config == "" {
		return output.Cannot(output.WithHint(errors.New("doctor examines a configuration"), "name it with --config; `vouchsafe init` writes one"))
	}
	at, secrets, err := d.configuration(c)
	if err != nil {
		return output.Cannot(err)
	}
	if at.config != nil {
		if err := d.sites(at, secrets); err != nil {
			return output.Cannot(err)
		}
	}
	d.site = ""
	switch {
	case d.err != nil:
		return output.Cannot(d.err)
	case d.fails > 0:
		d.keep(d.out.Line("%d to repair, %d to look at.", d.fails, d.warns))
		return output.Fails(nil)
	}
	return d.out.Line("Nothing to repair, %d to look at.", d.warns)
}

// configuration reads the file. Where only a key is wrong the rest is examined
// all the same, without secrets; where more is, there is nothing to examine.
func (d *doctor) configuration(c *cli) (at place, secrets bool, err error) {
	at, err = c.place(d.options.data, config.Load)
	if err == nil {
		d.ok("configuration", "%s can be used", c.config)
		for _, w := range at.config.Warnings {
			d.warn("configuration", "Change that line, or the file that it names.", "%s", w)
		}
		return at, true, nil
	}
	var wrong *config.Error
	if !errors.As(err, &wrong) {
		return place{}, false, err
	}
	for _, p := range wrong.Problems {
		one := config.Error{File: wrong.File, Problems: []config.Problem{p}}
		d.fail("configuration", "Change that line, or the file that it names: the gate does not start with it.", "%s", one.Error())
	}
	at, err = c.place(d.options.data, config.LoadWithoutSecrets)
	if errors.As(err, &wrong) {
		return place{}, false, nil
	}
	return at, false, err
}

// sites examines the sites that were asked for.
func (d *doctor) sites(at place, secrets bool) error {
	o := d.options
	chosen := at.config.Sites
	if o.site != "" || len(chosen) > 1 && (o.tokenURL != "" || o.token != "") {
		if err := at.checkSite(o.site); err != nil {
			return err
		}
		chosen = []config.Site{at.configuredSite(o.site)}
	}
	for _, s := range chosen {
		d.site = s.ID
		x := &checkup{doctor: d, at: at, site: s, web: newDoctorClient(d.now)}
		if secrets {
			x.keys()
			x.published()
		}
		x.testMode()
		x.actions()
		x.connections()
		x.help()
		x.origins()
		x.signIn()
		x.mint()
		x.clocks()
		x.ownership()
		if err := d.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// checkup is the examination of one site.
type checkup struct {
	*doctor
	at       place
	site     config.Site
	verifier *identity.Verifier // nil when its keys cannot be used
	bound    siteSettings
	lists    []string // personal actions that only list records and need no argument
	web      *doctorClient
}
