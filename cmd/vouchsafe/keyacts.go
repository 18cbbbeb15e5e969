package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/engine/audit"
)

// kindKeys is the kind of the acts that record which keys a site's tokens are
// believed under: at each start, and before a change takes effect.
const kindKeys = "token_keys"

// recordKeys puts on record, site by site, the keys that differ from those that
// were on record before: at a start all of them.
func (a *app) recordKeys(ctx context.Context, now *config.Config) error {
	seen := map[string][sha256.Size]byte{}
	for _, s := range now.Sites {
		said, sum, err := keysOf(s)
		if err != nil {
			return fmt.Errorf("looking at the keys of site %s: %w", s.ID, err)
		}
		seen[s.ID] = sum
		if a.keysSeen[s.ID] == sum {
			continue
		}
		act := audit.Act{Time: time.Now().UTC(), Site: s.ID, By: "configuration", Kind: kindKeys, Object: said}
		if _, err := a.audit.Act(ctx, act); err != nil {
			return fmt.Errorf("recording the keys of site %s: %w", s.ID, err)
		}
	}
	a.keysSeen = seen
	return nil
}

// keysOf says which keys a site has, and what they come to as a whole. Of a key
// that is public the record has a fingerprint; of a shared secret nothing.
func keysOf(s config.Site) (said string, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	var words []string
	for _, k := range s.Tokens.Keys {
		b, err := k.Source.Read()
		if err != nil {
			return "", sum, err
		}
		of := sha256.Sum256(b)
		fmt.Fprintf(h, "%q %q %x %v %v\n", k.KID, k.Alg, of, k.NotBefore, k.RetireAfter)
		word := k.KID + " " + k.Alg
		if !k.Symmetric() {
			word += " " + hex.EncodeToString(of[:6])
		}
		words = append(words, word)
	}
	fmt.Fprintf(h, "%q", s.Tokens.JWKSURL)
	if s.Tokens.JWKSURL != "" {
		words = append(words, "and those that its issuer publishes")
	}
	return strings.Join(words, ", "), [sha256.Size]byte(h.Sum(nil)), nil
}
