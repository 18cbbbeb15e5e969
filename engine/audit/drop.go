package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// KindRetention is the kind of the act that precedes the dropping of records.
const KindRetention = "retention"

// Drop is what is signed of records that are dropped by their age: that it was
// the gate that did it. It is a checkpoint of the site's log as it ends with the
// last record that goes, with one extension line more, as a C2SP tlog-checkpoint
// may have; so whoever lacks the key that signs checkpoints cannot make one.
type Drop struct {
	Site string `json:"site"`
	From uint64 `json:"from"` // the first that this act drops; all before it are gone already
	End  uint64 `json:"end"`  // the first that stays
	// First and Last are when the oldest and the newest of all records before End
	// were made.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Root  tlog.Hash `json:"root"`      // of the first End records
	Note  string    `json:"statement"` // as it was signed
}

// dropLine begins the extension line.
const dropLine = "retention drops from "

func signDrop(d Drop, key ed25519.PrivateKey) (Drop, error) {
	c, err := sign(d.Site, d.End, d.Root, key,
		fmt.Sprintf("%s%d %s %s", dropLine, d.From, d.First.UTC().Format(time.RFC3339Nano), d.Last.UTC().Format(time.RFC3339Nano)))
	d.Note = c.Note
	return d, err
}

var errNoDrop = errors.New("what is said of the dropping is none of retention's")

// parseDrop reads what was signed of dropped records. Without a public key the
// signature is not looked at.
func parseDrop(site, text string, public ed25519.PublicKey) (Drop, error) {
	d := Drop{Site: site, Note: text}
	body, _, ok := strings.Cut(text, "\n\n")
	if !ok {
		return d, errNoDrop
	}
	lines := strings.Split(body, "\n")
	if len(lines) != 4 || lines[0] != originPrefix+site || !strings.HasPrefix(lines[3], dropLine) {
		return d, errNoDrop
	}
	var first, last string
	if _, err := fmt.Sscanf(lines[1], "%d", &d.End); err != nil {
		return d, errNoDrop
	}
	if _, err := fmt.Sscanf(lines[3][len(dropLine):], "%d %s %s", &d.From, &first, &last); err != nil {
		return d, errNoDrop
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != treeHashSize || d.From >= d.End {
		return d, errNoDrop
	}
	copy(d.Root[:], root)
	if d.First, err = time.Parse(time.RFC3339Nano, first); err != nil {
		return d, errNoDrop
	}
	if d.Last, err = time.Parse(time.RFC3339Nano, last); err != nil {
		return d, errNoDrop
	}
	if public == nil {
		return d, nil
	}
	key, err := PublicKey(site, public)
	if err != nil {
		return d, err
	}
	if c, err := ParseCheckpoint([]byte(text), key); err != nil || c.Size != d.End || c.Root != d.Root {
		return d, errors.New("what is said of the dropping was not signed by the key that signs checkpoints")
	}
	return d, nil
}

// mayBeDrop tells most acts from those of retention without reading them.
func mayBeDrop(f *form) bool {
	return f.kind == KindAct && bytes.Contains(f.body, []byte(`"kind":"`+KindRetention+`"`))
}

// actOf reads what an act of retention holds; ok is false for any other act.
func actOf(f *form) (a Act, ok bool) {
	if !mayBeDrop(f) || json.Unmarshal(f.body, &a) != nil || a.Kind != KindRetention {
		return a, false
	}
	return a, true
}
