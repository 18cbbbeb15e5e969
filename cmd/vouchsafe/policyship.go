package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/policy/bundle"
	"vouchsafe/engine/rollout"
)

// signFlags is what policy bundle was told.
type signFlags struct {
	key, algorithm, id, out, revision string
}

// bundleMade is what policy bundle did.
type bundleMade struct {
	File      string `json:"file"`
	Bytes     int    `json:"bytes"`
	Policy    string `json:"policy"` // its revision, as decisions will name it
	Label     string `json:"label,omitempty"`
	KeyID     string `json:"key_id"`
	Algorithm string `json:"algorithm"`
}

func (c *cli) policyBundleCommand() *cobra.Command {
	var f signFlags
	cmd := &cobra.Command{
		Use:   "bundle [DIR] --sign KEYFILE --out FILE",
		Short: "Make a signed OPA bundle of a policy folder",
		Long: `Make a signed OPA bundle of a policy folder, with its tests and schemas, for any
bundle server or for the gate's own disk. Without DIR, the configuration's
policies, or the embedded ones. A policy that does not compile is not bundled.

The key is a private key in PEM for ES256, RS256 and their like, or EdDSA; or a
secret for HS256 to HS512. The gate is given the public half, or the secret, under
policies.verify.

Exits 0 when the bundle is written, 1 when the policy does not compile, 2 when it
could not be made.`,
		Example: `  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out policies.key
  openssl pkey -in policies.key -pubout -out policies.pem
  vouchsafe policy bundle policies --sign policies.key --out policies.tar.gz`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if f.key == "" || f.out == "" {
				return output.Cannot(errors.New("--sign KEYFILE and --out FILE are needed"))
			}
			folder, err := c.policyFolder(args)
			if err != nil {
				return output.Cannot(err)
			}
			set, err := policy.Compile(folder)
			if problems, ok := errors.AsType[policy.Problems](err); ok {
				return printProblems(p, folder, problems)
			}
			if err != nil {
				return output.Cannot(err)
			}
			packed, err := f.pack(folder)
			if err != nil {
				return output.Cannot(err)
			}
			if err := writeWhole(f.out, packed); err != nil {
				return output.Cannot(fmt.Errorf("writing the bundle: %w", err))
			}
			made := bundleMade{File: f.out, Bytes: len(packed), Policy: set.Revision(), Label: f.revision, KeyID: f.id, Algorithm: f.algorithm}
			return p.Object(made,
				output.Field{Name: "bundle", Value: joined(f.out, fmt.Sprintf("%d bytes", len(packed)))},
				output.Field{Name: "policy", Value: joined(set.Revision(), f.revision)},
				output.Field{Name: "signed", Value: joined(f.algorithm, "kid "+f.id)})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.key, "sign", "", "the `KEYFILE` to sign with")
	flags.StringVar(&f.algorithm, "alg", "ES256", "the JWS `ALGORITHM` the key is for")
	flags.StringVar(&f.id, "key-id", "default", "the `KID` by which policies.verify names the key")
	flags.StringVar(&f.out, "out", "", "the `FILE` to write")
	flags.StringVar(&f.revision, "revision", "", "a `NAME` of your own for this version, such as a commit")
	return cmd
}

// pack makes the bundle.
func (f *signFlags) pack(folder fs.FS) ([]byte, error) {
	key, err := config.KeySource{File: f.key}.Read()
	if err != nil {
		return nil, fmt.Errorf("the key %s: %w", f.key, err)
	}
	files, err := bundle.ReadFolder(folder)
	if err != nil {
		return nil, err
	}
	return bundle.Write(files, bundle.SigningKey{ID: f.id, Algorithm: f.algorithm, Material: key}, f.revision)
}

// writeWhole replaces a file at once, so that nobody reads half of it.
func writeWhole(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".bundle-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Chmod(0o644) // it holds no secret, and others are to read it
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// shipped is the policy in force, as the server tells.
type shipped struct {
	rollout.Status
	Problems  []string           `json:"problems"`
	Revisions []rollout.Revision `json:"revisions"`
}

// shipCommand is a command that asks the running server about the policy in
// force, or changes it.
func (c *cli) shipCommand(use, short, long string, args cobra.PositionalArgs, ask func(*adminClient, *cobra.Command, []string, *shipped) error) *cobra.Command {
	var data string
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			at, err := c.place(data, config.LoadWithoutSecrets)
			if err != nil {
				return output.Cannot(err)
			}
			client, err := dialAdmin(cmd.Context(), at.data)
			if errors.Is(err, errNoServer) {
				err = output.WithHint(fmt.Errorf("%w on %s", err, at.data), "policies are in force on a running server only; start it with `vouchsafe serve`, or name its folder with --config or --data")
			}
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			var s shipped
			if err := ask(client, cmd, args, &s); err != nil {
				if refused(err, engine.CodePolicyRefused) {
					return output.Fails(err)
				}
				return output.Cannot(err)
			}
			if err := printShipped(p, &s); err != nil {
				return err
			}
			if len(s.Problems) > 0 {
				return output.Fails(nil)
			}
			return nil
		}}
	dataFlag(cmd, &data)
	return cmd
}

