package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine/voucher"
)

func (c *cli) connectionConnectCommand(f *providerFlags) *cobra.Command {
	var site string
	var port int
	var elsewhere bool
	cmd := &cobra.Command{
		Use:   "connect ID",
		Short: "Grant an oauth2 connection access, with a browser",
		Long: `Print the link to the authorization server's page, and wait for the browser to
come back to this machine. The code that it brings is of use to the provider
alone. The provider must be running. Without --config, for the demo.

The authorization server must know the address that the browser comes back to:
http://127.0.0.1:PORT/oauth/callback. With --elsewhere it is the provider's own,
from connection serve --callback-url, and this command only prints the link.`,
		Example: `  vouchsafe connection connect crm --site shop --config vouchsafe.yaml --port 9797`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if site == "" {
				return output.Cannot(errNoSite)
			}
			o, err := c.provider(f, site)
			if err != nil {
				return output.Cannot(err)
			}
			if elsewhere {
				attempt, err := provider.Connect(cmd.Context(), o, site, args[0], "")
				if err != nil {
					return output.Cannot(connectHint(err))
				}
				attempt.Close()
				return printLink(p, attempt)
			}
			return c.connect(cmd.Context(), p, o, site, args[0], port)
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the `SITE` it belongs to")
	cmd.Flags().IntVar(&port, "port", 0, "the `PORT` that the browser comes back to; any free one when left out")
	cmd.Flags().BoolVar(&elsewhere, "elsewhere", false, "the browser comes back to the provider's own address")
	return cmd
}

func connectHint(err error) error {
	if errors.Is(err, provider.ErrNotRunning) {
		return output.WithHint(err, "start `vouchsafe serve`, or `vouchsafe connection serve` where it runs apart")
	}
	return err
}

// linkResult is where access is granted, in JSON.
type linkResult struct {
	Link    string    `json:"link"`
	Expires time.Time `json:"expires_at"`
}

func printLink(p *output.Printer, a *provider.Connecting) error {
	return p.Object(linkResult{a.URL, a.Expires}, output.Field{Name: "open", Value: a.URL}, output.Field{Name: "until", Value: stamp(a.Expires)})
}

// connect waits for the browser itself.
func (c *cli) connect(ctx context.Context, p *output.Printer, o provider.Options, site, id string, port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return output.Cannot(fmt.Errorf("waiting for the browser: %w", err))
	}
	defer l.Close()
	attempt, err := provider.Connect(ctx, o, site, id, "http://"+l.Addr().String()+"/oauth/callback")
	if err != nil {
		return output.Cannot(connectHint(err))
	}
	defer attempt.Close()
	if err := printLink(p, attempt); err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, attempt.Expires)
	defer cancel()
	came := make(chan error, 1)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Type", "text/plain; charset=utf-8")
		// Others on this machine can knock here. Without the attempt's own
		// state they change nothing.
		if r.Method != http.MethodGet || r.URL.Path != "/oauth/callback" || r.URL.Query().Get("state") != attempt.Token {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		err := attempt.Finish(r.Context(), r.URL.RawQuery)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintln(w, "It could not be connected. The terminal says why.")
		} else {
			fmt.Fprintln(w, "Connected. You can close this page.")
		}
		select {
		case came <- err:
		default:
		}
	})}
	go server.Serve(l)
	select {
	case err = <-came:
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		server.Shutdown(stop)
	case <-ctx.Done():
		err = errors.New("nobody came back in time")
	}
	if err != nil {
		return output.Fails(err)
	}
	return p.Line("%s of %s is connected.", id, site)
}

func (c *cli) connectionRotateCommand(f *providerFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-key",
		Short: "Replace the keys that credentials are encrypted with",
		Long: `Make a new encryption key and a new master key, and encrypt every credential
anew, while the provider goes on serving. What is interrupted is finished by
running it again. A master key that comes from the environment is yours to
replace and stays. Without --config, for the demo.`,
		Example: `  vouchsafe connection rotate-key --config vouchsafe.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			o, err := c.provider(f, "")
			if err != nil {
				return output.Cannot(err)
			}
			o.CreateKey = false
			got, err := provider.RotateKey(cmd.Context(), o)
			if err != nil {
				return output.Cannot(err)
			}
			master := "a new one; copies of the old one are of no use any more"
			if !got.MasterKey {
				master = "the same"
			}
			return p.Object(got, output.Field{Name: "encrypted anew", Value: fmt.Sprintf("%d connection(s)", got.Connections)},
				output.Field{Name: "master key", Value: master})
		},
	}
}

func (c *cli) connectionPermitKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "permit-key",
		Short: "Print the public key that a provider knows the gate's calls by",
		Long: `Print the public half of keys/permit, as a line for the file permit.keys in the
folder of a provider that runs apart. The file holds one key, or two while one
takes the other's place; the provider reads it again when it changes.`,
		Example: `  vouchsafe connection permit-key --config vouchsafe.yaml >> provider/permit.keys`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if c.config == "" {
				return output.Cannot(errors.New("the demo's provider knows the demo's key; name a configuration with --config"))
			}
			cfg, err := config.LoadWithoutSecrets(c.config)
			if err != nil {
				return output.Cannot(err)
			}
			keys, err := config.LoadKeys(cfg.Keys)
			if err != nil {
				return output.Cannot(err)
			}
			public := voucher.NewSigner(keys.Permit).Public()
			if p.Format() == output.JSON {
				return p.Object(struct {
					PermitKey string `json:"permit_key"`
				}{public})
			}
			return p.Line("%s", public)
		},
	}
}
