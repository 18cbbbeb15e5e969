package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"time"
)

// Person names whom to erase: exactly one of its fields.
type Person struct {
	Subject string `json:"subject,omitempty"`
	Email   string `json:"email,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Erasure is what Erase did.
type Erasure struct {
	Act  string `json:"act"`  // the act's id in the log
	Keys int    `json:"keys"` // how many were destroyed; 0 when the log held nothing under any
}

// Erase destroys a person's key at a site, so that what the log holds of them
// can never be read again; the records stay, and verify. A subject's addresses,
// as their tokens named them, are erased with the subject, so that what others
// typed of them is gone too; an address or a name alone is erased where others
// typed it. It is on record first, by a keyed hash of whom it was done to.
//
// Whatever the person asks for afterwards is recorded under a new key.
func (l *Log) Erase(ctx context.Context, site, by string, who Person) (Erasure, error) {
	if l.group == nil {
		return Erasure{}, errors.New("the log was opened to be read only")
	}
	var what, value string
	for kind, v := range map[string]string{bySubject: who.Subject, byEmail: foldAddress(who.Email), byName: foldName(who.Name)} {
		if v == "" {
			continue
		}
		if what != "" {
			return Erasure{}, errors.New("name one of subject, email and name")
		}
		what, value = kind, v
	}
	if what == "" {
		return Erasure{}, errors.New("name a subject, an email or a name")
	}
	id := l.people.hash(what, site, value)
	act, err := l.Act(ctx, Act{Time: time.Now().UTC(), Site: site, By: by, Kind: "erasure", Object: what + " " + hex.EncodeToString(id[:])})
	if err != nil {
		return Erasure{}, err
	}
	keys, err := l.people.erase(ctx, id)
	return Erasure{Act: act, Keys: keys}, err
}