const shipExits = `

Exits 0 when all is well, 1 when something is wrong with the policies, 2 when the
server could not be asked.`

func (c *cli) policyStatusCommand() *cobra.Command {
	return c.shipCommand("status", "Say which policy is in force on the running server, and which were",
		`Say which policy is in force, since when and where it comes from, what is wrong
with what its source has now, and which revisions can be returned to.`+shipExits, cobra.NoArgs,
		func(client *adminClient, cmd *cobra.Command, _ []string, s *shipped) error {
			return client.get(cmd.Context(), "/v1/admin/policy", nil, s)
		})
}

func (c *cli) policyRollBackCommand() *cobra.Command {
	return c.shipCommand("rollback REVISION", "Return to a policy that was in force before, and stay with it",
		`Put one of the last ten policies in force again, at once. It stays, across
restarts and whatever the source has, until `+"`vouchsafe policy resume`"+`. What would
open the wall over today's actions is refused.

Exits 0 when it is in force, 1 when it may not be, or something is wrong with the
policies besides, 2 when it could not be asked for.`, cobra.ExactArgs(1),
		func(client *adminClient, cmd *cobra.Command, args []string, s *shipped) error {
			return client.post(cmd.Context(), "/v1/admin/policy/rollback", toRollBack{args[0]}, s)
		})
}

func (c *cli) policyResumeCommand() *cobra.Command {
	return c.shipCommand("resume", "Follow the source again after a roll back",
		`Follow the source again after a roll back, and take what it has now.`+shipExits, cobra.NoArgs,
		func(client *adminClient, cmd *cobra.Command, _ []string, s *shipped) error {
			return client.post(cmd.Context(), "/v1/admin/policy/resume", struct{}{}, s)
		})
}

func (c *cli) policyRefreshCommand() *cobra.Command {
	return c.shipCommand("refresh", "Have the running server look at its source now",
		`Have the running server look at its source now, rather than at the next poll,
and try what it has even if it was refused a moment ago.`+shipExits, cobra.NoArgs,
		func(client *adminClient, cmd *cobra.Command, _ []string, s *shipped) error {
			return client.post(cmd.Context(), "/v1/admin/policy/refresh", struct{}{}, s)
		})
}

func printShipped(p *output.Printer, s *shipped) error {
	if p.Format() == output.JSON {
		return p.Object(s)
	}
	fields := []output.Field{
		{Name: "policy", Value: joined(s.Revision, s.Label)},
		{Name: "in force", Value: "since " + stamp(s.Since)},
		{Name: "source", Value: s.Source},
	}
	add := func(name, format string, args ...any) {
		fields = append(fields, output.Field{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	if s.KeyID != "" {
		add("signed by", "kid %s", s.KeyID)
	}
	if !s.Confirmed.IsZero() {
		add("confirmed", "%s", stamp(s.Confirmed))
	}
	if s.Hold != nil {
		add("held", "%s", holdNote(s.Hold.Cause, s.Hold.By, s.Hold.At))
		if s.Offered != "" && s.Offered != s.Revision {
			add("offered", "%s, by the source", s.Offered)
		}
	}
	for _, problem := range s.Problems {
		add("wrong", "%s", problem)
	}
	if s.Last != nil {
		var stages []string
		for _, stage := range s.Last.Stages {
			stages = append(stages, stage.Name)
		}
		last := s.Last.Revision + " went through " + strings.Join(stages, ", ")
		if s.Last.Latency != nil {
			last += fmt.Sprintf("; it takes %s times as long as the one before", strconv.FormatFloat(s.Last.Latency.Ratio, 'f', 2, 64))
		}
		add("admission", "%s", last)
	}
	if err := p.Object(s, fields...); err != nil {
		return err
	}
	if err := p.Line(""); err != nil {
		return err
	}
	t := p.Table("REVISION", "LABEL", "IN FORCE FROM", "BY", "SOURCE")
	for _, r := range s.Revisions {
		mark := r.Revision
		if mark == s.Revision {
			mark += " *"
		}
		if err := t.Row(r, mark, r.Label, stamp(r.At), r.By, r.Source); err != nil {
			return err
		}
	}
	return t.Flush()
}
