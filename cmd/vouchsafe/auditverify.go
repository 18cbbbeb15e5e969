package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine"
	"vouchsafe/engine/audit"
)

const originPrefix = "vouchsafe-audit/"

// checkpointOf reads a checkpoint that was signed with the gate's own key.
func checkpointOf(text []byte, public ed25519.PublicKey) (audit.Checkpoint, error) {
	origin, _, _ := strings.Cut(string(text), "\n")
	site, ok := strings.CutPrefix(origin, originPrefix)
	if !ok {
		return audit.Checkpoint{}, errors.New("the file holds no checkpoint of a decision log")
	}
	key, err := audit.PublicKey(site, public)
	if err != nil {
		return audit.Checkpoint{}, errors.New("the checkpoint is of a site with an impossible name")
	}
	return audit.ParseCheckpoint(text, key)
}

func (c *cli) auditVerifyCommand(data *string) *cobra.Command {
	var checkpoint, proof, key string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Say whether anybody changed the decision log",
		Long: `Read the whole log, through the running server or from its files, and say which
record is the first that was changed, removed, put elsewhere, put in or cut off.

A log that stands alone is only checked to be whole in itself, and by the
checkpoints it holds. Whoever owns both the log and its key can make both anew:
hold it against checkpoints that were kept elsewhere, with --checkpoint. A sink of format checkpoints
keeps them there, the newest last.

With --proof, check instead what audit prove wrote, on any machine, with nothing
but the public key.

Exits 0 when nothing is wrong, 1 when something is, 2 when it could not be read.`,
		Example: `  vouchsafe audit verify --checkpoint /mnt/elsewhere/shop.checkpoint
  vouchsafe audit verify --proof decision.proof --key shop.pub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if proof != "" {
				return verifyProof(p, proof, key)
			}
			var notes [][]byte
			if checkpoint != "" {
				b, err := os.ReadFile(checkpoint)
				if err != nil {
					return output.Cannot(fmt.Errorf("reading the checkpoint: %w", err))
				}
				if notes = spread(audit.SplitNotes(b), maxNotes); len(notes) == 0 {
					return output.Cannot(fmt.Errorf("%s holds no checkpoint", checkpoint))
				}
			}
			v, err := c.verified(cmd, *data, notes)
			if err != nil {
				return output.Cannot(err)
			}
			return printVerified(p, v)
		},
	}
	cmd.Flags().StringVar(&checkpoint, "checkpoint", "", "a `FILE` of checkpoints that were kept elsewhere")
	cmd.Flags().StringVar(&proof, "proof", "", "check this `FILE` that audit prove wrote, of either kind")
	cmd.Flags().StringVar(&key, "key", "", "the `FILE` with the site's public key, for --proof")
	cmd.MarkFlagsRequiredTogether("proof", "key")
	cmd.MarkFlagsMutuallyExclusive("proof", "checkpoint")
	return cmd
}

// maxNotes is how many checkpoints of a site a log is held against. One a minute
// for years says no more: what the newest of them covers all of them cover, and
// the others only narrow down where a change is.
const maxNotes = 10_000

// spread leaves of each site's checkpoints no more than most: the newest, and
// others before it, evenly.
func spread(notes [][]byte, most int) [][]byte {
	origin := func(n []byte) string { site, _, _ := strings.Cut(string(n), "\n"); return site }
	total := map[string]int{}
	for _, n := range notes {
		total[origin(n)]++
	}
	var kept [][]byte
	left := maps.Clone(total)
	for _, n := range notes {
		site := origin(n)
		left[site]--
		if every := (total[site] + most - 1) / most; left[site]%every == 0 {
			kept = append(kept, n)
		}
	}
	return kept
}

// verified asks the running server, or else reads the files.
func (c *cli) verified(cmd *cobra.Command, data string, notes [][]byte) (v audit.Verified, err error) {
	at, err := c.place(data, config.LoadWithoutSecrets)
	if err != nil {
		return v, err
	}
	client, err := dialAdmin(cmd.Context(), at.data)
	if err == nil {
		defer client.close()
		client.http.Timeout = 0 // a large log takes its time
		in := toVerify{Checkpoints: []string{}}
		for _, n := range notes {
			in.Checkpoints = append(in.Checkpoints, string(n))
		}
		return v, client.post(cmd.Context(), "/v1/admin/audit/verify", in, &v)
	}
	if !errors.Is(err, errNoServer) {
		return v, err
	}
	var how audit.Verification
	if !keyless(at.keys()) {
		keys, err := config.LoadKeys(at.keys())
		if err != nil {
			return v, err
		}
		how.Public = keys.Checkpoint.Public().(ed25519.PublicKey)
	}
	for _, n := range notes {
		if how.Public == nil {
			return v, errors.New("checkpoints are verified with the gate's key, and its keys folder is not there")
		}
		kept, err := checkpointOf(n, how.Public)
		if err != nil {
			return v, err
		}
		how.Checkpoints = append(how.Checkpoints, kept)
	}
	return audit.VerifyFolder(cmd.Context(), filepath.Join(at.data, auditDir), how)
}

func printVerified(p *output.Printer, v audit.Verified) error {
	state := "nothing was changed"
	if len(v.Problems) > 0 {
		state = "the log is not as it was written"
	}
	fields := []output.Field{{Name: "log", Value: state}}
	for _, t := range v.Problems {
		fields = append(fields, output.Field{Name: "wrong", Value: t.String()})
	}
	fields = append(fields, output.Field{Name: "records", Value: strconv.FormatUint(v.Records, 10)})
	fields = append(fields, output.Field{Name: "checkpoints", Value: strconv.Itoa(v.Checkpoints)})
	for _, s := range v.Sites {
		fields = append(fields, output.Field{Name: "site", Value: fmt.Sprintf("%s, %d records", s.Site, s.Size)})
		if d := s.Dropped; d != nil {
			fields = append(fields, output.Field{Name: "  dropped by retention", Value: fmt.Sprintf("the first %d, made from %s to %s, on record as %s",
				d.Records, stamp(d.First), stamp(d.Last), d.Act)})
		}
	}
	if err := p.Object(v, fields...); err != nil {
		return err
	}
	if len(v.Problems) > 0 {
		return output.Fails(nil)
	}
	return nil
}

func verifyProof(p *output.Printer, file, keyFile string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return output.Cannot(fmt.Errorf("reading the proof: %w", err))
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return output.Cannot(fmt.Errorf("reading the public key: %w", err))
	}
	var between struct {
		Old string `json:"old"`
	}
	if err := json.Unmarshal(b, &between); err == nil && between.Old != "" {
		return verifyConsistency(p, b, string(key))
	}
	var proof audit.Proof
	if err := json.Unmarshal(b, &proof); err != nil {
		return output.Cannot(fmt.Errorf("%s holds no proof", file))
	}
	proven, err := proof.Check(string(key))
	if err != nil {
		return output.Fails(err)
	}
	return p.Object(proven, output.Field{Name: "proven", Value: fmt.Sprintf("record %d of %d of site %s", proven.Index, proven.Size, proven.Site)},
		output.Field{Name: proven.Kind, Value: proven.ID}, output.Field{Name: "time", Value: proven.Time},
		output.Field{Name: "verdict", Value: joined(verdict(proven.Allow), strings.Join(proven.Reasons, ", "))},
		output.Field{Name: "action", Value: proven.Action}, output.Field{Name: "policy", Value: proven.Policy})
}

// verifyConsistency checks what audit prove --from wrote.
func verifyConsistency(p *output.Printer, proof []byte, key string) error {
	var c audit.Consistency
	if err := json.Unmarshal(proof, &c); err != nil {
		return output.Cannot(errors.New("the file holds no proof"))
	}
	older, newer, err := c.Check(key)
	if err != nil {
		return output.Fails(err)
	}
	return p.Object(consistent{Site: newer.Site, From: older.Size, To: newer.Size},
		output.Field{Name: "proven", Value: fmt.Sprintf("the %d records of site %s at the newer checkpoint begin with the %d at the older", newer.Size, newer.Site, older.Size)})
}

// consistent is what a proof between two checkpoints proves.
type consistent struct {
	Site string `json:"site"`
	From uint64 `json:"from"` // records at the older checkpoint
	To   uint64 `json:"to"`   // at the newer
}

// atServer reaches the running server: what signs needs the key that it holds.
func (c *cli) atServer(cmd *cobra.Command, data string) (place, *adminClient, error) {
	at, err := c.place(data, config.LoadWithoutSecrets)
	if err != nil {
		return at, nil, err
	}
	client, err := dialAdmin(cmd.Context(), at.data)
	if errors.Is(err, errNoServer) {
		err = output.WithHint(fmt.Errorf("%w on %s", err, at.data), "start it with `vouchsafe serve`, or name its folder with --config or --data")
	}
	return at, client, err
}

func (c *cli) auditProveCommand(data *string) *cobra.Command {
	var site, from, to string
	cmd := &cobra.Command{
		Use:   "prove ID | --from FILE",
		Short: "Prove that a decision is in the log, or that the log has only grown",
		Long: `Print a proof that a decision's record is in the log, under a checkpoint made now:
the record as it is stored, its place, and the hashes of RFC 6962 (2.1.1) that
lead from it to the signed root.

With --from, print a proof (2.1.2) that the log as it is now begins with the log
that an older checkpoint was signed for: nothing that was in it was changed, taken
out or moved since. --to names a newer checkpoint to take instead of one made now.
Of a file of several checkpoints, the last of the site is meant.

audit verify --proof checks either on any machine, with the public key that audit
checkpoint --public-key prints.`,
		Example: `  vouchsafe audit prove d_06f0t4v8m2q9x1b7c3n5k6h2ra > decision.proof
  vouchsafe audit prove --from /mnt/elsewhere/shop.checkpoint > growth.proof`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (from != "") {
				return output.Cannot(errors.New("either the ID of a decision, or --from with a checkpoint"))
			}
			var proof any = new(audit.Proof)
			var ask func(*adminClient) error
			if from != "" {
				proof = new(audit.Consistency)
				path, in, err := betweenCheckpoints(site, from, to)
				if err != nil {
					return output.Cannot(err)
				}
				ask = func(client *adminClient) error { return client.post(cmd.Context(), path, in, proof) }
			} else {
				ask = func(client *adminClient) error {
					return client.get(cmd.Context(), "/v1/admin/decisions/"+url.PathEscape(args[0])+"/proof", nil, proof)
				}
			}
			_, client, err := c.atServer(cmd, *data)
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			switch err = ask(client); {
			case refused(err, engine.CodeNotFound):
				return output.Cannot(fmt.Errorf("the log holds no decision %s", args[0]))
			case refused(err, engine.CodeLogInconsistent):
				return output.Fails(err)
			case err != nil:
				return output.Cannot(err)
			}
			e := json.NewEncoder(c.out)
			e.SetIndent("", "  ")
			return e.Encode(proof)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the `FILE` with the older checkpoint")
	cmd.Flags().StringVar(&to, "to", "", "the `FILE` with the newer one, instead of one made now")
	cmd.Flags().StringVar(&site, "site", "", "the `SITE`, when the files hold checkpoints of several")
	return cmd
}

// betweenCheckpoints reads the files of checkpoints between which the log is to
// be shown to have only grown.
func betweenCheckpoints(site, from, to string) (path string, in toConnect, err error) {
	if in.From, site, err = lastCheckpoint(from, site); err != nil {
		return "", in, err
	}
	if to != "" {
		if in.To, _, err = lastCheckpoint(to, site); err != nil {
			return "", in, err
		}
	}
	return "/v1/admin/sites/" + url.PathEscape(site) + "/consistency", in, nil
}

// lastCheckpoint reads the last checkpoint of a site in a file, which may leave
// the site out when it has no others.
func lastCheckpoint(file, site string) (text, of string, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("reading the checkpoint: %w", err)
	}
	for _, note := range audit.SplitNotes(b) {
		origin, _, _ := strings.Cut(string(note), "\n")
		name, ok := strings.CutPrefix(origin, originPrefix)
		switch {
		case !ok || !strings.Contains(string(note), "\n\n") || site != "" && name != site:
			continue
		case of != "" && name != of:
			return "", "", fmt.Errorf("%s holds checkpoints of several sites: name one with --site", file)
		}
		text, of = string(note), name
	}
	if text == "" {
		return "", "", fmt.Errorf("%s holds no such checkpoint", file)
	}
	return text, of, nil
}

func (c *cli) auditCheckpointCommand(data *string) *cobra.Command {
	var site string
	var public bool
	cmd := &cobra.Command{
		Use:   "checkpoint --site SITE",
		Short: "Sign the log's present state, to be kept elsewhere",
		Long: `Print a checkpoint of a site's log, signed now: its size and root, as a signed note
(C2SP tlog-checkpoint). Keep it where nobody who runs the gate can change it:
what audit verify then finds is found against it.

The gate signs one every minute by itself, beside the records.`,
		Example: `  vouchsafe audit checkpoint --site shop >> /mnt/elsewhere/shop.checkpoint
  vouchsafe audit checkpoint --site shop --public-key > shop.pub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			at, client, err := c.atServer(cmd, *data)
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			if err := at.checkSite(site); err != nil {
				return output.Cannot(err)
			}
			var s signedState
			if err := client.post(cmd.Context(), "/v1/admin/sites/"+url.PathEscape(site)+"/checkpoint", struct{}{}, &s); err != nil {
				return output.Cannot(err)
			}
			switch {
			case p.Format() == output.JSON:
				return p.Object(s)
			case public:
				_, err = fmt.Fprintln(c.out, s.Key)
			default:
				_, err = fmt.Fprintln(c.out, s.Note)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the `SITE`")
	cmd.Flags().BoolVar(&public, "public-key", false, "print the public key that the site's checkpoints verify with")
	return cmd
}

func (c *cli) auditEraseCommand(data *string) *cobra.Command {
	var site string
	var who audit.Person
	cmd := &cobra.Command{
		Use:   "erase --site SITE --subject SUBJECT",
		Short: "Make what the log holds of a person unreadable for ever",
		Long: `Destroy the key under which a site's log holds what is personal of somebody. The
records stay, and verify; what they say of the person is gone, here and in every
copy of the log. A subject's addresses, as their tokens named them, go with the
subject: also where other visitors typed them. --email and --name erase somebody
who is only known from what others typed.

What waits of theirs ends: confirmations, requests for after a sign-in, their
conversations, and what names an address of theirs in those of others.

The erasure is on record, without the person's name.`,
		Example: `  vouchsafe audit erase --site shop --subject cus_4711`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			at, client, err := c.atServer(cmd, *data)
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			if err := at.checkSite(site); err != nil {
				return output.Cannot(err)
			}
			client.http.Timeout = 0
			var e audit.Erasure
			if err := client.post(cmd.Context(), "/v1/admin/sites/"+url.PathEscape(site)+"/erasures", who, &e); err != nil {
				return output.Cannot(err)
			}
			return p.Object(e, output.Field{Name: "keys destroyed", Value: strconv.Itoa(e.Keys)},
				output.Field{Name: "requests forgotten", Value: strconv.Itoa(e.Forgotten)}, output.Field{Name: "on record as", Value: e.Act})
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the `SITE`")
	cmd.Flags().StringVar(&who.Subject, "subject", "", "the `SUBJECT`, as tokens name them")
	cmd.Flags().StringVar(&who.Email, "email", "", "an `ADDRESS` that visitors typed")
	cmd.Flags().StringVar(&who.Name, "name", "", "a `NAME` that visitors typed")
	cmd.MarkFlagsOneRequired("subject", "email", "name")
	cmd.MarkFlagsMutuallyExclusive("subject", "email", "name")
	return cmd
}

func (c *cli) auditBackupCommand(data *string) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "backup --out DIR",
		Short: "Copy the log of a running server, and verify the copy",
		Long: `Have the running server copy its log, as it is at one moment, into a new folder,
and verify the copy. To restore it, stop the server and put the folder in place
of the audit folder in the data folder.

The keys of people (people.db) and the master key are not in it, on purpose: who
was erased stays erased, and whoever finds the copy cannot read what is personal
in it. Back them up apart from it, people.db anew after each erasure.`,
		Example: `  vouchsafe audit backup --out /mnt/backup/audit-2026-11-25`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			_, client, err := c.atServer(cmd, *data)
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			client.http.Timeout = 0
			if out, err = filepath.Abs(out); err != nil {
				return output.Cannot(err)
			}
			var v audit.Verified
			if err := client.post(cmd.Context(), "/v1/admin/audit/backup", toBackUp{out}, &v); err != nil {
				return output.Cannot(err)
			}
			return printVerified(p, v)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `DIR` to make, for the server to write to")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is two lines above
	}
	return cmd
}
